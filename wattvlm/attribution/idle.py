"""Idle power of a domain: over stretches of the recording outside of all blocks and calls.

A warm device leaks more than a cold one, and clocks stay up for a while after work, so that idle power before a block
is another than after it. Each quiet stretch is cut into pieces. Where they differ by more than their own errors, the
idle power during the block is interpolated in time between them, and the interval holds them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.counter import CounterCurve
from wattvlm.attribution.curve import Curve
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.joules import domain_joules, gain_error_j
from wattvlm.attribution.power import LONGEST_WINDOW_NS, model_error_fraction
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.windows import Stretches, Window, columns, difference, duration_ns, union
from wattvlm.recording import Readings, Recording
from wattvlm.report import Idle
from wattvlm.sensing import Domain
from wattvlm.trace import Block, Trace
from wattvlm.units import HZ_PER_MHZ, NS_PER_S

LEAST_READINGS = 2

PIECE_NS = NS_PER_S // 4
"""Idle power is looked at in pieces of at least this length: two ticks of a 100 ms counter."""

DRIFT_WORTH_SAYING_FRACTION = 0.05
_BLOCK_POINTS = 64


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Quiet pieces of one channel: middle times, durations, watts and their 95 % intervals."""

    time_ns: Floats
    seen_ns: Floats
    power_w: Floats
    low_w: Floats
    high_w: Floats


def quiet_stretches(recording: Recording, trace: Trace, blocks: Sequence[Block]) -> Stretches:
    """The time of a recording outside all blocks, calls and phases."""
    busy = [Window(block.start_ns, block.end_ns) for block in blocks]
    busy += [Window(call.start_ns, call.end_ns) for call in trace.calls]
    phases = [*trace.own_phases, *(phase for call in trace.calls for phase in call.phases)]
    busy += [Window(span.start_ns, max(span.start_ns, span.end_ns)) for phase in phases for span in phase.spans]
    return difference((Window(recording.start_ns, recording.end_ns),), union(busy))


def drift_lines(idle: Mapping[Domain, Idle]) -> list[str]:
    """A line for each domain whose idle power changed in the recording by more than a twentieth."""
    return [
        f"{domain}: its idle power drifted by {each.drift_w:.3g} W around {each.power_w:.3g} W{_at(each)} (a warm "
        "device draws more, and clocks stay up after work); joules above idle are less sure for it. Cure: warm up "
        "before the block, and leave a second of quiet before and after it"
        for domain, each in idle.items()
        if each.drift_w > DRIFT_WORTH_SAYING_FRACTION * abs(each.power_w)
    ]


def _at(idle: Idle) -> str:
    return "" if idle.clock_hz is None else f", mostly at {idle.clock_hz / HZ_PER_MHZ:,.0f} MHz"


def idle_of(
    found: DomainCurves,
    recording: Recording,
    quiet: Stretches,
    block: Block,
    preferred: Mapping[str, Stretches] | None = None,
) -> Idle | None:
    """Idle power of a domain, or None where one of its channels was not seen idle for two readings.

    preferred: for each board, quiet to take in place of all quiet, where readings lie in it.
    """
    idles: list[Idle] = []
    for curve in found.curves:
        readings = recording.readings[curve.channel.name]
        seen = _counted if curve.channel.method == "counter" else _reported
        better = (preferred or {}).get(curve.channel.board)
        idle = None if better is None else seen(curve, found, readings, better, block)
        idle = idle or seen(curve, found, readings, quiet, block)
        if idle is None:
            return None
        idles.append(idle)
    return Idle(
        sum(idle.power_w for idle in idles),
        (sum(idle.interval_w[0] for idle in idles), sum(idle.interval_w[1] for idle in idles)),
        min(idle.seen_ns for idle in idles),
        found.method == "modelled",
        sum(idle.drift_w for idle in idles),
        _added(idle.gains_w for idle in idles),
    )


def _added(gains: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Gains of several channels: of one board they err together."""
    summed: dict[str, float] = {}
    for each in gains:
        for board, gain_w in each.items():
            summed[board] = summed.get(board, 0.0) + gain_w
    return summed


def _counted(curve: Curve, found: DomainCurves, readings: Readings, quiet: Stretches, block: Block) -> Idle | None:
    """A counter's joules between sharp ticks of each stretch; its very first tick was not seen."""
    pieces: list[Window] = []
    for window in quiet:
        first, end = _inside(readings, window.start_ns, window.end_ns)
        sharp = _sharp(readings, max(first, 1), end)
        pieces += _cut([int(readings.time_ns[index]) for index in sharp])
    if not pieces:
        return None
    whole = union(pieces)
    if isinstance(curve, CounterCurve):
        curve = replace(curve, skew_s=0.0)  # pieces end at ticks, not at marks
    joules = domain_joules([curve], found.method, columns([*((piece,) for piece in pieces), whole]))
    seen_ns = np.array([*(piece.duration_ns for piece in pieces), duration_ns(whole)], dtype=np.float64)
    power_w, low_w, high_w = (column / seen_ns * NS_PER_S for column in (joules.middle_j, joules.low_j, joules.high_j))
    of_pieces = _Pieces(
        np.array([(piece.start_ns + piece.end_ns) / 2 for piece in pieces], dtype=np.float64),
        seen_ns[:-1], power_w[:-1], low_w[:-1], high_w[:-1],
    )  # fmt: skip
    gains_w = {board: float(gain_j[-1]) / float(seen_ns[-1]) * NS_PER_S for board, gain_j in joules.gains_j.items()}
    steady = Idle(float(power_w[-1]), (float(low_w[-1]), float(high_w[-1])), round(float(seen_ns[-1])), gains_w=gains_w)
    return _with_drift(steady, of_pieces, block)


def _cut(ticks_ns: Sequence[int]) -> list[Window]:
    """The time from the first tick to the last in pieces that are long enough; a rest joins the piece before it."""
    pieces: list[Window] = []
    start_ns = ticks_ns[0] if ticks_ns else 0
    for tick_ns in ticks_ns[1:]:
        if tick_ns - start_ns >= PIECE_NS:
            pieces.append(Window(start_ns, tick_ns))
            start_ns = tick_ns
    if len(ticks_ns) >= LEAST_READINGS and start_ns < ticks_ns[-1]:
        begins_ns = pieces.pop().start_ns if pieces else start_ns
        pieces.append(Window(begins_ns, ticks_ns[-1]))
    return pieces


def _with_drift(steady: Idle, pieces: _Pieces, block: Block) -> Idle:
    """The idle power of the block, where that of the pieces differs by more than they may err."""
    if float(np.max(pieces.low_w)) <= float(np.min(pieces.high_w)):
        return steady
    order = np.argsort(pieces.time_ns)
    points_ns = np.linspace(block.start_ns, block.end_ns, _BLOCK_POINTS)
    power_w = float(np.mean(np.interp(points_ns, pieces.time_ns[order], pieces.power_w[order])))
    low_w, high_w = min(steady.interval_w[0], float(np.min(pieces.power_w))), float(np.max(pieces.power_w))
    scale = power_w / steady.power_w if steady.power_w else 1.0
    return replace(
        steady,
        power_w=power_w,
        interval_w=(min(low_w, power_w), max(steady.interval_w[1], high_w, power_w)),
        drift_w=float(np.ptp(pieces.power_w)),
        gains_w={board: gain_w * scale for board, gain_w in steady.gains_w.items()},
    )


def _sharp(readings: Readings, first: int, end: int) -> list[int]:
    """The readings of a stretch that were not caught late: their brackets are about as narrow as the others'."""
    widths_ns = readings.time_ns[first:end] - readings.unchanged_at_ns[first:end]
    if not len(widths_ns):
        return []
    narrow = widths_ns <= 2 * float(np.median(widths_ns))
    return [first + int(index) for index in np.flatnonzero(narrow)]


def _reported(curve: Curve, found: DomainCurves, readings: Readings, quiet: Stretches, block: Block) -> Idle | None:
    """The mean of the watts whose averaging windows lie in quiet; it is no further off than the lowest and highest."""
    channel = curve.channel
    longest_ns = 0 if channel.method == "model" else LONGEST_WINDOW_NS
    window_ns = longest_ns if channel.window_ns is None else channel.window_ns
    spans = [_inside(readings, window.start_ns + window_ns, window.end_ns) for window in quiet]
    spans = [(first, end) for first, end in spans if end - first >= LEAST_READINGS]
    if not spans:
        return None
    power_w = np.concatenate([readings.value[first:end] for first, end in spans])
    seen_ns = sum(int(readings.time_ns[end - 1] - readings.time_ns[first]) for first, end in spans)
    mean_w = float(np.mean(power_w))
    error_fraction = 0.0 if found.method == "measured" else model_error_fraction(channel)
    low_w = float(np.min(power_w)) * max(1.0 - error_fraction, 0.0)
    high_w = (float(np.max(power_w)) + (channel.resolution_w or 0.0)) * (1.0 + error_fraction)
    gains_w: dict[str, float] = {}
    if found.method == "measured":
        second = np.array([1.0])
        gains_w[channel.board] = float(gain_error_j(channel, np.array([mean_w]), second)[0])
    steady = Idle(mean_w, (low_w, high_w), seen_ns, gains_w=gains_w)
    if found.method != "measured":
        return steady
    return _with_drift(steady, _reported_pieces(readings, spans), block)


def _reported_pieces(readings: Readings, spans: Sequence[tuple[int, int]]) -> _Pieces:
    """Each quiet stretch as one piece, with the range of its watts."""
    values = [readings.value[first:end] for first, end in spans]
    ends_ns = np.array([(readings.time_ns[first], readings.time_ns[end - 1]) for first, end in spans], dtype=np.float64)
    return _Pieces(
        ends_ns.mean(axis=1),
        ends_ns[:, 1] - ends_ns[:, 0],
        np.array([np.mean(each) for each in values], dtype=np.float64),
        np.array([np.min(each) for each in values], dtype=np.float64),
        np.array([np.max(each) for each in values], dtype=np.float64),
    )


def _inside(readings: Readings, start_ns: int, end_ns: int) -> tuple[int, int]:
    first = int(np.searchsorted(readings.time_ns, start_ns, "left"))
    return first, int(np.searchsorted(readings.time_ns, end_ns, "right"))

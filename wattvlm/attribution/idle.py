"""Idle power of a domain: over stretches of the recording outside of all blocks and calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wattvlm.attribution.curve import Curve
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.joules import domain_joules
from wattvlm.attribution.power import LONGEST_WINDOW_NS, model_error_fraction
from wattvlm.attribution.windows import Stretches, Window, columns, difference, duration_ns, union
from wattvlm.recording import Readings, Recording
from wattvlm.report import Idle
from wattvlm.trace import Block, Trace
from wattvlm.units import NS_PER_S

LEAST_READINGS = 2


def quiet_stretches(recording: Recording, trace: Trace, blocks: Sequence[Block]) -> Stretches:
    """The time of a recording outside all blocks, calls and phases."""
    busy = [Window(block.start_ns, block.end_ns) for block in blocks]
    busy += [Window(call.start_ns, call.end_ns) for call in trace.calls]
    phases = [*trace.own_phases, *(phase for call in trace.calls for phase in call.phases)]
    busy += [Window(span.start_ns, max(span.start_ns, span.end_ns)) for phase in phases for span in phase.spans]
    return difference((Window(recording.start_ns, recording.end_ns),), union(busy))


def idle_of(found: DomainCurves, recording: Recording, quiet: Stretches) -> Idle | None:
    """Idle power of a domain, or None where one of its channels was not seen idle for two readings."""
    idles: list[Idle] = []
    for curve in found.curves:
        readings = recording.readings[curve.channel.name]
        seen = _counted if curve.channel.method == "counter" else _reported
        idle = seen(curve, found, readings, quiet)
        if idle is None:
            return None
        idles.append(idle)
    return Idle(
        sum(idle.power_w for idle in idles),
        (sum(idle.interval_w[0] for idle in idles), sum(idle.interval_w[1] for idle in idles)),
        min(idle.seen_ns for idle in idles),
        found.method == "modelled",
    )


def _counted(curve: Curve, found: DomainCurves, readings: Readings, quiet: Stretches) -> Idle | None:
    """A counter's joules from the first to the last sharp tick of each stretch; its very first tick was not seen."""
    stretches: list[Window] = []
    for window in quiet:
        first, end = _inside(readings, window.start_ns, window.end_ns)
        sharp = _sharp(readings, max(first, 1), end)
        if len(sharp) >= LEAST_READINGS:
            stretches.append(Window(int(readings.time_ns[sharp[0]]), int(readings.time_ns[sharp[-1]])))
    seen_ns = duration_ns(stretches)
    if not seen_ns:
        return None
    joules = domain_joules([curve], found.method, columns([tuple(stretches)]))
    power_w, low_w, high_w = (
        float(column[0]) / seen_ns * NS_PER_S for column in (joules.middle_j, joules.low_j, joules.high_j)
    )
    return Idle(power_w, (low_w, high_w), round(seen_ns))


def _sharp(readings: Readings, first: int, end: int) -> list[int]:
    """The readings of a stretch that were not caught late: their brackets are about as narrow as the others'."""
    widths_ns = readings.time_ns[first:end] - readings.unchanged_at_ns[first:end]
    if not len(widths_ns):
        return []
    narrow = widths_ns <= 2 * float(np.median(widths_ns))
    return [first + int(index) for index in np.flatnonzero(narrow)]


def _reported(curve: Curve, found: DomainCurves, readings: Readings, quiet: Stretches) -> Idle | None:
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
    return Idle(mean_w, (low_w, high_w), seen_ns)


def _inside(readings: Readings, start_ns: int, end_ns: int) -> tuple[int, int]:
    first = int(np.searchsorted(readings.time_ns, start_ns, "left"))
    return first, int(np.searchsorted(readings.time_ns, end_ns, "right"))

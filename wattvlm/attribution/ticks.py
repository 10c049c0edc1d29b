"""A counter's readings as unbroken stretches of ticks: unwrapped, with a bracket in time for each.

A tick is the moment at which the counter took its value: somewhere in (early, late]. Where the counter started again
from nothing, went backwards, stood still for several periods, or may have wrapped more than once, the stretch ends:
the joules across such a break are known only by their least, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wattvlm.recording import Readings
from wattvlm.sensing import Channel
from wattvlm.units import NS_PER_MS, NS_PER_S, S_PER_NS, format_ns

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Counts = NDArray[np.int64]

FREE_RUNNING_NS = 5 * NS_PER_MS
"""Counters that tick at least this often (RAPL: 1 ms) are read when it suits; no edge of theirs is waited for."""

STALENESS_PERIODS = 2
"""A free-running counter's value is at most this many periods old: RAPL's 1 ms period jitters (Khan et al. 2018)."""

SAME_READ_NS = 50_000
"""A bracket that begins this close to its own read saw no older value: the first read after the sampler began anew."""

STUCK_PERIODS = 3.0
"""A counter that was seen unchanged for longer than this many of its periods did not count in that time, perhaps."""

PLAUSIBLE_RATE = 4.0
"""Where no largest power is stated, a wrap may not need more than this many times the usual power."""


IMPOSSIBLE_RATE = 10.0
"""A step this many times over what is possible is no sign of a wrong limit: the counter jumped."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """One unbroken stretch: each value in joules was reached in (early_s, late_s], seconds since the origin.

    The first early_s of a recording is -inf where the counter's last tick before the first read was not seen.
    """

    early_s: Floats
    late_s: Floats
    energy_j: Floats


@dataclass(frozen=True, slots=True)
class Break:
    """A stretch of time across which the counter cannot be trusted; at least `least_j` were used in it."""

    start_s: float
    end_s: float
    least_j: float


@dataclass(frozen=True, slots=True)
class Count:
    """All that a counter said: its stretches, the breaks between them, its period, and lines for the report."""

    stretches: tuple[Ticks, ...]
    breaks: tuple[Break, ...]
    period_s: float | None
    notes: tuple[str, ...] = ()


def seconds_since(origin_ns: int, time_ns: Times) -> Floats:
    """Times in seconds since an origin: float seconds of a recording keep nanoseconds for a hundred days."""
    return np.asarray((time_ns - origin_ns) * S_PER_NS, dtype=np.float64)


def within(time_s: Floats, start_s: float, end_s: float) -> Floats:
    """Times moved into [start_s, end_s]."""
    return np.minimum(np.maximum(time_s, start_s), end_s)


def is_free_running(channel: Channel) -> bool:
    """True for a counter that ticks too fast to follow: it is read when it suits, and its ticks are not seen."""
    return channel.method == "counter" and (channel.update_period_ns or NS_PER_S) <= FREE_RUNNING_NS


def recover_ticks(channel: Channel, readings: Readings, origin_ns: int, limit_w: float | None) -> Count | None:
    """The ticks in a counter's readings, or None where it never changed."""
    changed = np.concatenate([[True], np.diff(readings.value) != 0.0]) if len(readings) else np.zeros(0, bool)
    if np.count_nonzero(changed) < 2:
        return None
    edges = _edges(channel, readings, changed, origin_ns)
    steps_j, why = _steps(channel, edges, limit_w)
    early_s = _without_staleness(edges, why) if is_free_running(channel) else edges.early_s
    least_j = _least(channel, steps_j, early_s, edges.late_s, limit_w)
    stretches, breaks = _split(early_s, edges.late_s, steps_j, least_j, why)
    notes = tuple(
        f"{channel.name}: {why[index]} at {format_ns(edges.late_s[index] * NS_PER_S)} into the recording; joules of "
        f"{format_ns((edges.late_s[index + 1] - edges.late_s[index]) * NS_PER_S)} are known only within bounds for it"
        for index in sorted(why)
    )
    return Count(tuple(stretches), tuple(breaks), edges.period_s, notes)


@dataclass(frozen=True, slots=True)
class _Edges:
    """The readings that show a new value. older_read_s: start of the reading before each; early_s: of its bracket."""

    values_j: Floats
    early_s: Floats
    late_s: Floats
    older_read_s: Floats
    period_s: float


def _edges(channel: Channel, readings: Readings, changed: NDArray[np.bool_], origin_ns: int) -> _Edges:
    read_at_ns = readings.time_ns - readings.took_ns
    older_read_ns = np.concatenate([read_at_ns[:1], read_at_ns[:-1]])
    saw_old_value = read_at_ns - readings.unchanged_at_ns > SAME_READ_NS
    early_ns = np.where(saw_old_value, readings.unchanged_at_ns, older_read_ns)
    early_s, older_read_s = (seconds_since(origin_ns, times_ns[changed]) for times_ns in (early_ns, older_read_ns))
    early_s[0] = older_read_s[0] = -np.inf
    if channel.update_period_ns is not None and is_free_running(channel):
        oldest_ns = read_at_ns - STALENESS_PERIODS * channel.update_period_ns
        early_s = np.maximum(early_s, seconds_since(origin_ns, oldest_ns[changed]))
    late_s = seconds_since(origin_ns, readings.time_ns[changed])
    nominal_s = 0.0 if channel.update_period_ns is None else channel.update_period_ns * S_PER_NS
    period_s = max(nominal_s, float(np.median(np.diff(late_s))))
    return _Edges(readings.value[changed], np.maximum.accumulate(early_s), late_s, older_read_s, period_s)


def _steps(channel: Channel, edges: _Edges, limit_w: float | None) -> tuple[Floats, dict[int, str]]:
    """(unwrapped steps, reason by index where a step breaks the stretch)."""
    steps_j = np.diff(edges.values_j)
    begun_s = np.where(np.isfinite(edges.early_s), edges.early_s, edges.late_s - edges.period_s)
    longest_s = np.maximum(edges.late_s[1:] - begun_s[:-1], S_PER_NS)
    rising_w = steps_j[steps_j > 0] / longest_s[steps_j > 0]
    usual_w = PLAUSIBLE_RATE * float(np.median(rising_w)) if len(rising_w) else 0.0
    most_j = (limit_w if limit_w is not None else usual_w) * longest_s
    why: dict[int, str] = {}
    if channel.wraps_at_j is not None:
        wrapped = (steps_j < 0) & (steps_j + channel.wraps_at_j <= most_j)
        steps_j = np.where(wrapped, steps_j + channel.wraps_at_j, steps_j)
        why |= dict.fromkeys(_where(most_j >= channel.wraps_at_j), "may have wrapped more than once")
    why |= dict.fromkeys(_where(steps_j < 0), "the counter went backwards or started again")
    why |= dict.fromkeys(_where(steps_j > IMPOSSIBLE_RATE * most_j), "the counter jumped ahead")
    still_s = edges.early_s[1:] - edges.late_s[:-1]
    for index in _where(still_s > STUCK_PERIODS * edges.period_s):
        why.setdefault(index, f"unchanged for {format_ns(float(still_s[index]) * NS_PER_S)}, longer than its period")
    return steps_j, why


def _without_staleness(edges: _Edges, why: dict[int, str]) -> Floats:
    """Brackets where the last ticks before breaks of a free-running counter begin at the read before.

    It may have stood still since then. The recording's last tick is one of them, since nothing is known after it.
    """
    early_s: Floats = np.array(edges.early_s, dtype=np.float64)
    for index in (*why, len(early_s) - 1):
        early_s[index] = min(early_s[index], edges.older_read_s[index])
    return early_s


def _least(channel: Channel, steps_j: Floats, early_s: Floats, late_s: Floats, limit_w: float | None) -> Floats:
    """What was surely used after each tick was seen: its step, less what may belong to the bracket before."""
    if limit_w is None:
        return np.zeros_like(steps_j)
    before_j = (channel.resolution_j or 0.0) + limit_w * (late_s[:-1] - early_s[:-1])
    least_j = np.maximum(steps_j - before_j, 0.0)
    return np.where(least_j <= limit_w * (late_s[1:] - late_s[:-1]), least_j, 0.0)


def _where(condition: NDArray[np.bool_]) -> list[int]:
    return [int(index) for index in np.flatnonzero(condition)]


def _split(
    early_s: Floats, late_s: Floats, steps_j: Floats, least_j: Floats, why: dict[int, str]
) -> tuple[list[Ticks], list[Break]]:
    edges = [0, *(index + 1 for index in sorted(why)), len(late_s)]
    energy_j = np.concatenate([[0.0], np.cumsum(steps_j)])
    stretches = [
        Ticks(early_s[first:end], late_s[first:end], energy_j[first:end] - energy_j[first])
        for first, end in pairwise(edges)
    ]
    breaks = [Break(float(late_s[i]), float(late_s[i + 1]), float(least_j[i])) for i in sorted(why)]
    return stretches, breaks

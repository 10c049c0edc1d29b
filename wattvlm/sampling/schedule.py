"""When to read which channel: each tick of a counter is caught in a narrow bracket for few polls.

A counter says something only when it ticks. A plan learns its comb, sleeps until just before the next tick, polls until
the value changes, and keeps the bracket. Everything here is driven by a Clock and a Probe, also by ones that only tests
know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Protocol

from wattvlm.clock import Clock
from wattvlm.errors import ProbeError, ProbeRetry
from wattvlm.sampling.conditions import ConditionPlan, ConditionSink
from wattvlm.sampling.pace import FAST_PERIOD_NS, FastPace, LearningPace, Pace
from wattvlm.sampling.ticksearch import TickSearch
from wattvlm.sensing import Channel, EnergyReading, PowerReading, Probe, Reading
from wattvlm.units import NS_PER_MS, NS_PER_S

UNCHANGED_EVERY_NS = NS_PER_S
"""A counter that stands still is stored this often, so that a reader knows it stood still."""

_MODEL_EVERY_NS = 100 * NS_PER_MS
_UNKNOWN_POWER_PERIOD_NS = 100 * NS_PER_MS
_SHORTEST_POWER_NS = 10 * NS_PER_MS
_LONGEST_SLEEP_NS = 100 * NS_PER_MS
_LONGEST_PAUSE_NS = NS_PER_S
_LEAST_PAUSE_NS = 100_000

_AFTER_A_TICK = 1.1
"""A power that is counted already is read so many periods after its last tick: each value once, jitter allowed for."""

_BUFFER_EVERY_NS = 200 * NS_PER_MS
_READINGS_OF_A_BUFFER = 3
_OVERWRITTEN_PERIODS = 3
_OVERWRITTEN = "the driver's buffer was overwritten before it was read"
_TOO_BUSY = "the sampling process could not keep up: the machine was too busy"


class Sink(ConditionSink, Protocol):
    """Where the schedule puts what it saw."""

    def reading(self, reading: Reading) -> None:
        """One reading to keep."""
        ...

    def gap(self, channel: str, from_ns: int, to_ns: int, why: str) -> None:
        """A stretch without readings; given again, with a later end, while it lasts."""
        ...

    def lost(self, channel: str, from_ns: int, why: str) -> None:
        """The channel gives no more readings."""
        ...

    def learned(self, channel: str, period_ns: int | None, how: str) -> None:
        """How the channel is read from now on, and its tick period where it keeps one."""
        ...

    def note(self, text: str) -> None:
        """A line for the report."""
        ...


class Plan(Protocol):
    """When one channel is read next, and which of its readings are kept."""

    @property
    def due_ns(self) -> int:
        """The next read."""
        ...

    @property
    def late_after_ns(self) -> int | None:
        """A time between reads that is too long; None where a late read loses nothing (counters, stamped readings)."""
        ...

    def saw(self, start_ns: int, end_ns: int, readings: Sequence[Reading]) -> Sequence[Reading]:
        """The readings to keep of a read that took from start to end; moves `due_ns` on."""
        ...


class CounterPlan:
    """A counter: its edges are kept with their brackets, and once a second that it stands still."""

    late_after_ns: int | None = None

    def __init__(self, channel: Channel, now_ns: int, sink: Sink) -> None:
        self._channel = channel
        self._sink = sink
        period_ns = channel.update_period_ns
        self._pace: Pace
        if period_ns is not None and period_ns <= FAST_PERIOD_NS:
            self._pace = FastPace(period_ns)
            sink.learned(channel.name, period_ns, self._pace.how)
        else:
            self._pace = LearningPace(channel.name, period_ns)
        self._value_j: float | None = None
        self._unchanged_at_ns = 0
        self._stored_at_ns = 0
        self.due_ns = now_ns

    def saw(self, start_ns: int, end_ns: int, readings: Sequence[Reading]) -> Sequence[Reading]:
        counted = [each for each in readings if isinstance(each, EnergyReading)]
        if len(counted) > 1 or (counted and counted[0].time_ns < start_ns):
            return self._stamped(counted, end_ns)
        edge_from_ns: int | None = None
        kept: Sequence[Reading] = ()
        if counted:
            edge_from_ns, kept = self._fresh(counted[0], start_ns)
        pace = self._pace.after(start_ns, end_ns, edge_from_ns)
        if pace is not self._pace:
            self._pace = pace
            self._sink.learned(self._channel.name, pace.period_ns, pace.how)
            if pace.note:
                self._sink.note(pace.note)
        self.due_ns = max(pace.due_ns, end_ns + _LEAST_PAUSE_NS)
        return kept

    def _fresh(self, reading: EnergyReading, start_ns: int) -> tuple[int | None, Sequence[Reading]]:
        """Where the edge's bracket begins, if the reading shows one, and what to keep of it."""
        is_first = self._value_j is None
        changed = not is_first and reading.energy_j != self._value_j
        # A fast counter has ticked many times since the last read: its value is at most two of its ticks old.
        edge_from_ns = max(self._unchanged_at_ns, self._pace.oldest_ns(start_ns)) if changed else None
        self._value_j = reading.energy_j
        self._unchanged_at_ns = start_ns
        if not changed and not is_first and reading.time_ns - self._stored_at_ns < UNCHANGED_EVERY_NS:
            return None, ()
        self._stored_at_ns = reading.time_ns
        from_ns = reading.unchanged_at_ns if edge_from_ns is None else edge_from_ns
        return edge_from_ns, (_energy(reading, from_ns),)

    def _stamped(self, readings: Sequence[EnergyReading], end_ns: int) -> Sequence[Reading]:
        """A driver's or a replay's own brackets, kept as they are."""
        period_ns = self._channel.update_period_ns or _UNKNOWN_POWER_PERIOD_NS
        self.due_ns = end_ns + max(period_ns // 2, _SHORTEST_POWER_NS)
        newer = [each for each in readings if each.time_ns > self._stored_at_ns]
        if newer:
            self._stored_at_ns = newer[-1].time_ns
        return newer


def _energy(reading: EnergyReading, unchanged_at_ns: int) -> EnergyReading:
    if unchanged_at_ns == reading.unchanged_at_ns:
        return reading
    return EnergyReading(reading.channel, unchanged_at_ns, reading.time_ns, reading.took_ns, reading.energy_j)


class PowerPlan:
    """A power: read twice a period (a model ten times a second), once of these where its tick is thought to be.

    Of stamped readings, each is kept once; of a power that a counter holds already, each is read once.

    Where the driver keeps a buffer, one read gives many: it is read once in two of them.
    """

    def __init__(self, channel: Channel, now_ns: int, sink: Sink) -> None:
        period_ns = channel.update_period_ns or _UNKNOWN_POWER_PERIOD_NS
        is_model = channel.method == "model"
        self._every_ns = _MODEL_EVERY_NS if is_model else max(period_ns // 2, _SHORTEST_POWER_NS)
        if channel.read_every_ns is not None:
            self._every_ns = max(self._every_ns, channel.read_every_ns)
        self._again_after_ns: int | None = None
        if channel.contained_in is not None and channel.read_every_ns is None:
            self._again_after_ns = round(_AFTER_A_TICK * period_ns)
        self._name = channel.name
        self._sink = sink
        self._search = None if is_model or 2 * self._every_ns != period_ns else TickSearch(period_ns, now_ns)
        self._stored_at_ns = -1
        self.late_after_ns: int | None = None
        self.due_ns = now_ns
        sink.learned(channel.name, channel.update_period_ns, f"read every {self._every_ns / NS_PER_MS:g} ms")

    def saw(self, start_ns: int, end_ns: int, readings: Sequence[Reading]) -> Sequence[Reading]:
        newer = [each for each in readings if each.time_ns > self._stored_at_ns]
        is_stamped = bool(readings) and readings[-1].time_ns < start_ns
        # Stamped readings come out of the driver's buffer: a late read loses none of them.
        self.late_after_ns = None if is_stamped else 4 * self._every_ns
        self._tell_overwritten(newer)
        if newer:
            self._stored_at_ns = newer[-1].time_ns
        if self._search is not None and not is_stamped and len(readings) == 1 and isinstance(readings[0], PowerReading):
            self.due_ns = max(self._search.due_after(end_ns, readings[0].power_w), end_ns + _LEAST_PAUSE_NS)
            return newer
        if is_stamped and newer and len(readings) == 1 and self._again_after_ns is not None:
            self.due_ns = max(newer[0].time_ns + self._again_after_ns, end_ns + self._every_ns // 2)
            return newer
        every_ns = max(self._every_ns, _BUFFER_EVERY_NS) if len(readings) > 1 else self._every_ns
        self.due_ns = max(self.due_ns + every_ns, end_ns + every_ns // 2)
        return newer

    def _tell_overwritten(self, newer: Sequence[Reading]) -> None:
        """A gap where the driver's buffer no longer held what came after the last reading."""
        if self._stored_at_ns < 0 or len(newer) < _READINGS_OF_A_BUFFER:
            return
        usual_ns = (newer[-1].time_ns - newer[0].time_ns) // (len(newer) - 1)
        if newer[0].time_ns - self._stored_at_ns > _OVERWRITTEN_PERIODS * usual_ns:
            self._sink.gap(self._name, self._stored_at_ns, newer[0].time_ns, _OVERWRITTEN)


def plan_for(channel: Channel, now_ns: int, sink: Sink) -> Plan:
    """The plan that fits a channel."""
    kind = CounterPlan if channel.method == "counter" else PowerPlan
    return kind(channel, now_ns, sink)


class _Watched:
    """One channel being read: its plan, and the gap that is open while its reads fail."""

    def __init__(self, channel: Channel, now_ns: int, sink: Sink) -> None:
        self.channel = channel
        self.plan = plan_for(channel, now_ns, sink)
        self.due_ns = now_ns
        self._sink = sink
        self._good_at_ns = now_ns
        self._told_at_ns = 0
        self._failures = 0
        self._why = ""

    def good(self, start_ns: int, end_ns: int, readings: Sequence[Reading]) -> None:
        """A read that worked; it ends the gap of those before it that did not."""
        late_after_ns = self.plan.late_after_ns
        if self._failures:
            self._sink.gap(self.channel.name, self._good_at_ns, start_ns, self._why)
            self._failures = 0
        elif late_after_ns is not None and start_ns - self._good_at_ns > late_after_ns:
            self._sink.gap(self.channel.name, self._good_at_ns, start_ns, _TOO_BUSY)
        for reading in self.plan.saw(start_ns, end_ns, [each for each in readings if self._is_sound(each, end_ns)]):
            self._sink.reading(reading)
        self._good_at_ns = end_ns
        self.due_ns = self.plan.due_ns

    def _is_sound(self, reading: Reading, end_ns: int) -> bool:
        value = reading.energy_j if isinstance(reading, EnergyReading) else reading.power_w
        # A driver's stamp, turned from wall clock to monotonic, may lie a little ahead of now.
        return reading.channel == self.channel.name and isfinite(value) and 0 <= reading.time_ns <= end_ns + NS_PER_S

    def failed(self, end_ns: int, why: str) -> None:
        """A read that failed and is tried again, ever more slowly; the gap is told once a second while it lasts."""
        if not self._failures or end_ns - self._told_at_ns >= NS_PER_S:
            self._sink.gap(self.channel.name, self._good_at_ns, end_ns, why)
            self._told_at_ns = end_ns
        self._why = why
        self.due_ns = end_ns + min(10 * NS_PER_MS * 2 ** min(self._failures, 10), _LONGEST_PAUSE_NS)
        self._failures += 1

    def lost(self, why: str) -> None:
        """The channel will not come back."""
        self._sink.lost(self.channel.name, self._good_at_ns, why)


def read_until(stop: Callable[[], bool], probe: Probe, channels: Sequence[Channel], clock: Clock, sink: Sink) -> None:
    """Read the channels of one open probe, each by its plan, until `stop` or until all of them are lost."""
    now_ns = clock.monotonic_ns()
    watched = [_Watched(channel, now_ns, sink) for channel in channels]
    conditions = ConditionPlan(probe, clock, sink)
    while watched and not stop():
        first = min(watched, key=_due_ns)
        wait_ns = first.due_ns - clock.monotonic_ns()
        if conditions.ask(wait_ns):
            continue
        if wait_ns > 0:
            clock.sleep_ns(min(wait_ns, _LONGEST_SLEEP_NS))
            continue
        if not _read(probe, first, clock):
            watched.remove(first)


def _due_ns(watched: _Watched) -> int:
    return watched.due_ns


def _read(probe: Probe, watched: _Watched, clock: Clock) -> bool:
    """One read; False where the channel is lost."""
    start_ns = clock.monotonic_ns()
    try:
        readings = probe.read(watched.channel)
        watched.good(start_ns, clock.monotonic_ns(), readings)
    except ProbeRetry as error:
        watched.failed(clock.monotonic_ns(), str(error) or "a read failed")
    except Exception as error:  # a probe may fail in any way: it ends its own channel and nothing else
        watched.lost(str(error) if isinstance(error, ProbeError) and str(error) else repr(error))
        return False
    return True

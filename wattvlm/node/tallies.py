"""The joules of one channel for months on end: a few numbers a channel, whatever is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, replace

from wattvlm.sensing import Channel, EnergyReading, Reading
from wattvlm.units import NS_PER_S, S_PER_NS

LONGEST_STEP_NS = 10 * NS_PER_S
"""Between two powers further apart than this nobody knows the power: the time is counted as unread, its joules not."""

_POWER_OVER_READINGS = 6
_POWER_STEP_NS = NS_PER_S


def _trail() -> deque[tuple[int, float]]:
    return deque(maxlen=_POWER_OVER_READINGS)


@dataclass(slots=True)
class Tally:
    """One channel since it was first read.

    energy_j: joules up to until_ns, never less than before. unread_ns: time whose joules are not in it. reads,
    failures: how often it was read, and in vain. lost: it gives nothing until it is opened again.
    """

    channel: Channel
    energy_j: float = 0.0
    until_ns: int | None = None
    unread_ns: int = 0
    reads: int = 0
    failures: int = 0
    lost: bool = False
    _value: float | None = None
    _trail: deque[tuple[int, float]] = field(default_factory=_trail)

    def add(self, readings: Iterable[Reading]) -> None:
        """What one read gave; readings that are no newer than those before are passed over."""
        self.reads += 1
        for reading in readings:
            if self.until_ns is None or reading.time_ns > self.until_ns:
                self._add(reading)

    def _add(self, reading: Reading) -> None:
        value = reading.energy_j if isinstance(reading, EnergyReading) else reading.power_w
        before, before_ns = self._value, self.until_ns
        self._value, self.until_ns = value, reading.time_ns
        if before is not None and before_ns is not None:
            joules_between = self._counted if isinstance(reading, EnergyReading) else self._integrated
            self.energy_j += joules_between(before, value, reading.time_ns - before_ns)
        if not self._trail or reading.time_ns - self._trail[-1][0] >= _POWER_STEP_NS:
            self._trail.append((reading.time_ns, self.energy_j))

    def _counted(self, before_j: float, now_j: float, duration_ns: int) -> float:
        """Joules between two values of a counter that may have wrapped once, or begun anew."""
        most_w, wraps_at_j = self.channel.max_power_w, self.channel.wraps_at_j
        most_j = None if most_w is None else most_w * duration_ns * S_PER_NS
        if wraps_at_j is not None and most_j is not None and most_j > wraps_at_j:
            self.unread_ns += duration_ns  # it may have wrapped more than once
        if now_j >= before_j:
            return now_j - before_j
        if wraps_at_j is not None:
            wrapped_j = now_j + wraps_at_j - before_j
            if most_j is None or wrapped_j <= most_j + (self.channel.resolution_j or 0.0):
                return wrapped_j
        self.unread_ns += duration_ns  # begun anew: what it counted before that is gone
        return now_j if most_j is None or now_j <= most_j else 0.0

    def _integrated(self, before_w: float, now_w: float, duration_ns: int) -> float:
        """Joules between two powers. A model's is the mean since the one before, a sensor's that of its moment."""
        if duration_ns > max(LONGEST_STEP_NS, 2 * (self.channel.update_period_ns or 0)):
            self.unread_ns += duration_ns
            self._trail.clear()
            return 0.0
        mean_w = now_w if self.channel.method == "model" else (before_w + now_w) / 2.0
        return max(0.0, mean_w) * duration_ns * S_PER_NS

    def copy(self) -> Tally:
        """As it is now; what is added later is not in it."""
        return replace(self, _trail=self._trail.copy())

    @property
    def power_w(self) -> float | None:
        """Mean power over the last five seconds or so; None before there are two readings a second apart."""
        if len(self._trail) < 2:
            return None
        (first_ns, first_j), (last_ns, last_j) = self._trail[0], self._trail[-1]
        return (last_j - first_j) / ((last_ns - first_ns) * S_PER_NS)

    def is_fresh(self, now_ns: int) -> bool:
        """It gave a reading lately: within ten seconds, or three of its periods."""
        longest_ns = max(LONGEST_STEP_NS, 3 * (self.channel.update_period_ns or 0))
        return not self.lost and self.until_ns is not None and now_ns - self.until_ns <= longest_ns


def worth_reading(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """Channels of one probe that add to a total: no part of another, and no power beside its board's counter."""
    return _once(channels, {channel.name for channel in channels})


def in_totals(tallies: Sequence[Tally]) -> tuple[Tally, ...]:
    """Those whose joules add up to their domains', each joule once; measured where a domain is, else modelled.

    As a report chooses them (attribution.domains): a lost sensor gives way to what stands for it.
    """
    usable = {tally.channel.name: tally for tally in tallies if tally.until_ns is not None and not tally.lost}
    channels = [tally.channel for tally in usable.values()]
    measured = {channel.domain for channel in channels if channel.method != "model"}
    chosen = [channel for channel in channels if (channel.method == "model") != (channel.domain in measured)]
    return tuple(usable[channel.name] for channel in _once(chosen, set(usable)))


def _once(channels: Sequence[Channel], known: Set[str]) -> tuple[Channel, ...]:
    """Channels of which none holds joules of another. known: the names of all that are read."""
    counted = {(channel.board, channel.domain) for channel in channels if channel.method == "counter"}
    return tuple(
        channel
        for channel in channels
        if channel.contained_in not in known
        and not (channel.method == "power" and (channel.board, channel.domain) in counted)
    )

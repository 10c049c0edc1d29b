"""A clock that moves only when told to, and counters whose true ticks are known: hours of polling in a second."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wattvlm.sampling.schedule import read_until
from wattvlm.sensing import Channel, Condition, Domain, EnergyReading, PowerReading, Probe, Reading, Sensors
from wattvlm.units import NS_PER_S

MS = 1_000_000
US = 1_000


class SimulatedClock:
    """Time passes in sleeps, which wake up some 60 us late as Linux does, and in reads."""

    def __init__(self, late_ns: Callable[[], int] = lambda: 60 * US) -> None:
        self.now_ns = 10**12
        self._late_ns = late_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns + 10**18

    def sleep_ns(self, duration_ns: int) -> None:
        if duration_ns > 0:
            self.now_ns += duration_ns + self._late_ns()


class SimulatedCounter:
    """A counter whose ticks come at `ticks_ns`; each read takes `call_ns`, and shows the value of its middle."""

    domain: Domain = "gpu"

    def __init__(self, clock: SimulatedClock, ticks_ns: Sequence[int], call_ns: int) -> None:
        self._clock = clock
        self._ticks_ns = ticks_ns
        self._call_ns = call_ns
        self._ticked = 0
        self.reads_ns: list[int] = []

    def open(self) -> Sensors:
        return Sensors(())

    def read(self, channel: Channel) -> Sequence[Reading]:
        start_ns = self._clock.now_ns
        self.reads_ns.append(start_ns)
        middle_ns = start_ns + self._call_ns // 2
        while self._ticked < len(self._ticks_ns) and self._ticks_ns[self._ticked] <= middle_ns:
            self._ticked += 1
        self._clock.now_ns += self._call_ns
        return [EnergyReading(channel.name, start_ns, self._clock.now_ns, self._call_ns, 10.0 * self._ticked)]

    def close(self) -> None:
        return


def jittered_ticks(clock: SimulatedClock, period_ms: float, jitter_ms: float, count: int, seed: int = 1) -> list[int]:
    """Ticks on a comb, each off by up to the jitter, from a random phase on."""
    chance = random.Random(seed)
    phase_ms = chance.uniform(0, period_ms)
    return sorted(
        clock.now_ns + int((phase_ms + number * period_ms + chance.uniform(-jitter_ms, jitter_ms)) * MS)
        for number in range(1, count + 1)
    )


@dataclass
class Kept:
    """A sink that keeps everything."""

    readings: list[Reading] = field(default_factory=list)
    gaps: list[tuple[str, int, int, str]] = field(default_factory=list)
    losses: list[tuple[str, int, str]] = field(default_factory=list)
    ways: list[tuple[int | None, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)

    def condition(self, condition: Condition) -> None:
        self.conditions.append(condition)

    def reading(self, reading: Reading) -> None:
        self.readings.append(reading)

    def gap(self, channel: str, from_ns: int, to_ns: int, why: str) -> None:
        self.gaps.append((channel, from_ns, to_ns, why))

    def lost(self, channel: str, from_ns: int, why: str) -> None:
        self.losses.append((channel, from_ns, why))

    def learned(self, channel: str, period_ns: int | None, how: str) -> None:
        self.ways.append((period_ns, how))

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def energies(self) -> list[EnergyReading]:
        return [each for each in self.readings if isinstance(each, EnergyReading)]

    @property
    def powers(self) -> list[PowerReading]:
        return [each for each in self.readings if isinstance(each, PowerReading)]

    def edges(self) -> list[EnergyReading]:
        """The readings that differ from the one before: ticks."""
        pairs = zip(self.energies, self.energies[1:])
        return [after for before, after in pairs if after.energy_j != before.energy_j]


def counter(period_ms: float | None, name: str = "gpu-0/board") -> Channel:
    period_ns = None if period_ms is None else int(period_ms * MS)
    return Channel(name, "simulated", "simulated", "gpu", "counter", update_period_ns=period_ns)


def read_for(seconds: float, probe: Probe, channels: Sequence[Channel], clock: SimulatedClock) -> Kept:
    """What a schedule keeps of a probe in so many simulated seconds."""
    kept = Kept()
    until_ns = clock.now_ns + int(seconds * NS_PER_S)
    read_until(lambda: clock.now_ns >= until_ns, probe, channels, clock, kept)
    return kept

"""All sensors of this machine, read once a second for as long as it runs; those that are absent are asked for again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeRetry
from wattvlm.node.tallies import Tally, worth_reading
from wattvlm.sampling.child import absence_of, make_probe
from wattvlm.sensing import Absence, Channel, EnergyReading, Probe, ProbeSource, Reading
from wattvlm.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

READ_EVERY_NS = NS_PER_S
"""A counter keeps its joules between reads: once a second loses none, and takes a hundredth of a meter's reads."""

TRY_AGAIN_S = 60.0
"""A driver that is loaded after this service, or comes back, is found within a minute."""

_SHORTEST_NS = 50 * NS_PER_MS
_LONGEST_SLEEP_NS = 500 * NS_PER_MS
_CLOSING_S = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the sensors have said up to now. absent: by the probe that told it."""

    tallies: tuple[Tally, ...]
    absent: tuple[tuple[str, Absence], ...]
    facts: Mapping[str, str]


class NodeSensors:
    """The tallies of all channels and what is absent; written by one thread a probe, read by whoever is asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, Tally] = {}
        self._owners: dict[str, str] = {}
        self._absent: dict[str, tuple[Absence, ...]] = {}
        self._facts: dict[str, dict[str, str]] = {}

    def opened(
        self, target: str, channels: Sequence[Channel], absent: Sequence[Absence], facts: Mapping[str, str]
    ) -> tuple[Channel, ...]:
        """A probe was opened, perhaps not for the first time; which of its channels to read."""
        with self._lock:
            chosen = [each for each in worth_reading(channels) if self._owners.get(each.name, target) == target]
            for channel in chosen:
                known = self._tallies.get(channel.name)
                if known is None:
                    self._tallies[channel.name] = Tally(channel)
                else:
                    known.channel, known.lost = channel, False
                self._owners[channel.name] = target
            self._absent[target] = tuple(absent)
            self._facts[target] = dict(facts)
        return tuple(chosen)

    def unavailable(self, target: str, absence: Absence) -> None:
        """A probe could not be opened; channels that another probe gives may be taken over."""
        with self._lock:
            self._absent[target] = (absence,)
            self._facts.pop(target, None)
            for name, owner in self._owners.items():
                if owner == target:
                    self._tallies[name].lost = True
            self._owners = {name: owner for name, owner in self._owners.items() if owner != target}

    def read(self, channel: Channel, readings: Sequence[Reading]) -> None:
        """What a read gave."""
        with self._lock:
            self._tallies[channel.name].add(readings)

    def failed(self, channel: Channel) -> None:
        """A read was in vain; the next may work."""
        with self._lock:
            tally = self._tallies[channel.name]
            tally.reads += 1
            tally.failures += 1

    def lost(self, channel: Channel, why: str) -> None:
        """A channel gives nothing more until its probe is opened again."""
        with self._lock:
            self._tallies[channel.name].lost = True
            known = self._absent.get(self._owners[channel.name], ())
            effect = f"the joules of {channel.name} are absent until it is back"
            absence = Absence(channel.domain, f"lost: {why}", effect, "it is opened again within a minute")
            self._absent[self._owners[channel.name]] = (*known, absence)

    def seen(self) -> Seen:
        """A copy of all of it."""
        with self._lock:
            return Seen(
                tuple(tally.copy() for tally in self._tallies.values()),
                tuple((target, absence) for target, found in self._absent.items() for absence in found),
                {name: fact for facts in self._facts.values() for name, fact in facts.items()},
            )


def read_every_ns(channel: Channel, interval_ns: int = READ_EVERY_NS, counters: Collection[str] = frozenset()) -> int:
    """How often to read a channel: a counter each interval, a power as often as it has a new value.

    A power that one of the counters holds already adds no joule, and is read each interval too.
    """
    if channel.method == "counter" or channel.contained_in in counters:
        return max(interval_ns, channel.read_every_ns or 0)
    period_ns = channel.update_period_ns or 2 * _SHORTEST_NS
    own_ns = period_ns if channel.method == "model" else max(period_ns // 2, _SHORTEST_NS)
    return max(min(own_ns, interval_ns), channel.read_every_ns or 0)


def read_channels(
    stop: Callable[[], bool],
    probe: Probe,
    channels: Sequence[Channel],
    clock: Clock,
    into: NodeSensors,
    interval_ns: int = READ_EVERY_NS,
) -> None:
    """Read an open probe's channels until `stop`; where one is lost, the others for a minute more."""
    by_name = {channel.name: channel for channel in channels}
    counters = {channel.name for channel in channels if channel.method == "counter"}
    due_ns = {name: clock.monotonic_ns() for name in by_name}
    until_ns: int | None = None
    while due_ns and not stop() and (until_ns is None or clock.monotonic_ns() < until_ns):
        channel = by_name[min(due_ns, key=due_ns.__getitem__)]
        wait_ns = due_ns[channel.name] - clock.monotonic_ns()
        if wait_ns > 0:
            clock.sleep_ns(min(wait_ns, _LONGEST_SLEEP_NS))
            continue
        try:
            readings = probe.read(channel)
            now_ns = clock.monotonic_ns()
            into.read(channel, [each for each in readings if _is_sound(each, channel, now_ns)])
        except ProbeRetry:
            into.failed(channel)
        except Exception as error:  # a probe may fail in any way: its channel ends, and nothing else
            into.lost(channel, str(error) or repr(error))
            del due_ns[channel.name]
            until_ns = until_ns or clock.monotonic_ns() + int(TRY_AGAIN_S * NS_PER_S)
            continue
        due_ns[channel.name] = max(
            due_ns[channel.name] + read_every_ns(channel, interval_ns, counters), clock.monotonic_ns()
        )  # fmt: skip


def _is_sound(reading: Reading, channel: Channel, now_ns: int) -> bool:
    value = reading.energy_j if isinstance(reading, EnergyReading) else reading.power_w
    # A driver's stamp, turned from wall clock to monotonic, may lie a little ahead of now.
    return reading.channel == channel.name and isfinite(value) and 0 <= reading.time_ns <= now_ns + NS_PER_S


class SensorThread(threading.Thread):
    """One probe, opened, read, and opened again while it gives nothing; a slow or broken one holds up no other."""

    def __init__(self, source: ProbeSource, clock: Clock, into: NodeSensors, ending: threading.Event) -> None:
        super().__init__(name=source.target, daemon=True)
        self._source = source
        self._clock = clock
        self._into = into
        self._ending = ending

    def run(self) -> None:
        while not self._ending.is_set():
            opened_ns = self._clock.monotonic_ns()
            self._read_until_lost()
            took_s = (self._clock.monotonic_ns() - opened_ns) / NS_PER_S
            self._ending.wait(max(0.0, TRY_AGAIN_S - took_s))

    def _read_until_lost(self) -> None:
        probe: Probe | None = None
        target = self._source.target
        try:
            probe = make_probe(self._source)
            found = probe.open()
            channels = self._into.opened(target, found.channels, found.absent, found.facts)
            read_channels(self._ending.is_set, probe, channels, self._clock, self._into)
        except BaseException as error:  # also SystemExit: one probe must not end the others
            self._into.unavailable(target, absence_of(target, probe, error))
        if probe is not None:
            with suppress(BaseException):
                probe.close()


class ReadSensors:
    """Reads all sensors in the background while it is open. sources: the probes (default: all of this machine)."""

    def __init__(self, sources: Sequence[ProbeSource] | None = None, clock: Clock | None = None) -> None:
        self.sensors = NodeSensors()
        self._sources = sources
        self._clock = clock or SystemClock()
        self._ending = threading.Event()
        self._threads: list[SensorThread] = []

    def __enter__(self) -> NodeSensors:
        if self._sources is None:
            from wattvlm.sampling.discovery import machine_sources

            self._sources = machine_sources()
        for source in self._sources:
            thread = SensorThread(source, self._clock, self.sensors, self._ending)
            self._threads.append(thread)
            thread.start()
        return self.sensors

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        until_ns = time.monotonic_ns() + int(_CLOSING_S * NS_PER_S)
        for thread in self._threads:  # one that is stuck in its driver is left behind: it is a daemon thread
            thread.join(max(0.0, (until_ns - time.monotonic_ns()) / NS_PER_S))

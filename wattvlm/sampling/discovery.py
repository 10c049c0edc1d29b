"""Which probes this machine has, and what they see: `sensors()`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING

from wattvlm.clock import SystemClock
from wattvlm.plugins import entry_points
from wattvlm.sensing import PROBE_GROUP, Absence, Channel, ProbeSource
from wattvlm.units import J_PER_MICROJOULE, NS_PER_S, S_PER_NS

if TYPE_CHECKING:
    from wattvlm.recording import Readings, Recording

_PACKAGE = "wattvlm.probes"

_LONGEST_OPENING_NS = 5 * NS_PER_S


@dataclass(frozen=True, slots=True)
class SeenChannel:
    """A channel as it was seen for a moment; what could not be seen is None.

    period_ns: its tick period as learned. how: the way in which it is read. resolution: the smallest step between two
    values, in J (counters) or W. mean_w: its mean power meanwhile. call_ns: how long one read takes (median).
    """

    channel: Channel
    readings: int
    period_ns: int | None = None
    how: str = ""
    resolution: float | None = None
    mean_w: float | None = None
    call_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MachineSensors:
    """What this machine can measure, as a meter would see it, and why not the rest."""

    channels: tuple[SeenChannel, ...]
    absent: tuple[Absence, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()

    @property
    def can_measure(self) -> bool:
        """A sensor that is no model gave readings."""
        return any(seen.readings and seen.channel.method != "model" for seen in self.channels)


def sensors(sources: Sequence[ProbeSource] | None = None, *, look_s: float = 1.5) -> MachineSensors:
    """What this machine can measure and why not the rest: opens all its probes and looks at them for `look_s` seconds.

    sources: the probes to look at, all that this machine has by default. Takes up to 5 s longer where a driver is slow
    to start. Never raises for a sensor's sake.
    """
    from wattvlm.sampling.live import LiveView
    from wattvlm.sampling.sampler import Sampler

    clock = SystemClock()
    sampler = Sampler.start(sources, clock=clock)
    try:
        start_ns = clock.monotonic_ns()
        learned: dict[str, tuple[int | None, str]] = {}
        if sampler.folder is not None:
            view = LiveView(sampler.folder, 1)
            while sampler.is_alive and not view.is_settled() and clock.monotonic_ns() < start_ns + _LONGEST_OPENING_NS:
                clock.sleep_ns(NS_PER_S // 100)
            clock.sleep_ns(int(look_s * NS_PER_S))
            learned = view.learned()
        recording = sampler.recording(start_ns, clock.monotonic_ns())
    finally:
        sampler.stop()
    return _seen(recording, learned)


def _seen(recording: Recording, learned: Mapping[str, tuple[int | None, str]]) -> MachineSensors:
    channels: list[SeenChannel] = []
    for channel in recording.channels:
        period_ns, how = learned.get(channel.name, (None, ""))
        readings = recording.readings[channel.name]
        channels.append(
            SeenChannel(
                channel,
                len(readings),
                period_ns=period_ns,
                how=how,
                resolution=_smallest_step(readings),
                mean_w=_mean_w(channel, readings),
                call_ns=sorted(readings.took_ns.tolist())[len(readings) // 2] if len(readings) else None,
            )
        )
    return MachineSensors(tuple(channels), recording.absent, recording.host.facts, recording.notes)


def _smallest_step(readings: Readings) -> float | None:
    """The largest step that all values are multiples of, to a millionth: a 1 mJ counter shows its mJ in a few ticks."""
    millionths = [round(value / J_PER_MICROJOULE) for value in readings.value.tolist()]
    step = gcd(*(after - before for before, after in pairwise(millionths)))
    return step * J_PER_MICROJOULE if step else None


def _mean_w(channel: Channel, readings: Readings) -> float | None:
    """Mean power of the readings; of a counter, between its first and its last, None where it went back."""
    if len(readings) < 2:
        return None
    if channel.method != "counter":
        return float(readings.value.mean())
    energy_j = float(readings.value[-1] - readings.value[0])
    return energy_j / (float(readings.time_ns[-1] - readings.time_ns[0]) * S_PER_NS) if energy_j >= 0 else None


def own_sources() -> Iterator[ProbeSource]:
    """The probes of `wattvlm.probes` that need no arguments: modules with a PROBE, and those that fail to import.

    A module without PROBE (one that needs arguments, such as a replay) is opened only by who names it. Each module is
    imported when its turn comes.
    """
    found = importlib.import_module(_PACKAGE)
    for entry in sorted(pkgutil.iter_modules(found.__path__), key=_models_last):
        if entry.name.startswith("_"):
            continue
        name = f"{_PACKAGE}.{entry.name}"
        try:
            is_automatic = getattr(importlib.import_module(name), "PROBE", None) is not None
        except BaseException:  # it is kept: opening it fails in the same way, and becomes an absence with its reason
            is_automatic = True
        if is_automatic:
            yield ProbeSource(f"{name}:PROBE")


def _models_last(entry: pkgutil.ModuleInfo) -> tuple[bool, str]:
    """Sensors are opened before models, which work without having seen the beginning."""
    return entry.name.endswith("_model"), entry.name


def third_party_sources() -> tuple[ProbeSource, ...]:
    """The probes that other packages register in the entry-point group `wattvlm.probes`; none of them is loaded."""
    return tuple(ProbeSource(entry.target) for entry in entry_points(PROBE_GROUP))


def machine_sources() -> Sequence[ProbeSource]:
    """All probes that a meter opens by itself."""
    return (*own_sources(), *third_party_sources())

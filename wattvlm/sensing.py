"""The contract of a sensor: what it is (Channel), what it says (readings), and how it is read (Probe).

A sensor is one file in `wattvlm.probes` (or a third party's module in the entry-point group `wattvlm.probes`) with a
module-level name `PROBE`: a callable without arguments that gives a Probe. It imports nothing of wattvlm but this
contract, `errors`, `units` and `clock`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

Domain = Literal["gpu", "cpu", "ram", "soc", "node"]
Method = Literal["counter", "power", "model"]

DOMAINS: tuple[Domain, ...] = ("gpu", "cpu", "ram", "soc", "node")

PROBE_GROUP = "wattvlm.probes"
"""Entry-point group under which third parties register a probe; the value is what `PROBE` would be."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity that one sensor reports; every unknown fact is None.

    name: "device/scope", unique on the machine: "gpu-<uuid>/board", "cpu-0/package", "ram/model".
    sensor: what it is in words, for people: "NVML energy counter".
    device: the device in words: "NVIDIA H100 PCIe", "Intel Xeon 8480+".
    domain, method: what it measures, and whether it counts joules, reports watts, or models watts.
    update_period_ns: nominal time between updates. window_ns: averaging window of one value (0 for an exact counter).
    resolution_j, resolution_w: the smallest step of a value.
    max_power_w: a power that the device cannot pass, also for short phases (not the enforced limit).
    gain_std_fraction: one sigma of the unknown gain of this kind of sensor. offset_std_w: of what a calibration left
        unknown of its offset.
    read_every_ns: how often to read it, where the schedule would read it more often than it is worth.
    wraps_at_j: a counter starts again from zero at this value. contained_in: the channel of the same domain
        that already holds these joules (core in package), so that no total adds both; it may be another probe's.
    source: for each fact, where it comes from.
    """

    name: str
    sensor: str
    device: str
    domain: Domain
    method: Method
    update_period_ns: int | None = None
    window_ns: int | None = None
    resolution_j: float | None = None
    resolution_w: float | None = None
    max_power_w: float | None = None
    gain_std_fraction: float = 0.0
    wraps_at_j: float | None = None
    contained_in: str | None = None
    read_every_ns: int | None = None
    source: Mapping[str, str] = field(default_factory=dict[str, str])
    offset_std_w: float = 0.0

    @property
    def board(self) -> str:
        """The device part of the name: channels of one board share its gain error."""
        return self.name.split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """A counter's value: joules since some start, seen to change between two times.

    unchanged_at_ns: start of the last read that still showed the old value (a probe gives the start of this read).
    time_ns: end of the read that showed `energy_j`. took_ns: how long that read took.
    """

    channel: str
    unchanged_at_ns: int
    time_ns: int
    took_ns: int
    energy_j: float


@dataclass(frozen=True, slots=True)
class PowerReading:
    """A power in watts, valid at `time_ns` (the driver's own stamp where it gives one); the read took `took_ns`."""

    channel: str
    time_ns: int
    took_ns: int
    power_w: float


Reading = EnergyReading | PowerReading


Quantity = Literal[
    "core_clock_hz",
    "memory_clock_hz",
    "temperature_celsius",
    "power_limit_w",
    "power_state",
    "busy_fraction",
    "slowed_by_power",
    "slowed_by_heat",
    "slowed_by_hardware",
    "process",
    "shared_by_server",
    "cpu_time_ns",
]
"""What a Condition may tell. power_state: 0 is full speed (NVML's P-states). busy_fraction: of the time of the last
second or so, of the device, or of one process on it. slowed_by_...: 1 while clocks are held down by the power limit, by
heat, or by the hardware's own protection, else 0. process: 1, a process that computes on the device. shared_by_server:
1, a process that runs the work of others on it (MPS). cpu_time_ns: CPU time since some start, of all processes of the
machine, or of the measured one (its pid) and all that it started."""

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

CPU_DEVICE = "cpu"
"""The device of conditions that are about all CPUs of the machine together."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What state a device was in at one moment: it changes no joule, and tells whether joules can be compared.

    device: the part of its channels' names before the slash. pid: the process that it is about, as the sensor numbers
    it; 0 for the device as a whole. value: in the unit that the quantity's name tells.
    """

    device: str
    quantity: Quantity
    time_ns: int
    value: float
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Absence:
    """Something that cannot be measured here: what happened, what that does to the numbers, and the cure."""

    domain: Domain
    what: str
    effect: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Sensors:
    """What one probe found on this machine: usable channels, and what is absent and why.

    facts: plain facts about the devices for the host record, such as {"driver": "570.86", "gpu-<uuid> limit_w": "350"}.
    """

    channels: tuple[Channel, ...]
    absent: tuple[Absence, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ProbeSource:
    """How the sampling process makes a probe: a callable named "module:attribute", called with plain arguments.

    arguments must survive JSON, since the sampling process is another process.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Probe(Protocol):
    """A sensor of one kind, all devices of it. Used from one thread of one process (the sampler's).

    Making one touches no hardware. `open` may be slow (NVML's start takes 0.1-2 s) and raises ProbeUnavailable where
    there is nothing to read at all. `read` raises ProbeRetry (this read failed) or ProbeLost (it will not come back);
    it returns at once, with one reading or, where the driver keeps a buffer, all readings since the last call.
    """

    @property
    def domain(self) -> Domain:
        """What it measures above all: the domain that is absent where it cannot be opened."""
        ...

    def open(self) -> Sensors:
        """Channels that can be read now, and what is absent; raises ProbeUnavailable.

        A kind of device of which this machine has no sign gives `Sensors(())`: its absence is no news.
        """
        ...

    def read(self, channel: Channel) -> Sequence[Reading]:
        """The newest readings of one of this probe's channels; raises ProbeRetry or ProbeLost."""
        ...

    def close(self) -> None:
        """Give everything back; never raises, may be called twice."""
        ...


@runtime_checkable
class KnowsConditions(Protocol):
    """A Probe that can also tell the state of its devices. Asked about once a second, between reads.

    Each step of the iterator should take as long as one read, since reads wait for it. An error ends this look only.
    """

    def conditions(self) -> Iterator[Condition]:
        """The state of the open devices now, one question to the driver a step."""
        ...

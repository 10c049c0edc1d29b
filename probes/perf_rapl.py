"""CPUs and memory through RAPL in Linux' perf subsystem, where the powercap folder of `rapl.py` cannot be read.

The same registers as powercap's, under another permission (CAP_PERFMON, or kernel.perf_event_paranoid at most 0). So
that no joule is counted twice, nothing is opened where one powercap counter can be, and the channels have its names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.probes._perf_event import Counters, PerfCounters
from wattvlm.probes._rapl_socket import SOCKET, can_be_used
from wattvlm.probes._rapl_zones import can_be_read
from wattvlm.probes._sysfs import number_of, text_of
from wattvlm.sensing import Absence, Channel, Domain, EnergyReading, Sensors
from wattvlm.units import NS_PER_MS

PMU = Path("/sys/bus/event_source/devices/power")
POWERCAP_ROOTS = (Path("/sys/class/powercap"), Path("/host/sys/class/powercap"))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one perf event counts, in the words of the powercap zone that counts the same."""

    zone: str
    domain: Domain
    sensor: str
    gain_std_fraction: float
    gain_source: str


_FOLLOWS = "assumed: follows wall power closely (Khan et al. 2018), no study of many units found"
_PARTS: Mapping[str, _Part] = {
    "energy-pkg": _Part("package", "cpu", "RAPL package (perf)", 0.05, _FOLLOWS),
    "energy-cores": _Part("core", "cpu", "RAPL cores (perf)", 0.05, _FOLLOWS),
    "energy-gpu": _Part("uncore", "cpu", "RAPL uncore (integrated GPU, perf)", 0.05, _FOLLOWS),
    "energy-ram": _Part(
        "dram", "ram", "RAPL memory (perf)", 0.10,
        "assumed: good on servers, a constant offset on desktops (Desrochers et al., MEMSYS 2016)",
    ),
    "energy-psys": _Part(
        "psys", "node", "RAPL platform (perf)", 0.05, "assumed: the board maker wires and scales this input"
    ),
}  # fmt: skip
"""Packages come first: their parts are contained in them."""


@dataclass(frozen=True, slots=True)
class _Open:
    descriptor: int
    unit_j: float


class PerfRaplProbe:
    """All RAPL events of the kernel's `power` PMU, one counter a package.

    root: the PMU's folder. powercap_roots: folders in which a readable counter makes this probe see nothing.
    cpus: the folder of the CPUs' topology. counters: opens and reads perf counters. opener: tries a powercap counter.
    service: the socket of a service whose powercap readings are taken instead.
    """

    domain: Domain = "cpu"

    def __init__(
        self,
        root: Path = PMU,
        clock: Clock | None = None,
        powercap_roots: Sequence[Path] = POWERCAP_ROOTS,
        cpus: Path = Path("/sys/devices/system/cpu"),
        cpuinfo: Path = Path("/proc/cpuinfo"),
        counters: Counters | None = None,
        opener: Callable[[Path, int], int] = os.open,
        service: Path | None = SOCKET,
    ) -> None:
        self._root = root
        self._clock: Clock = clock or SystemClock()
        self._powercap_roots = tuple(powercap_roots)
        self._cpus = cpus
        self._cpuinfo = cpuinfo
        self._counters: Counters = counters or PerfCounters()
        self._opener = opener
        self._service = service
        self._open: dict[str, _Open] = {}

    def open(self) -> Sensors:
        """Starts one counter an event and package; sees nothing without the PMU, or where powercap can be read."""
        self.close()
        pmu_type = number_of(self._root / "type")
        if pmu_type is None or self._powercap_can_be_read():
            return Sensors(())
        channels: list[Channel] = []
        errors: dict[str, OSError] = {}
        product = _cpu_name(self._cpuinfo)
        for event, part in _PARTS.items():
            config, unit_j = self._event(event)
            if config is None or unit_j is None:
                continue
            for cpu, device in self._packages(event):
                name = f"{device}/{part.zone}"
                try:
                    self._open[name] = _Open(self._counters.open(int(pmu_type), config, cpu), unit_j)
                except OSError as error:
                    errors[name] = error
                else:
                    channels.append(_channel(part, name, device, product, self._open))
        return Sensors(tuple(channels), _absent(errors))

    def _powercap_can_be_read(self) -> bool:
        """By this user, or by the service that reads it for this user."""
        if can_be_read(self._powercap_roots, self._cpuinfo, self._opener):
            return True
        return self._service is not None and can_be_used(self._service)

    def _event(self, event: str) -> tuple[int | None, float | None]:
        """The number of an event, and the joules of one count."""
        file = self._root / "events" / event
        _, _, number = (text_of(file) or "").partition("event=")
        if text_of(file.with_name(f"{event}.unit")) != "Joules":
            return None, None
        try:
            return int(number, 16), number_of(file.with_name(f"{event}.scale"))
        except ValueError:
            return None, None

    def _packages(self, event: str) -> Iterator[tuple[int, str]]:
        """(a CPU to count on, the device part of the name) of each package; for the platform, one."""
        cpus = _listed(text_of(self._root / "cpumask") or "")
        if event == "energy-psys":
            yield from ((cpu, "node-0") for cpu in cpus[:1])
            return
        packages = [self._topology(cpu, "physical_package_id") for cpu in cpus]
        for index, (cpu, package) in enumerate(zip(cpus, packages)):
            number = str(index) if package is None else package
            dies = packages.count(package) > 1 and package is not None
            yield cpu, f"cpu-{number}-die-{self._topology(cpu, 'die_id') or index}" if dies else f"cpu-{number}"

    def _topology(self, cpu: int, fact: str) -> str | None:
        return text_of(self._cpus / f"cpu{cpu}" / "topology" / fact)

    def read(self, channel: Channel) -> Sequence[EnergyReading]:
        """Joules since the counter was started; the hardware refreshes them about each millisecond."""
        held = self._open.get(channel.name)
        if held is None:
            raise ProbeLost(f"{channel.name} is not open; its joules are absent. Cure: open the probe first")
        before_ns = self._clock.monotonic_ns()
        try:
            count = self._counters.read(held.descriptor)
        except InterruptedError as error:
            raise ProbeRetry(f"perf could not read {channel.name}: {error}") from error
        except OSError as error:
            raise ProbeLost(
                f"perf lost {channel.name}: {error.strerror}; its joules end here. Cure: is its CPU still online?"
            ) from error
        after_ns = self._clock.monotonic_ns()
        return (EnergyReading(channel.name, before_ns, after_ns, after_ns - before_ns, count * held.unit_j),)

    def close(self) -> None:
        """Stops the counters."""
        opened, self._open = self._open, {}
        for held in opened.values():
            self._counters.close(held.descriptor)


def _channel(part: _Part, name: str, device: str, product: str, opened: Mapping[str, object]) -> Channel:
    package = f"{device}/package"
    inside = package if part.zone in ("core", "uncore") and package in opened else None
    words = {"psys": "whole machine", "dram": f"memory of {device}"}
    return Channel(
        name=name,
        sensor=part.sensor,
        device=words.get(part.zone, product),
        domain=part.domain,
        method="counter",
        update_period_ns=NS_PER_MS,
        window_ns=0,
        gain_std_fraction=part.gain_std_fraction,
        contained_in=inside,
        source={
            "value": "perf event of the power PMU times its .scale (Linux, Documentation/ABI, event_source-devices)",
            "domain": "as the powercap zone of the same register (Intel SDM vol. 3B)",
            "update_period_ns": "Intel SDM vol. 3B: about 1 ms, with jitter",
            "window_ns": "an integral has no window",
            "resolution_j": "unknown: .scale is the unit of perf's count, finer than the register's (61 µJ is common)",
            "max_power_w": "unknown: perf shows no power limit",
            "wraps_at_j": "never in practice: the kernel adds the 32-bit register up in 64 bits",
            "gain_std_fraction": part.gain_source,
        },
    )


def _absent(errors: Mapping[str, OSError]) -> tuple[Absence, ...]:
    """One absence for all that is denied, since one command cures it; one for all that fails otherwise."""
    denied = [name for name, error in errors.items() if isinstance(error, PermissionError)]
    failed = {name: error for name, error in errors.items() if name not in denied}
    absent: list[Absence] = []
    if denied:
        absent.append(
            Absence(
                "cpu",
                f"denied: perf may not count {', '.join(denied)} (kernel.perf_event_paranoid is above 0, and powercap "
                "cannot be read either)",
                "these joules are not measured",
                "sudo sysctl kernel.perf_event_paranoid=0; or give Python the capability: sudo setcap cap_perfmon+ep "
                "$(readlink -f $(which python3)); in a container: docker run --cap-add PERFMON, and a seccomp profile "
                "that allows perf_event_open",
            )
        )
    if failed:
        reasons = ", ".join(sorted({str(error.strerror or error) for error in failed.values()}))
        absent.append(
            Absence(
                "cpu",
                f"perf cannot count {', '.join(failed)}: {reasons}",
                "these joules are not measured by perf",
                "make powercap readable instead: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj",
            )
        )
    return tuple(absent)


def _listed(mask: str) -> list[int]:
    """The CPUs of a list such as "0,18" or "0-3"."""
    cpus: list[int] = []
    for entry in mask.split(","):
        first, _, last = entry.strip().partition("-")
        if first.isdecimal():
            cpus.extend(range(int(first), int(last if last.isdecimal() else first) + 1))
    return cpus


def _cpu_name(cpuinfo: Path) -> str:
    lines = (text_of(cpuinfo) or "").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


PROBE = PerfRaplProbe

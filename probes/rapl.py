"""CPUs and memory through RAPL in Linux' powercap folder (Intel, and AMD since kernel 5.8 under the same names).

Zones are told apart by the file `name`, never by their number: on a laptop intel-rapl:1 is psys, not a second CPU.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes._rapl_socket import SOCKET, can_be_used
from wattvlm.probes._rapl_zones import Zone, find_zones
from wattvlm.sensing import Absence, Channel, Domain, EnergyReading, Sensors
from wattvlm.units import J_PER_MICROJOULE

ROOT = Path("/sys/class/powercap")
HOST_ROOT = Path("/host/sys/class/powercap")
"""Where a container may be given the host's folder: Docker and Podman hide the real one (moby GHSA-jq35-85cj-fj4p)."""

_LOST = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.EBADF, errno.EACCES, errno.EPERM})


class RaplProbe:
    """All RAPL zones of this machine: package, core, uncore, dram and psys.

    root, host_root: powercap folders, the second read where the first has no zone. cpuinfo: where the CPU's name is.
    opener: opens a zone's counter; gives a file descriptor. service: the socket of a service that may read what this
    user may not (`rapl_service.py`): where it does, nothing is absent.
    """

    domain: Domain = "cpu"

    def __init__(
        self,
        root: Path = ROOT,
        clock: Clock | None = None,
        host_root: Path = HOST_ROOT,
        cpuinfo: Path = Path("/proc/cpuinfo"),
        opener: Callable[[Path, int], int] = os.open,
        service: Path | None = SOCKET,
    ) -> None:
        self._roots = (root, host_root)
        self._clock: Clock = clock or SystemClock()
        self._cpuinfo = cpuinfo
        self._opener = opener
        self._service = service
        self._descriptors: dict[str, int] = {}

    def open(self) -> Sensors:
        """Holds each counter open; raises ProbeUnavailable where there is no RAPL zone at all."""
        self.close()
        zones = next((zones for root in self._roots if (zones := find_zones(root, self._cpuinfo))), None)
        if zones is None:
            if self._is_served():
                return Sensors(())
            raise self._no_zones()
        denied: list[Zone] = []
        broken: list[tuple[Zone, OSError]] = []
        for zone in zones:
            try:
                self._descriptors[zone.channel.name] = self._opener(zone.counter, os.O_RDONLY)
            except PermissionError:
                denied.append(zone)
            except OSError as error:
                broken.append((zone, error))
        if denied and not self._descriptors and self._is_served():
            denied = []
        absent = [*_denied(denied), *(_broken(zone, error) for zone, error in broken)]
        read = [zone for zone in zones if zone.channel.name in self._descriptors]
        absent += [_no_wrap(zone) for zone in read if zone.channel.wraps_at_j is None]
        if not any(zone.channel.domain == "ram" for zone in zones):
            absent.append(_no_memory_zone())
        names = frozenset(self._descriptors)
        facts = {f"{zone.channel.name} limit_w": f"{zone.limit_w:g}" for zone in read if zone.limit_w is not None}
        return Sensors(tuple(zone.channel_among(names) for zone in read), tuple(absent), facts)

    def _is_served(self) -> bool:
        return self._service is not None and can_be_used(self._service)

    def _no_zones(self) -> ProbeUnavailable:
        root, host_root = self._roots
        what = f"{root} has no RAPL zone" if root.is_dir() else f"{root} does not exist"
        return ProbeUnavailable(
            what,
            "CPU and RAM joules are not measured",
            "on Linux with a CPU that has RAPL: sudo modprobe intel_rapl_msr; in a container, which hides them: docker "
            f"run -v {root}/intel-rapl:{host_root}/intel-rapl:ro; most virtual machines have none: measure on the host",
        )

    def read(self, channel: Channel) -> Sequence[EnergyReading]:
        """The counter now, in joules; the kernel refreshes it about each millisecond."""
        descriptor = self._descriptors.get(channel.name)
        if descriptor is None:
            raise ProbeLost(f"{channel.name} is not open; its joules are absent. Cure: open the probe first")
        before_ns = self._clock.monotonic_ns()
        try:
            text = os.pread(descriptor, 64, 0)
        except OSError as error:
            if error.errno in _LOST:
                raise ProbeLost(
                    f"RAPL lost {channel.name}: {error.strerror}; its joules end here. Cure: see `dmesg | grep -i rapl`"
                ) from error
            raise ProbeRetry(f"RAPL could not read {channel.name}: {error.strerror}") from error
        after_ns = self._clock.monotonic_ns()
        try:
            energy_j = int(text) * J_PER_MICROJOULE
        except ValueError as error:
            raise ProbeRetry(f"RAPL gave {text!r} for {channel.name}, which is not a number") from error
        return (EnergyReading(channel.name, before_ns, after_ns, after_ns - before_ns, energy_j),)

    def close(self) -> None:
        """Closes the counters."""
        descriptors, self._descriptors = self._descriptors, {}
        for descriptor in descriptors.values():
            try:
                os.close(descriptor)
            except OSError:  # the zone is gone, and its descriptor with it
                continue


_LET_ALL_READ = (
    f"sudo chmod a+r {ROOT}/intel-rapl:*/energy_uj; to keep it after a reboot: "
    """echo 'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"' """
    "| sudo tee /etc/udev/rules.d/99-rapl.rules; or let a service of root read it for a group: sudo wattvlm serve-rapl "
    "--group wattvlm; for a container, on its host"
)


def _denied(zones: Iterable[Zone]) -> list[Absence]:
    """One absence a domain, since one command cures all its zones."""
    by_domain: dict[Domain, list[Zone]] = {}
    for zone in zones:
        by_domain.setdefault(zone.channel.domain, []).append(zone)
    return [
        Absence(
            domain,
            f"denied: only root may read {', '.join(str(zone.counter) for zone in found)} (CVE-2020-8694: power "
            "readings can betray secrets of other users)",
            f"{_WORDS[domain]} joules are not measured",
            _LET_ALL_READ,
        )
        for domain, found in by_domain.items()
    ]


_WORDS: dict[Domain, str] = {"cpu": "CPU", "ram": "RAM", "node": "whole-machine", "gpu": "GPU", "soc": "SoC"}


def _broken(zone: Zone, error: OSError) -> Absence:
    return Absence(
        zone.channel.domain,
        f"{zone.counter} cannot be opened: {error.strerror}",
        f"the joules of {zone.channel.name} are absent",
        "see `dmesg | grep -i rapl`; the zone's driver may have been unloaded",
    )


def _no_wrap(zone: Zone) -> Absence:
    return Absence(
        zone.channel.domain,
        f"{zone.folder}/max_energy_range_uj cannot be read",
        f"{zone.channel.name} starts again from zero at an unknown value: the joules around that moment are lost",
        "load a newer kernel; the file exists since Linux 3.13",
    )


def _no_memory_zone() -> Absence:
    return Absence(
        "ram",
        "this CPU has no RAPL zone for memory",
        "RAM joules are not measured (a model may stand in for them)",
        "none in software: Intel servers have the zone, AMD and most desktops do not",
    )


PROBE = RaplProbe

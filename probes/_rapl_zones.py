"""The zones of a powercap folder and what each is as a channel. A part of `rapl.py`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wattvlm.sensing import Channel, Domain
from wattvlm.units import J_PER_MICROJOULE, NS_PER_MS, W_PER_MICROWATT

_ZONE = re.compile(r"intel-rapl:(\d+)(?::(\d+))?")
"""Not intel-rapl-mmio: it shows the same package a second time."""

_LAYOUTS = ("", "intel-rapl", "intel-rapl:*", "intel-rapl/intel-rapl:*")
"""The class folder lists all zones side by side; mounted into a container they lie inside each other."""

_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")
_PLATFORM = re.compile(r"psys(?:-(\d+))?")
_SENSORS: Mapping[str, tuple[Domain, str]] = {
    "package": ("cpu", "RAPL package"),
    "core": ("cpu", "RAPL cores"),
    "uncore": ("cpu", "RAPL uncore (integrated GPU)"),
    "dram": ("ram", "RAPL memory"),
    "psys": ("node", "RAPL platform"),
}

COUNTER_STEPS = 2**32 - 1
SHORT_POWER_FACTOR = 1.5
_GAINS: Mapping[Domain, tuple[float, str]] = {
    "cpu": (0.05, "assumed: follows wall power closely (Khan et al. 2018), no study of many units found"),
    "ram": (0.10, "assumed: good on servers, a constant offset on desktops (Desrochers et al., MEMSYS 2016)"),
    "node": (0.05, "assumed: the board maker wires and scales this input"),
}


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone: its folder, its channel, and the power limit that is set on it (W), if any."""

    root: Path
    folder: Path
    channel: Channel
    limit_w: float | None = None

    @property
    def counter(self) -> Path:
        """The file with the zone's microjoules."""
        return self.folder / "energy_uj"

    def channel_among(self, names: Collection[str]) -> Channel:
        """The channel, contained in its package only where the package is measured too."""
        if self.channel.contained_in is None or self.channel.contained_in in names:
            return self.channel
        return replace(self.channel, contained_in=None)


def find_zones(root: Path, cpuinfo: Path) -> list[Zone]:
    """All zones below a powercap folder, packages before their parts; empty where there is none."""
    folders: dict[str, Path] = {}
    for layout in _LAYOUTS:
        for folder in _below(root, f"{layout}/intel-rapl:*" if layout else "intel-rapl:*"):
            if _ZONE.fullmatch(folder.name):
                folders.setdefault(folder.name, folder)
    names = {number: name for number, folder in folders.items() if (name := _text(folder / "name"))}
    product = _cpu_name(cpuinfo)
    zones = [_zone(root, folders[number], name, names, product) for number, name in sorted(names.items(), key=_order)]
    return [zone for zone in zones if zone is not None]


def _below(root: Path, pattern: str) -> list[Path]:
    """Folders that fit a pattern; none where this user may not look."""
    try:
        return sorted(root.glob(pattern))
    except PermissionError:
        return []


def can_be_read(roots: Iterable[Path], cpuinfo: Path, opener: Callable[[Path, int], int] = os.open) -> bool:
    """This user may read at least one counter below one of these powercap folders."""
    for root in roots:
        for zone in find_zones(root, cpuinfo):
            try:
                os.close(opener(zone.counter, os.O_RDONLY))
            except OSError:
                continue
            return True
    return False


def _order(item: tuple[str, str]) -> tuple[int, ...]:
    """Numeric: zone 10 comes after zone 2."""
    return tuple(int(number) for number in item[0].split(":")[1:])


def _zone(root: Path, folder: Path, name: str, names: Mapping[str, str], product: str) -> Zone | None:
    """The zone of one folder; None for a kind of zone that is not known."""
    parent_number = folder.name.rpartition(":")[0]
    parent = names.get(parent_number, "")
    if package := _PACKAGE.fullmatch(name):
        return _described(root, folder, "package", _package(package), product, None)
    if platform := _PLATFORM.fullmatch(name):
        return _described(root, folder, "psys", f"node-{platform[1] or 0}", "whole machine", None)
    if name not in _SENSORS or not (package := _PACKAGE.fullmatch(parent)):
        return None
    device = _package(package)
    if name == "dram":
        return _described(root, folder, name, device, f"memory of {device}", None)
    return _described(root, folder, name, device, product, f"{device}/package")


def _package(found: re.Match[str]) -> str:
    return f"cpu-{found[1]}" if found[2] is None else f"cpu-{found[1]}-die-{found[2]}"


def _described(root: Path, folder: Path, part: str, device: str, product: str, contained_in: str | None) -> Zone:
    domain, sensor = _SENSORS[part]
    range_uj = _number(folder / "max_energy_range_uj")
    most_w = _max_power_w(folder)
    gain, gain_source = _GAINS[domain]
    limit_uw = _number(folder / "constraint_0_power_limit_uw")
    channel = Channel(
        name=f"{device}/{part}",
        sensor=sensor,
        device=product,
        domain=domain,
        method="counter",
        update_period_ns=NS_PER_MS,
        window_ns=0,
        resolution_j=_resolution_j(range_uj),
        max_power_w=most_w,
        gain_std_fraction=gain,
        wraps_at_j=range_uj * J_PER_MICROJOULE if range_uj else None,
        contained_in=contained_in,
        source={
            "domain": _DOMAIN_SOURCES[part],
            "update_period_ns": "Intel SDM vol. 3B: about 1 ms, with jitter",
            "window_ns": "an integral has no window",
            "resolution_j": "max_energy_range_uj is 2^32 - 1 steps of the counter (Linux, intel_rapl_common.c)"
            if range_uj
            else "unknown: max_energy_range_uj cannot be read",
            "max_power_w": "unknown: no power limit can be read"
            if most_w is None
            else f"assumed: {SHORT_POWER_FACTOR} x the highest power limit that is set or allowed on the zone",
            "gain_std_fraction": gain_source,
            "wraps_at_j": "max_energy_range_uj" if range_uj else "unknown: max_energy_range_uj cannot be read",
        },
    )
    return Zone(root, folder, channel, limit_uw * W_PER_MICROWATT if limit_uw else None)


_DOMAIN_SOURCES: Mapping[str, str] = {
    "package": "the whole socket without memory (Intel SDM vol. 3B)",
    "core": "the cores, inside the package (Intel SDM vol. 3B)",
    "uncore": "the integrated GPU, inside the package (Intel SDM vol. 3B)",
    "dram": "memory, not inside the package (Intel SDM vol. 3B)",
    "psys": "the whole platform with its packages: never added to them (Intel SDM vol. 3B)",
}


def _resolution_j(range_uj: int | None) -> float | None:
    """One step of the counter; the file itself cannot show less than a microjoule."""
    return None if not range_uj else max(range_uj / COUNTER_STEPS, 1.0) * J_PER_MICROJOULE


def _max_power_w(folder: Path) -> float | None:
    """A power that the zone cannot pass: the highest limit set or allowed, with a margin for its reaction time."""
    limits = [
        _number(file) or 0
        for pattern in ("constraint_*_max_power_uw", "constraint_*_power_limit_uw")
        for file in folder.glob(pattern)
    ]
    most_uw = max(limits, default=0)
    return most_uw * W_PER_MICROWATT * SHORT_POWER_FACTOR if most_uw > 0 else None


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _number(file: Path) -> int | None:
    """A positive number from a file; None where there is none."""
    try:
        number = int(_text(file) or "")
    except ValueError:
        return None
    return number if number > 0 else None


def _cpu_name(cpuinfo: Path) -> str:
    lines = (_text(cpuinfo) or "").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")

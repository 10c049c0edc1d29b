"""Folders as Linux' drivers show them, with counters that a test sets: RAPL and other meters without such a machine.

    tree = powercap_tree(tmp_path, packages=[PowercapPackage(parts=("core", "dram"))], psys=True)
    tree.set_energy_j("package-0", 12.5)
    probe = RaplProbe(root=tree.root, opener=tree.opener)

The other meters are a FileTree each, whose files are set by their paths:

    tree = cray_tree(tmp_path, {"energy": 1000.0})
    probe = CrayProbe(root=tree.root, opener=tree.opener)
    tree.set("energy", "1250 J 100000 us")

Counters are written in place, so that a probe which holds one open sees each new value, as it does in sysfs.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wattvlm.units import J_PER_MICROJOULE, W_PER_MICROWATT

WRAP_J = 262_143.328_850
"""The commonest value: 2^32 - 1 steps of 61.04 µJ."""

_COUNTER_BYTES = 24


@dataclass(frozen=True, slots=True)
class PowercapPackage:
    """One CPU socket: its number, the zones inside ("core", "uncore", "dram"), and its power limits in watts.

    limits_w: of the long and the short term; () for a package without constraints.
    """

    number: int = 0
    parts: tuple[str, ...] = ("core", "dram")
    wraps_at_j: float | None = WRAP_J
    limits_w: tuple[float, ...] = (225.0, 270.0)


@dataclass(slots=True)
class PowercapTree:
    """A powercap folder and the zones in it, by path name such as "package-0", "package-0/dram" or "psys"."""

    root: Path
    zones: dict[str, Path] = field(default_factory=dict[str, Path])
    denied: set[str] = field(default_factory=set[str])

    def set_energy_j(self, zone: str, energy_j: float) -> None:
        """Puts a zone's counter to a value, wrapped where the zone wraps (at max_energy_range_uj, not at 2^32)."""
        energy_uj = round(energy_j / J_PER_MICROJOULE)
        limit = self.zones[zone] / "max_energy_range_uj"
        if limit.exists():
            energy_uj %= int(limit.read_text())
        descriptor = os.open(self.zones[zone] / "energy_uj", os.O_WRONLY | os.O_CREAT)
        try:
            os.pwrite(descriptor, f"{energy_uj}".encode().ljust(_COUNTER_BYTES, b"\n"), 0)
        finally:
            os.close(descriptor)

    def deny(self, *zones: str) -> None:
        """Lets nobody open these zones' counters through `opener`, not even root, whom a file's mode does not stop."""
        self.denied.update(zones)

    def remove(self, zone: str) -> None:
        """Takes a zone's folder away."""
        shutil.rmtree(self.zones.pop(zone))

    def opener(self, file: Path, flags: int) -> int:
        """Opens a file like os.open; PermissionError for the counter of a denied zone."""
        if any(self.zones[zone] / "energy_uj" == file for zone in self.denied):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return os.open(file, flags)


def powercap_tree(
    root: Path,
    packages: Sequence[PowercapPackage] = (PowercapPackage(),),
    *,
    psys: bool = False,
    denied: Collection[str] = (),
    mmio: bool = False,
) -> PowercapTree:
    """Writes a powercap folder, all counters at zero.

    psys: the zone of the whole platform, numbered after the packages. denied: zones that `opener` refuses.
    mmio: the duplicate of each package that many laptops show as intel-rapl-mmio.
    """
    tree = PowercapTree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / "intel-rapl").mkdir()
    for index, package in enumerate(packages):
        name = f"package-{package.number}"
        _write_zone(tree, name, f"intel-rapl:{index}", package)
        if mmio:
            _write_zone(tree, f"mmio/{name}", f"intel-rapl-mmio:{index}", package)
        for part_index, part in enumerate(package.parts):
            _write_zone(tree, f"{name}/{part}", f"intel-rapl:{index}:{part_index}", package)
    if psys:
        _write_zone(tree, "psys", f"intel-rapl:{len(packages)}", PowercapPackage())
    tree.deny(*denied)
    return tree


def _write_zone(tree: PowercapTree, zone: str, folder_name: str, package: PowercapPackage) -> None:
    folder = tree.root / folder_name
    folder.mkdir()
    (folder / "name").write_text(zone.rpartition("/")[2] + "\n")
    if package.wraps_at_j is not None:
        (folder / "max_energy_range_uj").write_text(f"{round(package.wraps_at_j / J_PER_MICROJOULE)}\n")
    if "/" not in zone.removeprefix("mmio/"):
        for index, limit_w in enumerate(package.limits_w):
            (folder / f"constraint_{index}_power_limit_uw").write_text(f"{round(limit_w / W_PER_MICROWATT)}\n")
    tree.zones[zone] = folder
    tree.set_energy_j(zone, 0.0)


@dataclass(slots=True)
class FileTree:
    """A folder of small files, named by their paths in it."""

    root: Path
    denied: set[Path] = field(default_factory=set[Path])
    opened: dict[Path, int] = field(default_factory=dict[Path, int])

    def set(self, path: str, text: str) -> None:
        """Puts a file's text in place; makes the file where there is none."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        content = f"{text}\n".encode()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)

    def deny(self, *paths: str) -> None:
        """Lets nobody open these files through `opener`, not even root, whom a file's mode does not stop."""
        self.denied.update(self.root / path for path in paths)

    def lose(self, path: str) -> None:
        """Takes the device away under whoever holds this file open: each later read of it fails for good."""
        gone = os.open(os.devnull, os.O_WRONLY)
        os.dup2(gone, self.opened[self.root / path])
        os.close(gone)

    def opener(self, file: Path, flags: int) -> int:
        """Opens a file like os.open; PermissionError for one that is denied."""
        if file in self.denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        self.opened[file] = os.open(file, flags)
        return self.opened[file]


def perf_tree(
    root: Path, packages: int = 1, events: Sequence[str] = ("pkg", "cores", "ram"), *, dies: int = 1
) -> FileTree:
    """The power PMU in "pmu" (type 22), with 16 CPUs a die in "cpus"; event N is the N-th given, from 1."""
    tree = FileTree(root)
    tree.set("pmu/type", "22")
    tree.set("pmu/cpumask", ",".join(str(16 * die) for die in range(packages * dies)))
    for number, event in enumerate(events, start=1):
        tree.set(f"pmu/events/energy-{event}", f"event={number:#04x}")
        tree.set(f"pmu/events/energy-{event}.unit", "Joules")
        tree.set(f"pmu/events/energy-{event}.scale", "2.3283064365386962890625e-10")
    for die in range(packages * dies):
        tree.set(f"cpus/cpu{16 * die}/topology/physical_package_id", str(die // dies))
        tree.set(f"cpus/cpu{16 * die}/topology/die_id", str(die % dies))
    return tree


def intel_gpu_tree(
    root: Path,
    energies_j: Mapping[str, float],
    driver: str = "xe",
    address: str = "0000:03:00.0",
    limit_w: float | None = 190.0,
) -> FileTree:
    """A card's hwmon folder "hwmon/hwmon0"; energies_j by label ("card", "pkg"), in the order of their numbers."""
    tree = FileTree(root)
    tree.set(f"devices/{address}/device", "0x56a0")
    tree.set("hwmon/hwmon0/name", driver)
    (root / "hwmon/hwmon0/device").symlink_to(root / "devices" / address)
    for number, (label, energy_j) in enumerate(energies_j.items(), start=1):
        tree.set(f"hwmon/hwmon0/energy{number}_label", label)
        tree.set(f"hwmon/hwmon0/energy{number}_input", str(round(energy_j / J_PER_MICROJOULE)))
        if limit_w is not None:
            tree.set(f"hwmon/hwmon0/power{number}_max", str(round(limit_w / W_PER_MICROWATT)))
    return tree


def jetson_tree(root: Path, rails: Mapping[str, tuple[int, int]], interval_ms: int | None = 50) -> FileTree:
    """INA3221 chips with three rails each in "ina3221/1-004N/hwmon/hwmonN"; rails: millivolts and milliamperes."""
    tree = FileTree(root)
    for index, (label, (millivolts, milliamperes)) in enumerate(rails.items()):
        chip, number = divmod(index, 3)
        folder = f"ina3221/1-004{chip}/hwmon/hwmon{chip}"
        if interval_ms is not None:
            tree.set(f"{folder}/update_interval", str(interval_ms))
        tree.set(f"{folder}/in{number + 1}_label", label)
        tree.set(f"{folder}/in{number + 1}_input", str(millivolts))
        tree.set(f"{folder}/curr{number + 1}_input", str(milliamperes))
    return tree


def grace_tree(root: Path, powers_w: Mapping[str, float], interval_ms: int | None = 50) -> FileTree:
    """ACPI power meters by their OEM text ("CPU Power Socket 0"), each in a "hwmonN/device" of its own."""
    tree = FileTree(root)
    for index, (label, power_w) in enumerate(powers_w.items()):
        tree.set(f"hwmon{index}/name", "power_meter")
        tree.set(f"hwmon{index}/device/power1_oem_info", label)
        tree.set(f"hwmon{index}/device/power1_average", str(round(power_w / W_PER_MICROWATT)))
        if interval_ms is not None:
            tree.set(f"hwmon{index}/device/power1_average_interval", str(interval_ms))
    return tree


def cray_tree(root: Path, energies_j: Mapping[str, float], rate_hz: int = 10) -> FileTree:
    """The files of pm_counters by name ("energy", "accel0_energy"), whole joules with a stamp."""
    tree = FileTree(root)
    tree.set("raw_scan_hz", str(rate_hz))
    for name, energy_j in energies_j.items():
        tree.set(name, f"{energy_j:.0f} J 1700000000000000 us")
    return tree


def amd_tree(root: Path) -> FileTree:
    """What a machine with an AMD GPU shows of it: its compute driver, and one card."""
    tree = FileTree(root)
    tree.set("dev/kfd", "")
    tree.set("sys/class/drm/card0/device/vendor", "0x1002")
    return tree

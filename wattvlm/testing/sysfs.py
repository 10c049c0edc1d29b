"""Folders as Linux' powercap driver shows them, with counters that a test sets: RAPL without such a CPU.

    tree = powercap_tree(tmp_path, packages=[PowercapPackage(parts=("core", "dram"))], psys=True)
    tree.set_energy_j("package-0", 12.5)
    probe = RaplProbe(root=tree.root, opener=tree.opener)

Counters are written in place, so that a probe which holds one open sees each new value, as it does in sysfs.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Sequence
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

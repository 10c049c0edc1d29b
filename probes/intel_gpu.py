"""Intel GPUs on cards of their own, through the energy counters of Linux' hwmon (drivers i915 and xe).

A GPU inside the CPU has no such folder: its joules are the uncore's in RAPL. Without a folder, nothing is said.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.probes._sysfs import HeldFiles, Opener, number_in, number_of, text_of, unreadable
from wattvlm.sensing import Absence, Channel, Domain, EnergyReading, Sensors
from wattvlm.units import J_PER_MICROJOULE, W_PER_MICROWATT

ROOT = Path("/sys/class/hwmon")

_DRIVER = re.compile(r"(i915|xe)(?:_gt(\d+))?")
"""i915 shows each tile of a card with several in a folder of its own, beside that of the card."""

_PARTS = {"card": "board", "pkg": "package"}
_PART_BY_NUMBER = {1: "card", 2: "pkg"}
_WORDS = {"board": "card energy counter", "package": "package energy counter"}

SHORT_POWER_FACTOR = 1.5
GAIN_STD_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class _Counter:
    file: Path
    channel: Channel


class IntelGpuProbe:
    """All Intel GPUs with an energy counter: "gpu-<PCI address>/board", and "/package" inside it.

    root: the hwmon class folder. opener: opens a counter; gives a file descriptor.
    """

    domain: Domain = "gpu"

    def __init__(self, root: Path = ROOT, clock: Clock | None = None, opener: Opener = os.open) -> None:
        self._root = root
        self._files = HeldFiles(clock or SystemClock(), opener)

    def open(self) -> Sensors:
        """Holds each counter open; sees nothing where no card of Intel's has a hwmon folder."""
        self.close()
        channels: list[Channel] = []
        absent: list[Absence] = []
        folders = [(folder, found) for folder, found in _folders(self._root) if found]
        for folder, driver in folders:
            counters = list(_counters(folder, driver))
            if not counters and driver[2] is None:
                absent.append(_no_counter(folder))
            for counter in counters:
                try:
                    self._files.hold(counter.channel.name, (counter.file,))
                except OSError as error:
                    effect = f"the joules of {counter.channel.name} are not measured"
                    absent.append(unreadable("gpu", counter.file, error, effect))
                else:
                    channels.append(counter.channel)
        return Sensors(tuple(_inside_the_largest(channel, channels) for channel in channels), tuple(absent))

    def read(self, channel: Channel) -> Sequence[EnergyReading]:
        """The counter now, in joules."""
        (text,), before_ns, after_ns = self._files.read(channel)
        energy_j = number_in(text, channel) * J_PER_MICROJOULE
        return (EnergyReading(channel.name, before_ns, after_ns, after_ns - before_ns, energy_j),)

    def close(self) -> None:
        """Closes the counters."""
        self._files.close()


def _folders(root: Path) -> Iterator[tuple[Path, re.Match[str] | None]]:
    for folder in sorted(root.glob("hwmon*")):
        yield folder, _DRIVER.fullmatch(text_of(folder / "name") or "")


def _counters(folder: Path, driver: re.Match[str] | None) -> Iterator[_Counter]:
    if driver is None:
        return
    device = (folder / "device").resolve()
    board = f"gpu-{device.name}"
    product = f"Intel GPU {text_of(device / 'device') or 'of unknown kind'} at {device.name}"
    for number, usual in _PART_BY_NUMBER.items():
        file = folder / f"energy{number}_input"
        if not file.exists():
            continue
        label = text_of(folder / f"energy{number}_label") or usual
        part = _PARTS.get(label, label) if driver[2] is None else f"tile-{driver[2]}"
        yield _Counter(file, _channel(f"{board}/{part}", driver[1], part, product, _max_power_w(folder, number)))


def _channel(name: str, driver: str, part: str, product: str, most_w: float | None) -> Channel:
    return Channel(
        name=name,
        sensor=f"{driver} {_WORDS.get(part, f'{part} energy counter')}",
        device=product,
        domain="gpu",
        method="counter",
        window_ns=0,
        max_power_w=most_w,
        gain_std_fraction=GAIN_STD_FRACTION,
        source={
            "value": "hwmon energyN_input in µJ; 1 is the card, 2 the package where no label says so "
            "(Linux, Documentation/ABI/testing/sysfs-driver-intel-xe-hwmon and -i915-hwmon)",
            "domain": "the card with its memory, and the GPU's package inside it (the same documents)",
            "update_period_ns": "unknown until observed: no source found",
            "window_ns": "an integral has no window",
            "resolution_j": "unknown: the file shows µJ, the register's own step is not shown",
            "max_power_w": "unknown: the driver shows no power limit"
            if most_w is None
            else f"assumed: {SHORT_POWER_FACTOR} x the highest power limit that the driver shows",
            "wraps_at_j": "never in practice: the driver adds the 32-bit register up in 64 bits, if it is read at "
            "least once in each of its turns (the same documents)",
            "gain_std_fraction": "assumed: no study found",
        },
    )


def _max_power_w(folder: Path, number: int) -> float | None:
    """A power that the part cannot pass: the highest of its limits, with a margin; a limit of 0 is none."""
    limits_uw = [number_of(folder / f"power{number}_{kind}") for kind in ("max", "rated_max", "cap", "crit")]
    known_uw = [limit_uw for limit_uw in limits_uw if limit_uw is not None]
    return max(known_uw) * W_PER_MICROWATT * SHORT_POWER_FACTOR if known_uw else None


def _inside_the_largest(channel: Channel, channels: Sequence[Channel]) -> Channel:
    """The package is inside the card, and a tile inside either; each in the largest of them that is measured."""
    names = {each.name for each in channels}
    parts = ("board", "package")
    larger = parts[: parts.index(channel.name.partition("/")[2])] if channel.name.endswith(parts) else parts
    inside = next((f"{channel.board}/{part}" for part in larger if f"{channel.board}/{part}" in names), None)
    return replace(channel, contained_in=inside)


def _no_counter(folder: Path) -> Absence:
    return Absence(
        "gpu",
        f"the Intel GPU at {(folder / 'device').resolve().name} shows no energy counter in {folder}",
        "the joules of this GPU are absent",
        "a newer kernel may have one: i915 shows it since Linux 6.2, xe since 6.8, and not for every card",
    )


PROBE = IntelGpuProbe

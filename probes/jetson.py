"""NVIDIA Jetson boards: the power of their supply rails, measured by INA3221 chips.

Which part a rail feeds is told by its label only. The rail that feeds the whole module is the node's power and enters
no total of CPU or GPU; a rail that CPU and GPU share is the SoC's, since nothing can tell its two users apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.probes._sysfs import HeldFiles, Opener, number_in, number_of, text_of, unreadable
from wattvlm.sensing import Absence, Channel, Domain, PowerReading, Sensors
from wattvlm.units import NS_PER_MS, W_PER_MICROWATT, W_PER_MILLIWATT

ROOT = Path("/sys/bus/i2c/drivers")
DRIVERS = ("ina3221", "ina3221x")

_USUAL_PERIOD_NS = 100 * NS_PER_MS
GAIN_STD_FRACTION = 0.05


_DOMAINS: Mapping[str, Domain] = {
    "VDD_IN": "node",
    "POM_5V_IN": "node",
    "5V_IN": "node",
    "VDD_GPU_SOC": "gpu",
    "VDD_GPU": "gpu",
    "VDD_SYS_GPU": "gpu",
    "POM_5V_GPU": "gpu",
    "GPU": "gpu",
    "VDD_CPU_CV": "cpu",
    "VDD_CPU": "cpu",
    "VDD_SYS_CPU": "cpu",
    "POM_5V_CPU": "cpu",
    "CPU": "cpu",
    "VDD_CPU_GPU_CV": "soc",
    "VDD_CPU_GPU": "soc",
    "VDD_SOC": "soc",
    "VDD_SYS_SOC": "soc",
    "SOC": "soc",
    "CV": "soc",
    "VDD_SYS_DDR": "ram",
    "VDDRQ": "ram",
}
"""Rails of the Jetson developer guides; those of the carrier board and of 5 V feed none of these alone."""

_SHARED = {
    "VDD_GPU_SOC": "GPU and SoC logic on one rail",
    "VDD_CPU_CV": "CPU and vision accelerators on one rail",
    "VDD_CPU_GPU_CV": "CPU, GPU and vision accelerators on one rail",
    "VDD_CPU_GPU": "CPU and GPU on one rail",
}


@dataclass(frozen=True, slots=True)
class _Rail:
    """A rail, the files whose numbers multiplied are its power, and the watts of a product of 1."""

    label: str
    files: tuple[Path, ...]
    unit_w: float
    period_ns: int | None


class JetsonProbe:
    """All known rails: "<domain>-jetson-<rail>/rail".

    root: the folder of I2C drivers. opener: opens a file; gives a descriptor.
    """

    domain: Domain = "soc"

    def __init__(self, root: Path = ROOT, clock: Clock | None = None, opener: Opener = os.open) -> None:
        self._root = root
        self._files = HeldFiles(clock or SystemClock(), opener)
        self._unit_w: dict[str, float] = {}

    def open(self) -> Sensors:
        """Holds the rails' files open; sees nothing where there is no INA3221 with a rail of a Jetson."""
        self.close()
        channels: list[Channel] = []
        absent: list[Absence] = []
        facts: dict[str, str] = {}
        for label_file, rail in _rails(self._root):
            if rail is None:
                absent.append(_unlabelled(label_file))
                continue
            channel = _channel(rail)
            if channel is None:
                facts[f"jetson rail {rail.label}"] = "not used: it feeds no single part"
                continue
            try:
                self._files.hold(channel.name, rail.files)
            except OSError as error:
                effect = f"the joules of rail {rail.label} are not measured"
                absent.append(unreadable(channel.domain, rail.files[0], error, effect))
            else:
                self._unit_w[channel.name] = rail.unit_w
                channels.append(channel)
        return Sensors(tuple(channels), tuple(absent), facts if channels or absent else {})

    def read(self, channel: Channel) -> Sequence[PowerReading]:
        """The rail's power at the last conversion of its chip."""
        texts, before_ns, after_ns = self._files.read(channel)
        power_w = prod(number_in(text, channel) for text in texts) * self._unit_w[channel.name]
        return (PowerReading(channel.name, after_ns, after_ns - before_ns, power_w),)

    def close(self) -> None:
        """Closes the files."""
        self._files.close()
        self._unit_w = {}


def _rails(root: Path) -> Iterator[tuple[Path, _Rail | None]]:
    """Each rail once, of the hwmon driver and of Jetson Linux 32's (iio); None where its label cannot be read."""
    seen: set[str] = set()
    for driver in DRIVERS:
        for pattern, rail_of in (("*/hwmon/hwmon*/in*_label", _hwmon_rail), ("*/iio*/rail_name_*", _iio_rail)):
            for label_file in sorted((root / driver).glob(pattern)):
                label = text_of(label_file)
                if label is None:
                    yield label_file, None
                elif label not in seen and (rail := rail_of(label_file, label)):
                    seen.add(label)
                    yield label_file, rail


def _hwmon_rail(label_file: Path, label: str) -> _Rail | None:
    folder, number = label_file.parent, label_file.name.removeprefix("in").removesuffix("_label")
    interval_ms = number_of(folder / "update_interval")
    period_ns = None if interval_ms is None else round(interval_ms * NS_PER_MS)
    product = (folder / f"in{number}_input", folder / f"curr{number}_input")
    if all(file.exists() for file in product):
        return _Rail(label, product, W_PER_MICROWATT, period_ns)  # millivolts times milliamperes are microwatts
    power = folder / f"power{number}_input"
    return _Rail(label, (power,), W_PER_MICROWATT, period_ns) if power.exists() else None


def _iio_rail(label_file: Path, label: str) -> _Rail | None:
    power = label_file.with_name(f"in_power{label_file.name.removeprefix('rail_name_')}_input")
    return _Rail(label, (power,), W_PER_MILLIWATT, None) if power.exists() else None


def _channel(rail: _Rail) -> Channel | None:
    domain = _DOMAINS.get(rail.label)
    if domain is None:
        return None
    shared = _SHARED.get(rail.label)
    return Channel(
        name=f"{domain}-jetson-{rail.label}/rail",
        sensor=f"INA3221 rail {rail.label}" + (f" ({shared})" if shared else ""),
        device="whole Jetson module" if domain == "node" else "Jetson",
        domain=domain,
        method="power",
        update_period_ns=rail.period_ns or _USUAL_PERIOD_NS,
        gain_std_fraction=GAIN_STD_FRACTION,
        source={
            "value": "in_powerN_input in mW (Jetson Linux 32, iio)"
            if rail.unit_w == W_PER_MILLIWATT
            else "powerN_input in µW (Linux, Documentation/hwmon/sysfs-interface.rst)"
            if len(rail.files) == 1
            else "inN_input in mV times currN_input in mA (Linux, Documentation/hwmon/ina3221.rst)",
            "domain": "the rail's label (Jetson developer guide); a node's rail holds the others"
            + (f"; {shared}" if shared else ""),
            "update_period_ns": "update_interval: channels x samples x conversion times (ina3221.rst)"
            if rail.period_ns
            else "assumed: as often as tegrastats shows it",
            "window_ns": "unknown: the chip's averaging inside one period is not shown",
            "resolution_w": "unknown: it depends on the rail's shunt",
            "max_power_w": "unknown: no limit is shown",
            "gain_std_fraction": "assumed: tolerance of the shunts, no study found",
        },
    )


def _unlabelled(label_file: Path) -> Absence:
    return Absence(
        "soc",
        f"denied: this user may not read {label_file}",
        "what this rail of the INA3221 feeds is not known, and its joules are not measured",
        f"sudo chmod -R a+r {label_file.parent} (until the next boot; a udev rule keeps it), or run as root",
    )


PROBE = JetsonProbe

"""NVIDIA Grace CPUs, alone or with a GPU on one module, through the ACPI power meters of Linux' hwmon.

Firmware names each meter in power1_oem_info. The rails of the CPU's cores and of its system I/O are the CPU's power;
the whole Grace socket (with its memory) and the whole module (with the GPU) are the node's and enter no total of CPU
or GPU. Memory has no meter: it is socket - CPU - system I/O, the noise of three meters, and hence no channel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.probes._sysfs import HeldFiles, Opener, number_in, number_of, text_of, unreadable
from wattvlm.sensing import Absence, Channel, Domain, PowerReading, Sensors
from wattvlm.units import NS_PER_MS, W_PER_MICROWATT, W_PER_MILLIWATT

ROOT = Path("/sys/class/hwmon")

_LABEL = re.compile(r"(Module|Grace|CPU|SysIO) Power Socket (\d+)")
_USUAL_PERIOD_NS = 50 * NS_PER_MS
GAIN_STD_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a meter measures. name: of its channel, with the socket's number for {0}; inside: the channels around it."""

    name: str
    domain: Domain
    words: str
    inside: tuple[str, ...] = ()


_KINDS: Mapping[str, _Kind] = {
    "Module": _Kind("node-0/module-{0}", "node", "Grace module (CPU, GPU and their memories)"),
    "Grace": _Kind("node-0/grace-{0}", "node", "Grace socket (CPU with its memory)", ("node-0/module-{0}",)),
    "CPU": _Kind("cpu-{0}/package", "cpu", "Grace CPU rail"),
    "SysIO": _Kind("cpu-{0}/sysio", "cpu", "Grace system I/O rail"),
}


@dataclass(frozen=True, slots=True)
class _Meter:
    file: Path
    channel: Channel


class GraceProbe:
    """The power meters of all sockets.

    root: the hwmon class folder. acpi: the folder of ACPI devices, cpuinfo: where the CPU's kind is, to tell a Grace
    whose meters have no driver. opener: opens a meter; gives a file descriptor.
    """

    domain: Domain = "cpu"

    def __init__(
        self,
        root: Path = ROOT,
        clock: Clock | None = None,
        acpi: Path = Path("/sys/bus/acpi/devices"),
        cpuinfo: Path = Path("/proc/cpuinfo"),
        opener: Opener = os.open,
    ) -> None:
        self._root = root
        self._acpi = acpi
        self._cpuinfo = cpuinfo
        self._files = HeldFiles(clock or SystemClock(), opener)

    def open(self) -> Sensors:
        """Holds each meter open; sees nothing where no meter is named as a Grace's is."""
        self.close()
        meters = list(_meters(self._root))
        if not meters:
            return Sensors((), (_no_driver(),) if self._meters_have_no_driver() else ())
        channels: list[Channel] = []
        absent: list[Absence] = []
        for meter in meters:
            try:
                self._files.hold(meter.channel.name, (meter.file,))
            except OSError as error:
                effect = f"the joules of {meter.channel.name} are not measured"
                absent.append(unreadable(meter.channel.domain, meter.file, error, effect))
            else:
                channels.append(meter.channel)
        names = {channel.name for channel in channels}
        return Sensors(tuple(_inside(channel, names) for channel in channels), tuple(absent))

    def _meters_have_no_driver(self) -> bool:
        """ACPI lists power meters and the cores are Grace's, but no hwmon folder shows a meter."""
        folders = self._root.glob("hwmon*")
        return (
            any(self._acpi.glob("ACPI000D:*"))
            and re.search(r"^CPU part\s*: 0xd4f$", text_of(self._cpuinfo) or "", re.MULTILINE) is not None
            and not any(text_of(folder / "name") == "power_meter" for folder in folders)
        )

    def read(self, channel: Channel) -> Sequence[PowerReading]:
        """The meter's newest average."""
        (text,), before_ns, after_ns = self._files.read(channel)
        power_w = number_in(text, channel) * W_PER_MICROWATT
        return (PowerReading(channel.name, after_ns, after_ns - before_ns, power_w),)

    def close(self) -> None:
        """Closes the meters."""
        self._files.close()


def _meters(root: Path) -> Iterator[_Meter]:
    """The meters with a known name; the files lie in the hwmon folder or in its device's."""
    for hwmon in sorted(root.glob("hwmon*")):
        for folder in (hwmon, hwmon / "device"):
            found = _LABEL.fullmatch(text_of(folder / "power1_oem_info") or "")
            if found is not None:
                interval_ms = number_of(folder / "power1_average_interval")
                channel = _channel(_KINDS[found[1]], found[2], interval_ms)
                yield _Meter(folder / "power1_average", channel)
                break


def _channel(kind: _Kind, socket: str, interval_ms: float | None) -> Channel:
    interval_ns = None if interval_ms is None else round(interval_ms * NS_PER_MS)
    return Channel(
        name=kind.name.format(socket),
        sensor=f"{kind.words} (ACPI power meter)",
        device=f"NVIDIA Grace socket {socket}",
        domain=kind.domain,
        method="power",
        update_period_ns=interval_ns or _USUAL_PERIOD_NS,
        window_ns=interval_ns,
        resolution_w=W_PER_MILLIWATT,
        gain_std_fraction=GAIN_STD_FRACTION,
        contained_in=next((name.format(socket) for name in kind.inside), None),
        source={
            "value": "power1_average in µW (Linux, Documentation/hwmon/acpi_power_meter.rst)",
            "domain": "power1_oem_info, as NVIDIA's firmware writes it (ACPI tables of TH500)",
            "update_period_ns": "power1_average_interval; the firmware offers 50 ms and 1 s"
            if interval_ns
            else "assumed: 50 ms, the firmware's first choice",
            "window_ns": "power1_average_interval" if interval_ns else "unknown: no interval is shown",
            "resolution_w": "the firmware counts in mW",
            "max_power_w": "unknown: no limit of these meters was found",
            "gain_std_fraction": "assumed; single readings were seen to be 100 W off (arXiv 2312.02741)",
        },
    )


def _inside(channel: Channel, names: Collection[str]) -> Channel:
    return channel if channel.contained_in in names else replace(channel, contained_in=None)


def _no_driver() -> Absence:
    return Absence(
        "cpu",
        "ACPI lists power meters of this Grace CPU, but no driver shows them",
        "CPU joules are not measured",
        "sudo modprobe acpi_power_meter force_cap_on=y (the kernel needs CONFIG_SENSORS_ACPI_POWER); to keep it: add "
        "acpi_power_meter.force_cap_on=y to the kernel's command line",
    )


PROBE = GraceProbe

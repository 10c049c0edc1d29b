"""HPE Cray nodes through the counters that the blade's controller writes to /sys/cray/pm_counters ten times a second.

The node's counter holds all others. CPU and memory are used where nothing nearer measures them: they name the RAPL
channels as what they are contained in, and so are added only where RAPL cannot be read (it is for root only, these
files are for all). The accelerators' counters stay inside the node's, beside the GPU's own sensors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeRetry
from wattvlm.probes._sysfs import HeldFiles, Opener, number_in, number_of, text_of, unreadable
from wattvlm.sensing import Absence, Channel, Domain, EnergyReading, Sensors
from wattvlm.units import NS_PER_S

ROOT = Path("/sys/cray/pm_counters")

_USUAL_HZ = 10.0
GAIN_STD_FRACTION = 0.05
NODE = "node-0/cray"


@dataclass(frozen=True, slots=True)
class _Counter:
    """One file. contained_in: the channel that holds its joules, of this probe or of a nearer sensor."""

    file_name: str
    name: str
    domain: Domain
    device: str
    contained_in: str | None = None


_NODE_COUNTER = _Counter("energy", NODE, "node", "whole node")
_PARTS = (
    _Counter("cpu_energy", "cpu-cray/all", "cpu", "all CPUs of the node", "cpu-0/package"),
    _Counter("memory_energy", "ram-cray/all", "ram", "memory of the node", "cpu-0/dram"),
)


class CrayProbe:
    """The node's counter, those of CPU and memory, and one for each accelerator.

    root: the folder of counters. opener: opens a counter; gives a file descriptor.
    """

    domain: Domain = "node"

    def __init__(self, root: Path = ROOT, clock: Clock | None = None, opener: Opener = os.open) -> None:
        self._root = root
        self._files = HeldFiles(clock or SystemClock(), opener)

    def open(self) -> Sensors:
        """Holds each counter open; sees nothing where there is no folder of counters."""
        self.close()
        if not self._root.is_dir():
            return Sensors(())
        rate_hz = number_of(self._root / "raw_scan_hz") or _first_number(self._root / "raw_scan_hz")
        channels: list[Channel] = []
        absent: list[Absence] = []
        for counter in (_NODE_COUNTER, *_PARTS, *_accelerators(self._root)):
            file = self._root / counter.file_name
            if not file.exists():
                continue
            try:
                self._files.hold(counter.name, (file,))
            except OSError as error:
                absent.append(unreadable(counter.domain, file, error, f"the joules of {counter.name} are not measured"))
            else:
                channels.append(_channel(counter, rate_hz))
        names = {channel.name for channel in channels}
        # Without the node's own counter its accelerators would be a node that has nothing else.
        kept = [channel for channel in channels if channel.contained_in != NODE or NODE in names]
        return Sensors(tuple(kept), tuple(absent))

    def read(self, channel: Channel) -> Sequence[EnergyReading]:
        """The counter now, in joules; its stamp is the blade controller's clock, which is not this machine's."""
        (text,), before_ns, after_ns = self._files.read(channel)
        energy_j = number_in(text, channel)
        if text.split()[1:2] != ["J"]:
            raise ProbeRetry(f"{channel.sensor} gave {text!r} for {channel.name}, which are no joules")
        return (EnergyReading(channel.name, before_ns, after_ns, after_ns - before_ns, energy_j),)

    def close(self) -> None:
        """Closes the counters."""
        self._files.close()


def _accelerators(root: Path) -> list[_Counter]:
    """accel0_energy, accel1_energy, ...; accel_energy is their sum on older nodes and is not read beside them."""
    files = sorted(root.glob("accel[0-9]*_energy")) or sorted(root.glob("accel_energy"))
    return [
        _Counter(file.name, f"node-0/cray-{_accelerator(file)}", "node", _accelerator(file), NODE) for file in files
    ]


def _accelerator(file: Path) -> str:
    return file.name.removesuffix("_energy")


def _first_number(file: Path) -> float | None:
    """The rate, where a time stamp follows it."""
    words = (text_of(file) or "").split()
    return float(words[0]) if words and words[0].isdecimal() and int(words[0]) > 0 else None


def _channel(counter: _Counter, rate_hz: float | None) -> Channel:
    return Channel(
        name=counter.name,
        sensor=f"Cray pm_counters {counter.file_name}",
        device=counter.device,
        domain=counter.domain,
        method="counter",
        update_period_ns=round(NS_PER_S / (rate_hz or _USUAL_HZ)),
        window_ns=0,
        resolution_j=1.0,
        gain_std_fraction=GAIN_STD_FRACTION,
        contained_in=counter.contained_in,
        source={
            **_SOURCES,
            "update_period_ns": ("raw_scan_hz" if rate_hz else "10 Hz (HPE CSM documentation)")
            + "; phases shorter than two periods alias (arXiv 2604.06056)",
        },
    )


_SOURCES: Mapping[str, str] = {
    "value": "'<joules> J <stamp> us' (files of pm_counters; the stamp's clock is assumed to be the controller's)",
    "domain": "the node with its accelerators; its CPUs; its memory (HPE CSM documentation, pm_counters)",
    "window_ns": "an integral has no window",
    "resolution_j": "the files show whole joules",
    "max_power_w": "unknown: power_cap is a limit that short phases may pass",
    "wraps_at_j": "unknown: no source found",
    "gain_std_fraction": "assumed; a node's counter holds about 30 W of network card (arXiv 2604.06056)",
    "contained_in": "the nearer sensor's channel where this machine has one that can be read, else nothing",
}


PROBE = CrayProbe

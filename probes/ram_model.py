"""The memory's power as an estimate from its size, where no counter can be read.

The number of DIMMs is guessed from the size, each is given a nominal power, and large numbers of them a discount: the
heuristic of codecarbon 3 (external/ram.py). No validation of it is published, so these joules are always "modelled".
In a container with a memory limit only that share is modelled; the rest refreshes other people's data.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeUnavailable
from wattvlm.probes import _cgroup, _codecarbon
from wattvlm.sensing import Channel, Domain, PowerReading, Sensors
from wattvlm.units import NS_PER_MS

PERIOD_NS = 100 * NS_PER_MS

X86_DIMM_W = 5.0
ARM_DIMM_W = 1.5
LEAST_DIMMS = 2
"""Fewer are not modelled: codecarbon's floor of 10 W (x86) and 3 W (ARM) is two DIMMs."""

STD_FRACTION = 0.5
"""Half or twice the DIMMs is an everyday error of a guess from the size alone."""

_DIMMS_UP_TO_GIB = ((16.0, 2), (64.0, 4), (128.0, 8))
_USUAL_DIMMS_GIB = (128, 64, 32, 16)
_MOST_DIMMS = 32
_DISCOUNTS = ((4, 1.0), (8, 0.9), (16, 0.8), (_MOST_DIMMS, 0.7))
"""Up to this many DIMMs, each further one counts for this fraction."""

BYTES_PER_GIB = 2**30


class RamModelProbe:
    """One channel, "ram/model": constant watts of the memory this process may use, modelled.

    root: where proc and sys are. machine: the processor architecture ("x86_64", "aarch64").
    dimm_w: watts a DIMM (default: codecarbon's constant where it is installed, else the same number from here).
    """

    domain: Domain = "ram"

    def __init__(
        self,
        root: str | Path = "/",
        clock: Clock | None = None,
        machine: str | None = None,
        dimm_w: float | None = None,
    ) -> None:
        self._root = Path(root)
        self._clock: Clock = clock or SystemClock()
        self._machine = (machine or platform.machine()).lower()
        self._dimm_w = dimm_w
        self._power_w: float | None = None

    def open(self) -> Sensors:
        """The one channel; raises ProbeUnavailable where the size of the memory is not known."""
        size_gib = self._size_bytes() / BYTES_PER_GIB
        limit_bytes = _cgroup.memory_limit_bytes(self._root)
        share = 1.0 if limit_bytes is None else min(1.0, limit_bytes / BYTES_PER_GIB / size_gib)
        dimms = dimm_count(size_gib)
        dimm_w, source = self._watts_a_dimm()
        self._power_w = share * dimms_power_w(dimms, dimm_w)
        words = f"{dimms} DIMMs x {dimm_w:g} W (guessed from {size_gib:.0f} GB)"
        if share < 1.0:
            words = f"{share * size_gib:.3g} of {size_gib:.0f} GB, {words}"
        return Sensors((self._channel(words, source),))

    def _size_bytes(self) -> int:
        try:
            for line in (self._root / "proc/meminfo").read_text().splitlines():
                if line.startswith("MemTotal:"):
                    return int(line.split()[1]) * 1024
        except (OSError, ValueError, IndexError):
            pass
        if self._root != Path("/"):
            raise ProbeUnavailable(
                f"{self._root}/proc/meminfo gives no MemTotal", "RAM joules are absent", "mount /proc there"
            )
        import psutil

        return psutil.virtual_memory().total

    def _watts_a_dimm(self) -> tuple[float, str]:
        if self._dimm_w is not None:
            return self._dimm_w, "a power that was given"
        if self._machine.startswith(("arm", "aarch")):
            return ARM_DIMM_W, "1.5 W, codecarbon 3's number for ARM machines (external/ram.py)"
        installed = _codecarbon.folder()
        found_w = None if installed is None else _codecarbon.dimm_power_w(installed)
        if found_w is None:
            return X86_DIMM_W, "5 W, the RAM_SLOT_POWER_X86 of codecarbon 3 (external/ram.py)"
        return found_w, f"RAM_SLOT_POWER_X86 of {_codecarbon.version()}, external/ram.py"

    def _channel(self, words: str, source: str) -> Channel:
        return Channel(
            name="ram/model",
            sensor=words,
            device="system memory",
            domain="ram",
            method="model",
            update_period_ns=PERIOD_NS,
            window_ns=0,
            max_power_w=self._power_w,
            gain_std_fraction=STD_FRACTION,
            source={
                "power": f"{words}; watts a DIMM: {source}",
                "dimms": "guessed from MemTotal as codecarbon 3 does (external/ram.py)",
                "update_period_ns": "a constant: read as often as the CPU model, so that short calls have readings",
                "max_power_w": "the model's only value",
                "gain_std_fraction": "no validation is published; the number of DIMMs may be half or twice the guess",
            },
        )

    def read(self, channel: Channel) -> Sequence[PowerReading]:
        """The same watts each time."""
        if self._power_w is None:
            raise ProbeLost("the RAM model is not open; its joules are absent. Cure: open the probe first")
        now_ns = self._clock.monotonic_ns()
        return (PowerReading(channel.name, now_ns, 0, self._power_w),)

    def close(self) -> None:
        """Nothing is held."""
        self._power_w = None


def dimm_count(size_gib: float) -> int:
    """How many DIMMs a machine with that much memory usually has; at least two."""
    for most_gib, dimms in _DIMMS_UP_TO_GIB:
        if size_gib <= most_gib:
            return dimms
    largest_gib = next(gib for gib in _USUAL_DIMMS_GIB if gib <= size_gib / 8)
    return min(_MOST_DIMMS, ceil(size_gib / largest_gib))


def dimms_power_w(dimms: int, dimm_w: float) -> float:
    """Watts of that many DIMMs: the first four in full, further ones at 90, 80 and 70 %."""
    power_w = 0.0
    counted = 0
    for most, fraction in _DISCOUNTS:
        power_w += dimm_w * fraction * max(0, min(dimms, most) - counted)
        counted = most
    return max(power_w, LEAST_DIMMS * dimm_w)


PROBE = RamModelProbe

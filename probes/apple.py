"""Apple silicon through the package zeus-apple-silicon, which reads macOS' own energy counters without root."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.sensing import Channel, Domain, EnergyReading, Sensors
from wattvlm.units import J_PER_MILLIJOULE

GAIN_STD_FRACTION = 0.10


@dataclass(frozen=True, slots=True)
class _Counter:
    """One field of AppleEnergyMetrics, in millijoules; None on machines that do not have it."""

    field: str
    name: str
    domain: Domain
    words: str
    contained_in: str | None = None


_COUNTERS = (
    _Counter("cpu_total_mj", "cpu-apple/cores", "cpu", "CPU cores"),
    _Counter("gpu_mj", "gpu-apple/gpu", "gpu", "GPU"),
    _Counter("gpu_sram_mj", "gpu-apple/sram", "gpu", "GPU's SRAM", contained_in="gpu-apple/gpu"),
    _Counter("dram_mj", "ram-apple/dram", "ram", "memory"),
    _Counter("ane_mj", "soc-apple/neural-engine", "soc", "neural engine"),
)


class AppleProbe:
    """CPU, GPU, memory and neural engine of a Mac with Apple silicon.

    library: an object with zeus_apple_silicon's AppleEnergyMonitor (default: that module itself).
    system, machine: as sys.platform and platform.machine() say them (default: this machine's).
    """

    domain: Domain = "soc"

    def __init__(
        self,
        library: Any = None,
        clock: Clock | None = None,
        system: str = sys.platform,
        machine: str | None = None,
    ) -> None:
        self._library = library
        self._clock: Clock = clock or SystemClock()
        self._system = system
        self._machine = machine
        self._monitor: Any = None
        self._fields: dict[str, str] = {}

    def open(self) -> Sensors:
        """Subscribes to the counters; sees nothing but on a Mac with Apple silicon."""
        self.close()
        if self._system != "darwin" or (self._machine or platform.machine()) != "arm64":
            return Sensors(())
        library = self._library if self._library is not None else _zeus_apple_silicon()
        try:
            self._monitor = library.AppleEnergyMonitor()
            metrics = self._monitor.get_cumulative_energy()
        except RuntimeError as error:
            self.close()
            raise ProbeUnavailable(
                f"macOS gave no energy counters: {error}",
                "the joules of CPU, GPU and memory are absent",
                "pip install --upgrade zeus-apple-silicon; it may not know this macOS yet",
            ) from error
        counters = [each for each in _COUNTERS if getattr(metrics, each.field, None) is not None]
        self._fields = {counter.name: counter.field for counter in counters}
        return Sensors(tuple(_channel(counter) for counter in counters))

    def read(self, channel: Channel) -> Sequence[EnergyReading]:
        """The counter now, in joules."""
        field = self._fields.get(channel.name)
        if field is None:
            raise ProbeLost(f"{channel.name} is not open; its joules are absent. Cure: open the probe first")
        before_ns = self._clock.monotonic_ns()
        try:
            energy_mj = getattr(self._monitor.get_cumulative_energy(), field)
        except RuntimeError as error:
            raise ProbeRetry(f"macOS could not read {channel.name}: {error}") from error
        after_ns = self._clock.monotonic_ns()
        if energy_mj is None:
            raise ProbeRetry(f"macOS gave no value for {channel.name}")
        energy_j = energy_mj * J_PER_MILLIJOULE
        return (EnergyReading(channel.name, before_ns, after_ns, after_ns - before_ns, energy_j),)

    def close(self) -> None:
        """Gives the subscription back."""
        self._monitor = None
        self._fields = {}


def _zeus_apple_silicon() -> Any:
    try:
        return importlib.import_module("zeus_apple_silicon")
    except ImportError as error:
        raise ProbeUnavailable(
            f"zeus_apple_silicon cannot be imported ({error})",
            "the joules of CPU, GPU and memory are absent",
            "pip install zeus-apple-silicon",
        ) from error


def _channel(counter: _Counter) -> Channel:
    return Channel(
        name=counter.name,
        sensor=f"IOReport energy counter of the {counter.words}",
        device="Apple silicon",
        domain=counter.domain,
        method="counter",
        window_ns=0,
        resolution_j=J_PER_MILLIJOULE,
        gain_std_fraction=GAIN_STD_FRACTION,
        contained_in=counter.contained_in,
        source={
            "value": f"AppleEnergyMonitor.get_cumulative_energy().{counter.field} (zeus-apple-silicon 1.1)",
            "domain": "IOReport's group 'Energy Model'"
            + ("; assumed to lie inside the GPU's counter" if counter.contained_in else ""),
            "update_period_ns": "unknown until observed: finer than 1 ms was seen (zeus-apple-silicon)",
            "window_ns": "an integral has no window",
            "resolution_j": "the package gives whole mJ (apple_energy.hpp)",
            "max_power_w": "unknown: macOS shows no limit",
            "wraps_at_j": "unknown: the package gives 64 bits, the hardware's own width is not documented",
            "gain_std_fraction": "assumed: Apple calls these estimates, no study of many units found",
        },
    )


PROBE = AppleProbe

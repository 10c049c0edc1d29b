"""Vendors' libraries as small objects whose devices a test sets: amdsmi, zeus_apple_silicon, and Linux' perf counters.

    clock = FakeClock()
    probe = AmdSmiProbe(VirtualAmdSmi([VirtualAmdGpu(power_w=250.0)], clock), clock, amd_tree(tmp_path).root)

Each has only what the probes may ask for.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

from wattvlm.clock import Clock
from wattvlm.units import J_PER_MICROJOULE, S_PER_NS

NOT_SUPPORTED = 2


class AmdSmiException(Exception):
    """An error of the virtual amdsmi; `err_code` as in amdsmi.h."""

    def __init__(self, err_code: int) -> None:
        super().__init__(f"Error code:\n\t{err_code} | virtual")
        self.err_code = err_code


@dataclass(slots=True)
class VirtualAmdGpu:
    """One GPU that draws power_w all the time, on top of energy_j at clock zero.

    unit_factor: what its counter shows for each true joule (0 stands still, 1000 is a wrong unit). shown_power_w: what
    its power fields show; None is power_w, "N/A" is not supported. counter_code, socket_code: fail with this code.
    cap_w: its power limit now. metrics: what it tells in its table of metrics (empty: it has none). kfd_id: its number
    in the compute driver.
    """

    product: str = "AMD Instinct MI300X"
    uuid: str = "GPU-a5ff74a1-0000-1000-8000-000000000000"
    power_w: float = 300.0
    energy_j: float = 0.0
    unit_factor: float = 1.0
    shown_power_w: int | str | None = None
    counter_code: int = 0
    socket_code: int = 0
    hip_index: int | None = None
    hip_uuid: str = ""
    limit_w: float | None = 750.0
    cap_w: float | None = 750.0
    metrics: dict[str, object] = field(default_factory=dict[str, object])
    kfd_id: int | str = "N/A"
    compute_units: int | str = "N/A"


class VirtualAmdSmi:
    """The functions of amdsmi that the probe asks for; `starts` is 0 when each start was given back."""

    AmdSmiException = AmdSmiException
    counter_resolution_uj = 15.259

    def __init__(self, gpus: Sequence[VirtualAmdGpu], clock: Clock, init_code: int = 0) -> None:
        self.gpus = list(gpus)
        self.starts = 0
        self._clock = clock
        self._init_code = init_code

    def amdsmi_init(self) -> None:
        if self._init_code:
            raise AmdSmiException(self._init_code)
        self.starts += 1

    def amdsmi_shut_down(self) -> None:
        self.starts -= 1

    def amdsmi_get_processor_handles(self) -> list[VirtualAmdGpu]:
        return self.gpus

    def amdsmi_get_gpu_asic_info(self, gpu: VirtualAmdGpu) -> dict[str, int | str]:
        return {"market_name": gpu.product, "num_compute_units": gpu.compute_units}

    def amdsmi_get_gpu_kfd_info(self, gpu: VirtualAmdGpu) -> dict[str, int | str]:
        return {"kfd_id": gpu.kfd_id, "node_id": "N/A"}

    def amdsmi_get_gpu_metrics_info(self, gpu: VirtualAmdGpu) -> dict[str, object]:
        if not gpu.metrics:
            raise AmdSmiException(NOT_SUPPORTED)
        return dict(gpu.metrics)

    def amdsmi_get_gpu_device_uuid(self, gpu: VirtualAmdGpu) -> str:
        return gpu.uuid

    def amdsmi_get_gpu_enumeration_info(self, gpu: VirtualAmdGpu) -> dict[str, int | str]:
        if gpu.hip_index is None:
            raise AmdSmiException(NOT_SUPPORTED)
        return {"hip_id": gpu.hip_index, "hip_uuid": gpu.hip_uuid}

    def amdsmi_get_power_cap_info(self, gpu: VirtualAmdGpu) -> dict[str, int]:
        if gpu.limit_w is None:
            raise AmdSmiException(NOT_SUPPORTED)
        cap = {} if gpu.cap_w is None else {"power_cap": round(gpu.cap_w / J_PER_MICROJOULE)}
        return {"max_power_cap": round(gpu.limit_w / J_PER_MICROJOULE), **cap}

    def amdsmi_get_power_info(self, gpu: VirtualAmdGpu) -> dict[str, int | str]:
        if gpu.socket_code:
            raise AmdSmiException(gpu.socket_code)
        shown = round(gpu.power_w) if gpu.shown_power_w is None else gpu.shown_power_w
        return {"current_socket_power": shown, "average_socket_power": "N/A"}

    def amdsmi_get_energy_count(self, gpu: VirtualAmdGpu) -> dict[str, float]:
        if gpu.counter_code:
            raise AmdSmiException(gpu.counter_code)
        drawn_j = gpu.energy_j + gpu.power_w * self._clock.monotonic_ns() * S_PER_NS
        ticks = int(drawn_j * gpu.unit_factor / (self.counter_resolution_uj * J_PER_MICROJOULE))
        return {"energy_accumulator": ticks, "counter_resolution": self.counter_resolution_uj, "timestamp": 0}


@dataclass(slots=True)
class VirtualAppleMetrics:
    """Millijoules since the machine's start; None where the machine has no such part."""

    cpu_total_mj: int | None = 0
    gpu_mj: int | None = 0
    gpu_sram_mj: int | None = 0
    dram_mj: int | None = 0
    ane_mj: int | None = 0


class VirtualAppleSilicon:
    """zeus_apple_silicon with its AppleEnergyMonitor; `why_not` makes macOS refuse."""

    def __init__(self, metrics: VirtualAppleMetrics, why_not: str = "") -> None:
        self.metrics = metrics
        self.why_not = why_not

    def AppleEnergyMonitor(self) -> SimpleNamespace:
        """A monitor whose one function gives the metrics; RuntimeError where macOS refuses."""
        return SimpleNamespace(get_cumulative_energy=self._counted)

    def _counted(self) -> VirtualAppleMetrics:
        if self.why_not:
            raise RuntimeError(self.why_not)
        return self.metrics


@dataclass(slots=True)
class VirtualCounters:
    """Linux' perf counters: `counts` by (event, CPU), since they were started.

    refused: events that cannot be started, with the errno. gone: descriptors that give no count any more.
    """

    counts: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    refused: dict[int, int] = field(default_factory=dict[int, int])
    gone: set[int] = field(default_factory=set[int])
    running: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    opened: int = 0

    def open(self, pmu_type: int, config: int, cpu: int) -> int:
        """Starts a counter at zero."""
        if config in self.refused:
            code = self.refused[config]
            raise OSError(code, os.strerror(code))
        self.opened += 1
        self.running[self.opened] = (config, cpu)
        return self.opened

    def read(self, descriptor: int) -> int:
        """The count that the test has set."""
        if descriptor in self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return self.counts.get(self.running[descriptor], 0)

    def close(self, descriptor: int) -> None:
        """Stops it."""
        del self.running[descriptor]

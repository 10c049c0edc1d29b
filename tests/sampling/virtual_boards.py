"""Real meters on virtual GPUs: the sampling process loads the virtual libnvidia-ml.so.1 through the real pynvml."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import wattvlm
from wattvlm.report import Report
from wattvlm.sensing import ProbeSource
from wattvlm.testing.nvml_library import VirtualGpu, VirtualNvml, append_load

NVML = [ProbeSource("wattvlm.probes.nvml:PROBE")]
S = 1_000_000_000
UUID = "GPU-aaaa0000-0000-0000-0000-000000000000"
BOARD = "gpu-aaaa0000-0000-0000-0000-000000000000"

IDLE_W, PREFILL_W, DECODE_W = 60.0, 340.0, 220.0


class Bench:
    """Virtual boards in a folder, and blocks of phases that draw known power on the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.load = folder / "gpu.load"

    def build(self, *gpus: VirtualGpu) -> None:
        """The library with these boards, found by the sampling processes that start from now on."""
        VirtualNvml(self.folder / "lib", gpus).build()

    def run(self, calls: int = 3, prefill_s: float = 0.3, decode_s: float = 0.7) -> tuple[Report, float]:
        """(the report of some calls, the true joules of its block)."""
        append_load(self.load, [(time.monotonic_ns() - S, IDLE_W)])
        steps: list[tuple[int, float]] = []
        with wattvlm.meter(probes=NVML) as m:
            begun_ns = time.monotonic_ns()
            for _ in range(calls):
                for name, watts, seconds in (("prefill", PREFILL_W, prefill_s), ("decode", DECODE_W, decode_s)):
                    with m.phase(name):
                        steps.append((time.monotonic_ns(), watts))
                        append_load(self.load, steps[-1:])
                        time.sleep(seconds)
            steps.append((time.monotonic_ns(), IDLE_W))
            append_load(self.load, steps[-1:])
        end_ns = steps[-1][0]
        energy_j = (steps[0][0] - begun_ns) * 1e-9 * IDLE_W
        for (from_ns, watts), (to_ns, _) in pairwise(steps):
            energy_j += watts * (min(to_ns, end_ns) - from_ns) * 1e-9
        return m.report, energy_j

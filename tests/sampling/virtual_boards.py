"""Real meters on virtual GPUs: the sampling process loads the virtual libnvidia-ml.so.1 through the real pynvml."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import wattvlm
from wattvlm.recording import Recording
from wattvlm.report import Report
from wattvlm.sensing import ProbeSource
from wattvlm.testing.nvml_library import VirtualGpu, VirtualNvml, append_load

NVML = [ProbeSource("wattvlm.probes.nvml:PROBE")]
S = 1_000_000_000
UUID = "GPU-aaaa0000-0000-0000-0000-000000000000"
BOARD = "gpu-aaaa0000-0000-0000-0000-000000000000"

IDLE_W, PREFILL_W, DECODE_W = 60.0, 340.0, 220.0


@dataclass(frozen=True)
class Run:
    """What a meter saw of some calls, and the true joules of the block and of a phase in its mean call."""

    report: Report
    recording: Recording
    block_j: float
    phases_j: dict[str, float]

    @property
    def is_inside_bounds(self) -> bool:
        """The block's truth lies inside its bounds; a load is written a moment after the mark."""
        low_j, high_j = self.report.block.energies["gpu"].bounds_j
        return low_j <= 1.005 * self.block_j and self.block_j <= 1.005 * high_j

    def of(self, board: str) -> Report:
        """The report of one board alone."""
        channels = tuple(channel for channel in self.recording.channels if channel.board == board)
        names = {channel.name for channel in channels}
        return wattvlm.analyze(
            replace(
                self.recording,
                channels=channels,
                readings={name: own for name, own in self.recording.readings.items() if name in names},
                gaps=tuple(gap for gap in self.recording.gaps if gap.channel in names),
                notes=tuple(note for note in self.recording.notes if note.startswith(board)),
            )
        )


class Bench:
    """Virtual boards in a folder, and blocks of phases that draw known power on the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.load = folder / "gpu.load"

    def build(self, *gpus: VirtualGpu) -> None:
        """The library with these boards, found by the sampling processes that start from now on."""
        VirtualNvml(self.folder / "lib", gpus).build()

    def run(self, calls: int = 3, prefill_s: float = 0.3, decode_s: float = 0.7) -> Run:
        """Some calls of two phases, metered."""
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
        energy_j = (steps[0][0] - begun_ns) * 1e-9 * IDLE_W
        of_power = dict.fromkeys((PREFILL_W, DECODE_W), 0.0)
        for (from_ns, watts), (to_ns, _) in pairwise(steps):
            of_power[watts] += watts * (to_ns - from_ns) * 1e-9
        phases_j = {"prefill": of_power[PREFILL_W] / calls, "decode": of_power[DECODE_W] / calls}
        return Run(m.report, m.recording, energy_j + sum(of_power.values()), phases_j)

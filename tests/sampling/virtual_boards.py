"""Real meters on virtual GPUs: the sampling process loads the virtual libnvidia-ml.so.1 through the real pynvml."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import wattvlm
from wattvlm.metering import Meter
from wattvlm.recording import Recording
from wattvlm.report import Report
from wattvlm.sensing import ProbeSource
from wattvlm.testing.nvml_library import VirtualGpu, VirtualNvml, append_load
from wattvlm.testing.power import LoadFile

NVML = [ProbeSource("wattvlm.probes.nvml:PROBE")]
S = 1_000_000_000
UUID = "GPU-aaaa0000-0000-0000-0000-000000000000"
BOARD = "gpu-aaaa0000-0000-0000-0000-000000000000"

IDLE_W, PREFILL_W, DECODE_W = 60.0, 340.0, 220.0

AHEAD_NS = S // 10
"""A tick that has been shown is not taken back: the load is written this long before it begins."""


@dataclass(frozen=True)
class Run:
    """What a meter saw of some calls, and the true joules of the block and of a phase in its mean call."""

    report: Report
    recording: Recording
    block_j: float
    phases_j: dict[str, float]

    @property
    def is_inside_bounds(self) -> bool:
        """The block's truth lies inside its bounds, to a counter's steps."""
        low_j, high_j = self.report.block.energies["gpu"].bounds_j
        return low_j - 0.01 <= self.block_j <= high_j + 0.01

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
        """Some calls of two phases, metered; their load is written before its time comes."""
        with wattvlm.meter(probes=NVML) as m:
            next_ns = time.monotonic_ns() + AHEAD_NS
            plan = [("prefill", PREFILL_W, prefill_s), ("decode", DECODE_W, decode_s)] * calls
            steps: list[tuple[int, float]] = []
            for _, watts, seconds in plan:
                steps.append((next_ns, watts))
                next_ns += int(seconds * S)
            append_load(self.load, [*steps, (next_ns, IDLE_W)])
            until_ns = [*(from_ns for from_ns, _ in steps[1:]), next_ns]
            _sleep_until(steps[0][0])
            for (name, _, _), end_ns in zip(plan, until_ns, strict=True):
                with m.phase(name):
                    _sleep_until(end_ns)
        return self._seen(m, calls)

    def _seen(self, m: Meter, calls: int) -> Run:
        """The truth is the load's integral between the marks, wherever a busy machine put them."""
        report, recording = m.report, m.recording
        curve = LoadFile(self.load).curve(IDLE_W)
        phases_j: dict[str, float] = {}
        for phase in (phase for call in recording.trace.calls for phase in call.phases):
            joules = sum(curve.energy_j(span.start_ns, span.end_ns) for span in phase.spans)
            phases_j[phase.name] = phases_j.get(phase.name, 0.0) + joules / calls
        (block,) = recording.trace.blocks
        return Run(report, recording, curve.energy_j(block.start_ns, block.end_ns), phases_j)


def _sleep_until(time_ns: int) -> None:
    time.sleep(max(0.0, (time_ns - time.monotonic_ns()) * 1e-9))

"""What a bench measures in the tests: a virtual GPU that draws power for as long as a cell's call takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wattvlm.bench import Cell
from wattvlm.runtimes import next_call_id
from wattvlm.sampling.sampler import shared_sampler
from wattvlm.sensing import ProbeSource
from wattvlm.testing import LoadFile
from wattvlm.trace import Mark

IDLE_W, PREFILL_W, DECODE_W = 70.0, 500.0, 300.0


def probes_of(path: Path) -> list[ProbeSource]:
    """A virtual counter that ticks each 10 ms and counts what the load file says."""
    counter = {"name": "gpu-0/board", "period_ns": 10_000_000, "max_power_w": 700.0, "device": "VIRTUAL GPU"}
    return [ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(path), "sensors": [counter]})]


class VirtualSubject:
    """Calls of 20 ms of prefill and 2 ms a token of decode. failing: names of models whose call raises."""

    def __init__(self, path: Path, failing: tuple[str, ...] = ()) -> None:
        self.load = LoadFile(path)
        if not path.exists() or not path.stat().st_size:
            self.load.append(0, IDLE_W)
        self.probes = probes_of(path)
        self.failing = failing
        self.calls: list[str] = []

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        def call() -> None:
            if cell.model in self.failing:
                raise MemoryError("no room for it")
            self.calls.append(cell.name)
            self._phases(cell)

        return call

    def _phases(self, cell: Cell) -> None:
        sampler, call_id = shared_sampler(self.probes), next_call_id()
        sampler.mark(Mark(time.monotonic_ns(), "call_start", call_id, "virtual"))
        for name, power_w, seconds in (("prefill", PREFILL_W, 0.02), ("decode", DECODE_W, 0.002 * cell.output_tokens)):
            start_ns = time.monotonic_ns()
            self.load.append(start_ns, power_w)
            sampler.mark(Mark(start_ns, "phase_start", call_id, name))
            time.sleep(seconds)
            end_ns = time.monotonic_ns()
            self.load.append(end_ns, IDLE_W)
            sampler.mark(Mark(end_ns, "phase_end", call_id, name))
        sampler.mark(Mark(time.monotonic_ns(), "call_end", call_id, "virtual", text="returned"))

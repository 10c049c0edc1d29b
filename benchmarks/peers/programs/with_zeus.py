"""zeus: a window around each phase."""

from __future__ import annotations

import sys
from typing import Any

from zeus.monitor import ZeusMonitor

from benchmarks.peers.programs.work import play


class Zeus:
    told: dict[str, Any]

    def __init__(self, approx: bool) -> None:
        self._monitor = ZeusMonitor(gpu_indices=[0], approx_instant_energy=approx)
        self._said: dict[str, list[float]] = {}

    def open(self) -> None:
        self._said = {}
        self.told["said"] = self._said

    def begin(self, name: str) -> None:
        self._monitor.begin_window(name, sync_execution=False)

    def end(self, name: str) -> None:
        measured = self._monitor.end_window(name, sync_execution=False)
        self._said.setdefault(name, []).append(measured.gpu_energy[0])

    def close(self) -> dict[str, list[float]]:
        return self._said


if __name__ == "__main__":
    play(Zeus("approx" in sys.argv[3:]))

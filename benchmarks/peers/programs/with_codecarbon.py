"""codecarbon: a task for each phase. Its country is given, so that it asks no web service where it is."""

from __future__ import annotations

from typing import Any

from codecarbon import OfflineEmissionsTracker

from benchmarks.peers.programs.work import play

J_PER_KWH = 3.6e6


class Codecarbon:
    told: dict[str, Any]

    def __init__(self) -> None:
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="USA", save_to_file=False, log_level="warning", allow_multiple_runs=True
        )
        self._said: dict[str, list[float]] = {}
        self._tasks = 0

    def open(self) -> None:
        self._said = {}
        self.told["said"] = self._said

    def begin(self, name: str) -> None:
        self._tasks += 1
        self._tracker.start_task(f"{name} {self._tasks}")

    def end(self, name: str) -> None:
        measured = self._tracker.stop_task(f"{name} {self._tasks}")
        self._said.setdefault(name, []).append(measured.gpu_energy * J_PER_KWH)

    def close(self) -> dict[str, list[float]]:
        return self._said


if __name__ == "__main__":
    play(Codecarbon())

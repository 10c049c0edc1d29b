"""carbontracker: an epoch for each phase. Its joules of an epoch are its kWh without the factor for the data centre."""

from __future__ import annotations

import sys
from typing import Any

from carbontracker import constants
from carbontracker.tracker import CarbonTracker

from benchmarks.peers.programs.work import play

J_PER_KWH = 3.6e6
ANY_NUMBER_OF_EPOCHS = 1_000_000


class Carbontracker:
    told: dict[str, Any]

    def __init__(self, interval_s: float) -> None:
        self._tracker = CarbonTracker(
            epochs=ANY_NUMBER_OF_EPOCHS, epochs_before_pred=0, update_interval=interval_s, components="gpu", verbose=0
        )
        self._names: list[str] = []
        self._first = 0

    def open(self) -> None:
        self._first = len(self._names)

    def begin(self, name: str) -> None:
        self._names.append(name)
        self._tracker.epoch_start()

    def end(self, name: str) -> None:
        self._tracker.epoch_end()

    def close(self) -> dict[str, list[float]]:
        said: dict[str, list[float]] = {}
        energies_kwh = self._tracker.tracker.total_energy_per_epoch() / constants.PUE_2023
        for name, energy_kwh in list(zip(self._names, energies_kwh))[self._first :]:
            said.setdefault(name, []).append(float(energy_kwh) * J_PER_KWH)
        return said


if __name__ == "__main__":
    play(Carbontracker(float(sys.argv[3])))

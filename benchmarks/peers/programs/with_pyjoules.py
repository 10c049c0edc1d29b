"""pyJoules: a record at each boundary, a trace for each call of three phases."""

from __future__ import annotations

from typing import Any

from pyJoules.device import DeviceFactory
from pyJoules.device.nvidia_device import NvidiaGPUDomain
from pyJoules.energy_meter import EnergyMeter

from benchmarks.peers.programs.work import play

J_PER_MILLIJOULE = 1e-3
LAST_PHASE = "decode"


class Pyjoules:
    told: dict[str, Any]

    def __init__(self) -> None:
        self._domain = NvidiaGPUDomain(0)
        self._meter = EnergyMeter(DeviceFactory.create_devices([self._domain]))
        self._is_open = False
        self._said: dict[str, list[float]] = {}

    def open(self) -> None:
        self._said = {}
        self.told["said"] = self._said

    def begin(self, name: str) -> None:
        if self._is_open:
            self._meter.record(tag=name)
        else:
            self._meter.start(tag=name)
        self._is_open = True

    def end(self, name: str) -> None:
        if name != LAST_PHASE:
            self._meter.record(tag="between")
            return
        self._meter.stop()
        self._is_open = False
        for sample in self._meter.get_trace():
            if sample.tag != "between":
                joules = sample.energy[str(self._domain)] * J_PER_MILLIJOULE
                self._said.setdefault(sample.tag, []).append(joules)

    def close(self) -> dict[str, list[float]]:
        return self._said


if __name__ == "__main__":
    play(Pyjoules())

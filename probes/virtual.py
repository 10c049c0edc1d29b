"""A sensor that is a formula: the power in a load file, seen in real time through stated virtual sensors.

It has no PROBE, since it needs arguments: hand it over as

    ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": "gpu.load", "sensors": [{"name": "gpu-0/board"}]})

A load file is a row of 16-byte records, little-endian: int64 monotonic nanoseconds, float64 watts from then on. It may
grow while it is read; the last record holds for all time after it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes._virtual_sensors import Load, PowerSteps, VirtualSensor
from wattvlm.sensing import Channel, Domain, EnergyReading, PowerReading, Sensors

LOAD_RECORD = struct.Struct("<qd")

__all__ = ["LOAD_RECORD", "LoadReader", "SensorProbe", "VirtualProbe", "VirtualSensor"]


class LoadReader:
    """A load file as a Load; looks for new records at each question. before_w: the power before the first."""

    def __init__(self, path: str | os.PathLike[str], before_w: float = 0.0) -> None:
        self._path = Path(path)
        self._steps = PowerSteps(before_w=before_w)
        self._read_bytes = 0

    def power_w(self, time_ns: int) -> float:
        """Watts at a time, by the records so far."""
        self._read_new()
        return self._steps.power_w(time_ns)

    def energy_j(self, start_ns: int, end_ns: int) -> float:
        """Joules between two times, by the records so far."""
        self._read_new()
        return self._steps.energy_j(start_ns, end_ns)

    def _read_new(self) -> None:
        try:
            if self._path.stat().st_size < self._read_bytes + LOAD_RECORD.size:
                return
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                content = file.read()
        except FileNotFoundError:
            return
        whole = len(content) - len(content) % LOAD_RECORD.size
        for time_ns, power_w in LOAD_RECORD.iter_unpack(content[:whole]):
            self._steps.append(time_ns, power_w)
        self._read_bytes += whole


class SensorProbe:
    """A Probe over virtual sensors, each with its load, on any clock; its domain is that of the first."""

    def __init__(self, sensors: Sequence[tuple[VirtualSensor, Load]], clock: Clock) -> None:
        self._sensors = {sensor.name: (sensor, load) for sensor, load in sensors}
        self.domain: Domain = sensors[0][0].domain if sensors else "node"
        self._clock = clock
        self._attempts = dict.fromkeys(self._sensors, 0)

    def open(self) -> Sensors:
        """The channels that may be read; ProbeUnavailable where there is none."""
        usable = [sensor.channel for sensor, _ in self._sensors.values() if sensor.absence is None]
        absent = [sensor.absence for sensor, _ in self._sensors.values() if sensor.absence is not None]
        if not usable:
            what = absent[0].what if absent else "no virtual sensor was given"
            remedy = absent[0].remedy if absent else "name at least one in `sensors`"
            raise ProbeUnavailable(what, "there is nothing to measure with", remedy)
        return Sensors(tuple(usable), tuple(absent), {"virtual": "every sensor of this probe is simulated"})

    def read(self, channel: Channel) -> Sequence[EnergyReading | PowerReading]:
        """What the sensor shows now; takes its latency. ProbeRetry and ProbeLost as the sensor is told to fail."""
        sensor, load = self._sensors[channel.name]
        self._attempts[channel.name] += 1
        start_ns = self._clock.monotonic_ns()
        if sensor.lost_at_ns is not None and start_ns >= sensor.lost_at_ns:
            raise ProbeLost(f"{channel.name} is lost, as it was told to be; its joules end here. Cure: none")
        self._clock.sleep_ns(sensor.latency_ns)
        if sensor.fails(self._attempts[channel.name]):
            raise ProbeRetry(f"{channel.name} failed once, as it was told to")
        shown = sensor.shown(load, start_ns)
        end_ns = self._clock.monotonic_ns()
        took_ns = end_ns - start_ns
        if sensor.method == "counter":
            return [EnergyReading(channel.name, start_ns, end_ns, took_ns, shown)]
        stamp_ns = sensor.tick_ns(sensor.tick_at(start_ns)) if sensor.stamped else end_ns
        return [PowerReading(channel.name, stamp_ns, took_ns, shown)]

    def close(self) -> None:
        """Nothing to give back."""


class VirtualProbe(SensorProbe):
    """Virtual sensors over load files, in real time.

    load_path: the load file. sensors: fields of VirtualSensor as plain dicts; two more are allowed in each: "load",
    a load file of its own, and "before_w", the power before that file's first record. ValueError for unknown fields.
    """

    def __init__(
        self,
        load_path: str | os.PathLike[str],
        sensors: Sequence[Mapping[str, Any]] = (),
        clock: Clock | None = None,
    ) -> None:
        super().__init__([_sensor(load_path, plain) for plain in sensors], clock or SystemClock())


def _sensor(load_path: str | os.PathLike[str], plain: Mapping[str, Any]) -> tuple[VirtualSensor, Load]:
    stated = dict(plain)
    load = LoadReader(stated.pop("load", load_path), float(stated.pop("before_w", 0.0)))
    if isinstance(stated.get("stuck_ns"), list):
        stated["stuck_ns"] = tuple(stated["stuck_ns"])
    try:
        return VirtualSensor(**stated), load
    except TypeError as error:
        raise ValueError(f"a virtual sensor cannot be made of {sorted(stated)}: {error}") from error

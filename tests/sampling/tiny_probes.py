"""Probes of a few lines that the sampling process can import: counters and powers that are formulas of time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.sensing import Absence, Channel, Domain, EnergyReading, PowerReading, Reading, Sensors


def _spin(duration_ns: int) -> None:
    until_ns = time.monotonic_ns() + duration_ns
    while time.monotonic_ns() < until_ns:
        pass


class Counter:
    """A counter of constant power that ticks every `period_ms`, and what may go wrong with it."""

    domain: Domain = "gpu"

    def __init__(
        self,
        name: str = "gpu-0/board",
        power_w: float = 100.0,
        period_ms: float = 20.0,
        call_us: float = 0.0,
        open_s: float = 0.0,
        lost_after_s: float = 1e9,
        retries_from_s: float = 1e9,
        retries_until_s: float = 1e9,
        stands_after_s: float = 1e9,
        stated: bool = True,
    ) -> None:
        self._channel = Channel(
            name, "tiny counter", "virtual", "gpu", "counter",
            update_period_ns=int(period_ms * 1e6) if stated else None, resolution_j=0.001, max_power_w=700.0,
        )  # fmt: skip
        self._power_w = power_w
        self._period_ns = int(period_ms * 1e6)
        self._call_ns = int(call_us * 1e3)
        self._open_s = open_s
        self._lost_ns = int(lost_after_s * 1e9)
        self._retry_ns = int(retries_from_s * 1e9), int(retries_until_s * 1e9)
        self._stands_ns = int(stands_after_s * 1e9)
        self._opened_ns = 0

    def open(self) -> Sensors:
        time.sleep(self._open_s)
        self._opened_ns = time.monotonic_ns()
        absent = Absence("cpu", "no counter of the CPU", "its joules are absent", "none here")
        return Sensors((self._channel,), (absent,), {"virtual": "yes", "driver": "1.2"})

    def read(self, channel: Channel) -> Sequence[Reading]:
        start_ns = time.monotonic_ns()
        age_ns = start_ns - self._opened_ns
        if age_ns > self._lost_ns:
            raise ProbeLost("the GPU fell off the bus")
        if self._retry_ns[0] < age_ns < self._retry_ns[1]:
            raise ProbeRetry("the driver was busy")
        _spin(self._call_ns)
        counted_ns = min(time.monotonic_ns(), self._opened_ns + self._stands_ns)
        energy_j = counted_ns // self._period_ns * self._period_ns * 1e-9 * self._power_w
        end_ns = time.monotonic_ns()
        return [EnergyReading(channel.name, start_ns, end_ns, end_ns - start_ns, energy_j)]

    def close(self) -> None:
        return


class Power:
    """A constant power, read when asked."""

    domain: Domain = "cpu"

    def __init__(self, name: str = "cpu-0/package", power_w: float = 50.0, method: Any = "power") -> None:
        self._power_w = power_w
        self._channel = Channel(name, "tiny power", "virtual", "cpu", method, update_period_ns=50_000_000)

    def open(self) -> Sensors:
        return Sensors((self._channel,))

    def read(self, channel: Channel) -> Sequence[Reading]:
        start_ns = time.monotonic_ns()
        return [PowerReading(channel.name, time.monotonic_ns(), time.monotonic_ns() - start_ns, self._power_w)]

    def close(self) -> None:
        return


class Unavailable:
    """There is nothing here to read."""

    domain: Domain = "gpu"

    def open(self) -> Sensors:
        raise ProbeUnavailable("no NVIDIA driver", "GPU joules are absent", "install the driver")

    def read(self, channel: Channel) -> Sequence[Reading]:
        return []

    def close(self) -> None:
        return


class Broken:
    """Fails in `open` in the way it is told to."""

    domain: Domain = "soc"

    def __init__(self, how: str) -> None:
        self._how = how

    def open(self) -> Sensors:
        if self._how == "exit":
            raise SystemExit(3)
        if self._how == "nonsense":
            return None  # type: ignore[return-value]  # what a careless third party may give
        if self._how == "crash":
            os.abort()
        raise KeyError(self._how)

    def read(self, channel: Channel) -> Sequence[Reading]:
        return []

    def close(self) -> None:
        raise RuntimeError("close failed too")

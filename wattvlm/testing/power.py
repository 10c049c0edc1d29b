"""Power curves with known joules, and load files through which real-time virtual sensors see them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from wattvlm.probes._virtual_sensors import PowerSteps
from wattvlm.probes.virtual import LOAD_RECORD


class PowerCurve(PowerSteps):
    """Piecewise-constant power: `power_w(time_ns)` in watts and the exact integral `energy_j(start_ns, end_ns)`.

    steps: (monotonic ns, watts from then on) in order of time. before_w: watts before the first step.
    """

    @classmethod
    def of_segments(cls, start_ns: int, segments: Iterable[tuple[float, int]], after_w: float = 0.0) -> PowerCurve:
        """The curve of (watts, duration in ns) one after the other, with `after_w` before and after them."""
        steps: list[tuple[int, float]] = []
        time_ns = start_ns
        for power_w, duration_ns in segments:
            steps.append((time_ns, power_w))
            time_ns += duration_ns
        return cls([*steps, (time_ns, after_w)], before_w=after_w)


class LoadFile:
    """A file of power over time: 16-byte records, little-endian, int64 monotonic ns and float64 watts from then on.

    The format that VirtualProbe and the virtual libnvidia-ml.so.1 read while it grows.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, time_ns: int, power_w: float) -> None:
        """Add one record with a single write, so that a reader sees it whole or not at all."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, LOAD_RECORD.pack(time_ns, power_w))
        finally:
            os.close(descriptor)

    def curve(self, before_w: float = 0.0) -> PowerCurve:
        """The power curve of all whole records so far."""
        content = self.path.read_bytes()
        whole = len(content) - len(content) % LOAD_RECORD.size
        return PowerCurve(LOAD_RECORD.iter_unpack(content[:whole]), before_w)

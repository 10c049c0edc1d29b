"""Power curves with known joules, and load files through which real-time virtual sensors see them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Literal

from wattvlm.probes._virtual_sensors import PowerSteps
from wattvlm.probes.virtual import LOAD_RECORD

Ramp = Literal["first order", "linear"]
"""How power follows its work: by an exponential, or in a line."""

_RAMP_STEPS = 40
_FIRST_ORDER_LENGTHS = 10.0
"""What an exponential has not reached after so many time constants, 0.005 % of its step, is reached then."""


def ramp_steps(
    ramp: Ramp, from_w: float, to_w: float, ramp_ns: int, duration_ns: int
) -> tuple[list[tuple[int, float]], float]:
    """(the steps of a ramp as ns after its start and watts, the watts that it reached after a duration).

    ramp_ns: the time constant of the first order, the length of a line; 0 is one step. Each step has the mean power of
    its piece of the ramp, so that joules up to its ends are the ramp's.
    """
    length_ns = round(_FIRST_ORDER_LENGTHS * ramp_ns) if ramp == "first order" else ramp_ns
    if length_ns <= 0 or from_w == to_w:
        return [(0, to_w)], to_w
    until_ns = min(length_ns, duration_ns)
    ends_ns = sorted({min(round(length_ns * number / _RAMP_STEPS), until_ns) for number in range(_RAMP_STEPS + 1)})
    steps: list[tuple[int, float]] = []
    for start_ns, end_ns in pairwise(ends_ns):
        if ramp == "linear":
            mean = 1.0 - (start_ns + end_ns) / 2 / ramp_ns
        else:
            mean = (exp(-start_ns / ramp_ns) - exp(-end_ns / ramp_ns)) * ramp_ns / (end_ns - start_ns)
        steps.append((start_ns, to_w + (from_w - to_w) * mean))
    if duration_ns >= length_ns:
        return [*steps, (length_ns, to_w)], to_w
    left = 1.0 - until_ns / ramp_ns if ramp == "linear" else exp(-until_ns / ramp_ns)
    return steps, to_w + (from_w - to_w) * left


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

"""How a sensor weighs the past: the share of a reading that comes from power up to some age, for each kind of sensor.

A reading at tick t is y = integral of k(u) P(t - lag - u) du over ages u >= 0, with k >= 0 and an integral of 1:

* boxcar: k = 1 / W for ages up to W (NVML's mean over 1 s; 25 ms of each 100 ms on A100 and H100 [arXiv 2312.02741]);
* first-order: k = exp(-u / tau) / tau (Kepler and Maxwell, "RC charging" in the same source).

Both are given by their sums over age, so that the share of any stretch of time is a difference of two numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wattvlm.attribution.ticks import Floats
from wattvlm.units import S_PER_NS, format_ns


class Response(Protocol):
    """Weights of the past in a reading; ages are seconds before the reading's tick, less the lag."""

    @property
    def reach_s(self) -> float:
        """The age beyond which power has no weight that counts."""
        ...

    @property
    def mean_age_s(self) -> float:
        """The mean age of the power in a reading."""
        ...

    @property
    def jumps(self) -> tuple[tuple[float, float], ...]:
        """Ages at which k jumps, and by how much, 1/s."""
        ...

    @property
    def words(self) -> str:
        """What it is, for a report."""
        ...

    def scaled(self, factor: float) -> Response:
        """The same kind of response with its time scaled."""
        ...

    def reached(self, age_s: Floats) -> Floats:
        """The share of a reading that comes from ages up to `age_s`: 0 for ages <= 0, 1 beyond the reach."""
        ...

    def reached_s(self, age_s: Floats) -> Floats:
        """The integral of `reached` over ages from 0, in seconds: what a ramp of power needs."""
        ...


@dataclass(frozen=True, slots=True)
class Boxcar:
    """The mean over a window before the tick."""

    window_s: float

    @property
    def reach_s(self) -> float:
        return self.window_s

    @property
    def mean_age_s(self) -> float:
        return self.window_s / 2

    @property
    def jumps(self) -> tuple[tuple[float, float], ...]:
        return (0.0, 1.0 / self.window_s), (self.window_s, 1.0 / self.window_s)

    @property
    def words(self) -> str:
        return f"the mean of {format_ns(self.window_s / S_PER_NS)}"

    def scaled(self, factor: float) -> Boxcar:
        return Boxcar(factor * self.window_s)

    def reached(self, age_s: Floats) -> Floats:
        return np.asarray(np.minimum(np.maximum(age_s / self.window_s, 0.0), 1.0), np.float64)

    def reached_s(self, age_s: Floats) -> Floats:
        inside_s = np.minimum(np.maximum(age_s, 0.0), self.window_s)
        return np.asarray(inside_s**2 / (2 * self.window_s) + np.maximum(age_s - self.window_s, 0.0), np.float64)


FORGETS_AFTER = 6.0
"""A first-order sensor keeps exp(-6) = 0.25 % of what is this many time constants old."""


@dataclass(frozen=True, slots=True)
class FirstOrder:
    """An exponential memory with a time constant."""

    rise_s: float

    @property
    def window_s(self) -> float:
        """The boxcar of the same mean age and the same noise (integral of k^2): twice the time constant."""
        return 2.0 * self.rise_s

    @property
    def reach_s(self) -> float:
        return FORGETS_AFTER * self.rise_s

    @property
    def mean_age_s(self) -> float:
        return self.rise_s

    @property
    def jumps(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, 1.0 / self.rise_s),)

    @property
    def words(self) -> str:
        return f"first order, {format_ns(self.rise_s / S_PER_NS)}"

    def scaled(self, factor: float) -> FirstOrder:
        return FirstOrder(factor * self.rise_s)

    def reached(self, age_s: Floats) -> Floats:
        return np.asarray(-np.expm1(-np.maximum(age_s, 0.0) / self.rise_s), np.float64)

    def reached_s(self, age_s: Floats) -> Floats:
        return np.asarray(np.maximum(age_s, 0.0) - self.rise_s * self.reached(age_s), np.float64)

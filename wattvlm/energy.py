"""Energy: joules with an interval, a provenance, and arithmetic that keeps what is shared between phases.

The phases of one call are anti-correlated (a joule that is not in prefill is in decode), so adding variances
overstates the error of a sum up to 90-fold. An Energy therefore carries joint draws: entry i of every Energy of one
solve belongs to the same possible power curve, and sums and differences are formed draw by draw. Independent solves
use independent random streams, so entry by entry is right for them too.

An Energy without draws is bounds: every power curve that fits the readings lies inside `interval_j`. Sums of bounds
are bounds (interval arithmetic), which is wider than necessary but never too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, fsum, isfinite, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wattvlm.units import energy_scale, format_significant

Provenance = Literal["measured", "modelled"]

DRAWS = 400
"""How many joint draws a solve makes; all Energy objects that have draws have this many."""

_TAILS = (2.5, 97.5)
_SIGMAS_95 = 1.96


@dataclass(frozen=True, slots=True, eq=False)
class Energy:
    """Joules: a middle, a 95 % interval of the sensor, and the board's gain error kept apart.

    mean_j: the middle, or None where only bounds are known.
    interval_j: (low, high) in joules. 95 % with draws; without draws, bounds that hold for any power curve.
    method: "measured" by a sensor, or "modelled" (an estimate from load and nominal power).
    gains_j: per board, the joules that the 95 % half-width of its unknown gain amounts to (signed, so that
        differences cancel). Errors of one board are common to all its energies; boards are independent.
    draws_j: joint draws, shape (DRAWS,), or None for bounds.
    """

    mean_j: float | None
    interval_j: tuple[float, float]
    method: Provenance
    gains_j: Mapping[str, float] = field(default_factory=dict[str, float])
    draws_j: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        low_j, high_j = self.interval_j
        if not (isfinite(low_j) and isfinite(high_j)) or low_j > high_j:
            raise ValueError(f"interval_j must be two finite numbers in order, not {self.interval_j}")
        if self.mean_j is not None and not isfinite(self.mean_j):
            raise ValueError(f"mean_j must be finite or None, not {self.mean_j}")
        if self.draws_j is not None and self.draws_j.shape != (DRAWS,):
            raise ValueError(f"draws_j must have shape ({DRAWS},), not {self.draws_j.shape}")

    @classmethod
    def from_draws(
        cls, draws_j: NDArray[np.float64], method: Provenance, gains_j: Mapping[str, float] | None = None
    ) -> Energy:
        """The Energy whose middle and 95 % interval are those of joint draws in joules, shape (DRAWS,)."""
        low_j, high_j = np.percentile(draws_j, _TAILS)
        return cls(float(np.mean(draws_j)), (float(low_j), float(high_j)), method, gains_j or {}, draws_j)

    @property
    def is_bounds(self) -> bool:
        """True where the interval bounds every possible power curve instead of being a 95 % interval."""
        return self.draws_j is None

    @property
    def is_modelled(self) -> bool:
        """True where any part of the joules is an estimate and not a sensor's."""
        return self.method == "modelled"

    @property
    def half_width_j(self) -> float:
        """The larger distance from the middle to an end of the interval, in joules (half the interval without one)."""
        low_j, high_j = self.interval_j
        return (high_j - low_j) / 2 if self.mean_j is None else max(high_j - self.mean_j, self.mean_j - low_j)

    @property
    def middle_j(self) -> float:
        """The middle in joules: mean_j, or the centre of the bounds."""
        return (self.interval_j[0] + self.interval_j[1]) / 2 if self.mean_j is None else self.mean_j

    @property
    def gain_j(self) -> float:
        """95 % half-width in joules of the gain error: boards independent, one board's parts in common."""
        return sqrt(fsum(gain_j * gain_j for gain_j in self.gains_j.values()))

    @property
    def gain_fraction(self) -> float:
        """The gain error as a fraction of the middle (0 for zero joules)."""
        return self.gain_j / abs(self.middle_j) if self.middle_j else 0.0

    @property
    def absolute_interval_j(self) -> tuple[float, float]:
        """The interval in joules with the board's gain error added: the absolute one, against an ideal meter."""
        low_j, high_j = self.interval_j
        if self.is_bounds:
            return low_j - self.gain_j, high_j + self.gain_j
        middle_j = self.middle_j
        return (
            middle_j - sqrt((middle_j - low_j) ** 2 + self.gain_j**2),
            middle_j + sqrt((high_j - middle_j) ** 2 + self.gain_j**2),
        )

    def __add__(self, other: Energy) -> Energy:
        return _combine(self, other, 1.0)

    def __sub__(self, other: Energy) -> Energy:
        return _combine(self, other, -1.0)

    def scaled(self, factor: float) -> Energy:
        """This energy times a plain number; a token share, a count of calls."""
        low_j, high_j = sorted((self.interval_j[0] * factor, self.interval_j[1] * factor))
        return Energy(
            None if self.mean_j is None else self.mean_j * factor,
            (low_j, high_j),
            self.method,
            {board: gain_j * factor for board, gain_j in self.gains_j.items()},
            None if self.draws_j is None else self.draws_j * factor,
        )

    def per(self, count: float) -> Energy:
        """Joules per one of `count` things; ValueError for a count that is not positive and finite."""
        if not (isfinite(count) and count > 0):
            raise ValueError(f"joules per {count} things has no meaning: the count must be positive and finite")
        return self.scaled(1.0 / count)

    def __float__(self) -> float:
        return self.middle_j

    def __format__(self, spec: str) -> str:
        """'503.5 ±4.8 J'; '~0.7 J' for a model. A spec such as '.3f' formats the middle in joules alone."""
        return format(self.middle_j, spec) if spec else str(self)

    def __str__(self) -> str:
        factor, unit = energy_scale(self.middle_j)
        value, half = format_with_half_width(self.middle_j * factor, self.half_width_j * factor)
        return f"~{value} {unit}" if self.is_modelled else f"{value} ±{half} {unit}"

    def __repr__(self) -> str:
        low_j, high_j = self.interval_j
        kind = "bounds" if self.is_bounds else "95 %"
        return f"Energy({self.middle_j:.6g} J, {kind} [{low_j:.6g}, {high_j:.6g}], {self.method})"


def _combine(left: Energy, right: Energy, sign: float) -> Energy:
    method: Provenance = "modelled" if left.is_modelled or right.is_modelled else "measured"
    boards = dict.fromkeys([*left.gains_j, *right.gains_j])
    gains_j = {board: left.gains_j.get(board, 0.0) + sign * right.gains_j.get(board, 0.0) for board in boards}
    mean_j = None if left.mean_j is None or right.mean_j is None else left.mean_j + sign * right.mean_j
    if left.draws_j is not None and right.draws_j is not None:
        draws_j = left.draws_j + sign * right.draws_j
        low_j, high_j = (float(edge) for edge in np.percentile(draws_j, _TAILS))
        return Energy(mean_j, (low_j, high_j), method, gains_j, draws_j)
    added = right.interval_j if sign > 0 else (-right.interval_j[1], -right.interval_j[0])
    return Energy(mean_j, (left.interval_j[0] + added[0], left.interval_j[1] + added[1]), method, gains_j)


def total(energies: Iterable[Energy]) -> Energy | None:
    """The sum of energies, or None for none of them: nothing measured is not zero joules."""
    result: Energy | None = None
    for energy in energies:
        result = energy if result is None else result + energy
    return result


def format_with_half_width(value: float, half_width: float) -> tuple[str, str]:
    """A value and its half-width with the same decimals, the half-width with one or two significant digits.

    ('503.5', '4.8'), ('97.5', '1.6'), ('5.24', '0.05'). A half-width is rounded up, so that the text never claims more.
    """
    if half_width <= 0:
        return format_significant(value), "0"
    decimals = 0
    while half_width * 10**decimals < (1.95 if decimals else 9.5) and decimals < 9:
        decimals += 1
    steps = ceil(half_width * 10**decimals - 1e-9)
    rounded = round(value, decimals) + 0.0  # no minus sign is left before a zero
    return f"{rounded:.{decimals}f}", f"{steps / 10**decimals:.{decimals}f}"


def normal_draws(middle: float, interval: tuple[float, float], seed: str) -> NDArray[np.float64]:
    """DRAWS values around a middle whose 95 % interval is the given one, in an order of their own for each seed."""
    probabilities = (np.arange(DRAWS) + 0.5) / DRAWS
    sigmas = np.array([NormalDist().inv_cdf(float(each)) for each in probabilities], dtype=np.float64)
    sigmas = np.random.default_rng(list(seed.encode())).permutation(sigmas)
    low, high = ((edge - middle) / _SIGMAS_95 for edge in interval)
    return np.asarray(middle + np.where(sigmas < 0, -sigmas * low, sigmas * high), dtype=np.float64)

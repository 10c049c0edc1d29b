"""A line through points that each have an interval of their own: coefficients, and what is unsure of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from wattvlm.comparison import Expected
from wattvlm.energy import DRAWS, Energy, Provenance
from wattvlm.studies.expected import NORMAL_95, student_95

Floats = NDArray[np.float64]

FINEST_FRACTION = 1e-6
"""No run is taken for surer than this fraction of its joules; an interval of zero width would outweigh all others."""

HALVINGS = 40
"""Steps of a bisection: to a millionth of a millionth of where it began."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run: its counts a call, and its joules a call with their interval."""

    counts: tuple[float, ...]
    joules: Expected


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Coefficients (the intercept first) as weighted sums of the points' joules.

    weights: shape (coefficients, points), J out per J in. values_j: coefficients, J or J a token. stds_j: their one
    sigma; bounds_j: what points with bounds add, half-width. errors_j: one sigma of each point.
    gains_j: by board, per coefficient, the half-width of its unknown gain. residual_j: one sigma of the joules around
    the line; beyond_j: the part of it beyond the points' own errors. seed: of the draws, another for other joules.
    """

    weights: Floats
    values_j: Floats
    stds_j: Floats
    bounds_j: Floats
    errors_j: Floats
    gains_j: Mapping[str, Floats]
    runs: int
    residual_j: float
    beyond_j: float
    seed: list[int]

    def energy(self, index: int, method: Provenance) -> Energy:
        """One coefficient as an Energy: joint draws with the other coefficients, or bounds where a run had bounds."""
        value, std = float(self.values_j[index]), float(self.stds_j[index])
        gains = {board: float(each[index]) for board, each in self.gains_j.items()}
        half = NORMAL_95 * std + float(self.bounds_j[index])
        interval = value - half, value + half
        if self.bounds_j[index] > 0.0:
            return Energy(value, interval, method, gains)
        return Energy(value, interval, method, gains, self._draws(index))

    def _draws(self, index: int) -> Floats:
        """Draws of one coefficient; those of another are of the same points, so that sums and differences hold."""
        normal = np.random.default_rng(self.seed).standard_normal((self.runs, DRAWS // 2))
        drawn = self.weights[index] @ (np.hstack([normal, -normal]) * self.errors_j[:, None])
        spread = float(np.std(drawn))
        scale = float(self.stds_j[index]) / spread if spread > 0.0 else 0.0
        return np.asarray(self.values_j[index] + drawn * scale, dtype=np.float64)


def fit(points: Sequence[Point]) -> Line:
    """The line of least weighted squares. There are at least two points more than counts, and these not on one line."""
    design = np.array([[1.0, *point.counts] for point in points], dtype=np.float64)
    joules = np.array([point.joules.value for point in points], dtype=np.float64)
    own = np.array([_std_j(point.joules) for point in points], dtype=np.float64)
    beyond_j2 = _beyond_j2(design, joules, own**2)
    errors2 = own**2 + beyond_j2
    weights = _solve(design, 1.0 / errors2)
    values = weights @ joules
    left = joules - design @ values
    freedom = len(points) - design.shape[1]
    scatter = sqrt(float(np.sum(left**2 / errors2)) / freedom)
    wider = max(1.0, scatter * student_95(freedom) / NORMAL_95)
    is_bounds = np.array([point.joules.is_bounds for point in points])
    half = np.array([_half_j(point.joules) for point in points], dtype=np.float64)
    alone = np.where(is_bounds, sqrt(beyond_j2), np.sqrt(errors2))
    return Line(
        weights, values, np.sqrt(np.sum((weights * alone) ** 2, axis=1)) * wider,
        np.abs(weights) @ np.where(is_bounds, half, 0.0), np.sqrt(errors2), _gains_j(points, weights, joules),
        len(points), sqrt(float(np.sum(left**2)) / freedom), sqrt(beyond_j2), list(joules.tobytes()),
    )  # fmt: skip


def inflation(columns: Mapping[str, Sequence[float]], name: str) -> float:
    """By how much the other columns inflate the variance of one column's slope: 1 where they are independent."""
    own = np.array(columns[name], dtype=np.float64)
    own = own - own.mean()
    others = [np.array(column, dtype=np.float64) for other, column in columns.items() if other != name]
    if not others:
        return 1.0
    scaled = np.column_stack([(column - column.mean()) / float(np.std(column)) for column in others])
    slopes = np.asarray(np.linalg.lstsq(scaled, own, rcond=None)[0], dtype=np.float64)
    left: Floats = own - scaled @ slopes
    remaining = float(np.sum(left**2)) / float(np.sum(own**2))
    return 1.0 / remaining if remaining > 0.0 else float("inf")


def _solve(design: Floats, importance: Floats) -> Floats:
    """What each point's joules count in each coefficient of weighted least squares, shape (coefficients, points)."""
    scale = np.max(np.abs(design), axis=0)
    scaled = design / scale
    inverse = np.asarray(np.linalg.inv(scaled.T @ (scaled * importance[:, None])), dtype=np.float64)
    return np.asarray((inverse @ (scaled * importance[:, None]).T) / scale[:, None], dtype=np.float64)


def _beyond_j2(design: Floats, joules: Floats, own_j2: Floats) -> float:
    """Variance of the runs around the line beyond their own: with it, they scatter as they should (Paule and Mandel).

    The weighted squares fall as it grows; where they are small enough without it, it is 0.
    """
    freedom: int = len(joules) - design.shape[1]

    def excess(beyond_j2: float) -> float:
        weights = _solve(design, 1.0 / (own_j2 + beyond_j2))
        left: Floats = joules - design @ (weights @ joules)
        return float(np.sum(left**2 / (own_j2 + beyond_j2))) - freedom

    if excess(0.0) <= 0.0:
        return 0.0
    low, high = 0.0, float(np.max(own_j2))
    while excess(high) > 0.0:
        low, high = high, 4.0 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
    return high


def _gains_j(points: Sequence[Point], weights: Floats, joules: Floats) -> dict[str, Floats]:
    """By board, what its gain is of each coefficient: one error for all its runs."""
    fractions = [dict(point.joules.gain_fractions) for point in points]
    boards = dict.fromkeys(board for each in fractions for board in each)
    return {
        board: weights @ (joules * np.array([each.get(board, 0.0) for each in fractions], dtype=np.float64))
        for board in boards
    }


def _half_j(joules: Expected) -> float:
    return max(joules.high - joules.value, joules.value - joules.low, FINEST_FRACTION * abs(joules.value), 1e-12)


def _std_j(joules: Expected) -> float:
    return _half_j(joules) / NORMAL_95

"""One unbroken stretch of a counter: bounds of the cumulative energy curve that hold for any powers.

Between ticks (t0, E0) and (t1, E1) a curve whose slope lies in [0, Pmax] is confined to

    max(E0, E1 - Pmax (t1 - t))  <=  E(t)  <=  min(E1, E0 + Pmax (t - t0)).

Each tick happened somewhere in (early, late] and its value is known to the resolution r, so the lower bound takes
`late` and E, the upper bound `early` and E + r. All ticks take part, not only the two neighbours: the terms with
Pmax are running extremes over everything before or after t. Joules of a window are differences of these bounds,
never less than 0 nor more than Pmax times its length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from wattvlm.attribution.ticks import Floats, Ticks
from wattvlm.units import S_PER_NS


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bounds of one unbroken stretch of ticks. Without a limit_w the curve is only known to rise."""

    ticks: Ticks
    resolution_j: float
    limit_w: float | None
    outside_w: float
    ahead_j: Floats = field(init=False)
    behind_j: Floats = field(init=False)

    def __post_init__(self) -> None:
        ahead_j = np.full_like(self.ticks.late_s, -np.inf)
        behind_j = np.full_like(self.ticks.late_s, np.inf)
        if self.limit_w:
            ahead_j = self.ticks.energy_j - self.limit_w * self.ticks.late_s
            behind_j = self.ticks.energy_j + self.resolution_j - self.limit_w * self.ticks.early_s
        object.__setattr__(self, "ahead_j", np.maximum.accumulate(ahead_j[::-1])[::-1])
        object.__setattr__(self, "behind_j", np.minimum.accumulate(behind_j))

    @property
    def start_s(self) -> float:
        return float(self.ticks.late_s[0])

    @property
    def end_s(self) -> float:
        return float(self.ticks.late_s[-1])

    def low_j(self, time_s: Floats) -> Floats:
        """The least cumulative joules at times not before the first tick."""
        passed = np.searchsorted(self.ticks.late_s, time_s, "right")
        low_j = self.ticks.energy_j[np.maximum(passed - 1, 0)]
        if self.limit_w is None:
            return low_j
        next_tick = np.minimum(passed, len(self.ahead_j) - 1)
        needed_j = self.ahead_j[next_tick] + self.limit_w * time_s
        return np.where(passed < len(self.ahead_j), np.maximum(low_j, needed_j), low_j)

    def high_j(self, time_s: Floats) -> Floats:
        """The most cumulative joules at times not after the last tick."""
        begun = np.searchsorted(self.ticks.early_s, time_s, "left")
        last = len(self.ticks.energy_j) - 1
        after_last_j = self.ticks.energy_j[last] + self.outside_w * np.maximum(time_s - self.ticks.early_s[last], 0.0)
        high_j = np.where(begun <= last, self.ticks.energy_j[np.minimum(begun, last)], after_last_j) + self.resolution_j
        if self.limit_w is None:
            return high_j
        reached_j = self.behind_j[np.maximum(begun - 1, 0)] + self.limit_w * time_s
        return np.where(begun > 0, np.minimum(high_j, reached_j), high_j)

    @property
    def knot_s(self) -> Floats:
        """The middles of the brackets; the end of the first one where its start is not known."""
        middle_s = (self.ticks.early_s + self.ticks.late_s) / 2
        return np.where(np.isfinite(middle_s), middle_s, self.ticks.late_s)

    def middle_j(self, time_s: Floats) -> Floats:
        """Straight lines between the middles of the brackets, kept within the bounds: it rises, and it fits."""
        knot_s = (self.ticks.early_s + self.ticks.late_s) / 2
        knot_j = self.ticks.energy_j + self.resolution_j / 2
        if not np.isfinite(knot_s[0]):
            knot_s, knot_j = (knot_s[1:], knot_j[1:]) if len(knot_s) > 2 else (self.ticks.late_s, knot_j)
        line_j = np.interp(time_s, knot_s, knot_j)
        if len(knot_s) > 1:
            before_j = knot_j[0] + (time_s - knot_s[0]) * _slope(knot_s[:2], knot_j[:2])
            after_j = knot_j[-1] + (time_s - knot_s[-1]) * _slope(knot_s[-2:], knot_j[-2:])
            line_j = np.where(time_s < knot_s[0], before_j, np.where(time_s > knot_s[-1], after_j, line_j))
        return np.minimum(np.maximum(line_j, self.low_j(time_s)), self.high_j(time_s))

    def end_power_w(self, first: bool) -> float | None:
        """Mean power between the first two or the last two ticks, or None for a single tick."""
        if len(self.ticks.late_s) < 2:
            return None
        pair = slice(0, 2) if first else slice(-2, None)
        return _slope(self.ticks.late_s[pair], self.ticks.energy_j[pair])


def _slope(time_s: Floats, energy_j: Floats) -> float:
    return float((energy_j[1] - energy_j[0]) / max(time_s[1] - time_s[0], S_PER_NS))

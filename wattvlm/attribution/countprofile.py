"""Bounds on joules of one call, or a few, from a counter's ticks: every solution that fits them.

Unknown are the power of each segment and its drift, how late each boundary is on its own, what the first tick is off,
and the lag common to all marks, which lies on a grid. With the joules E(t) up to a tick t less those up to the first,

    E(t) = sum over segments of P (length before t) + D delta + o + n

where lengths before a tick are means over what a boundary may be off (uniform, the same sigma), D their slopes times
the step of power there, and n has the variance of the tick's place times its power, of the counter's resolution, and of
what a boundary beside a tick leaves over. Drifts and boundaries have a known width, and count as readings do.

A solution fits where its misfit is within the 95 % threshold of the best one's, over all lags; bounds of a sum of
joules are the hull of its ends over these. A tick that is unsure since a boundary is beside it misfits less; what it
may be expected to misfit less by is added, so that lags can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from wattvlm.attribution.boundedfit import BoundedFit, bounded_fit
from wattvlm.attribution.countrows import CountRows
from wattvlm.attribution.evenpowers import Columns
from wattvlm.attribution.profile import t_95
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import SLOPE_S
from wattvlm.units import S_PER_NS

LAG_STEP_S, LAG_STEP_STD = 0.0005, 0.25
"""Lags are this far apart at most, in seconds and in parts of what a boundary may be off on its own (one sigma):
between two of them, boundaries take up what is left at next to no cost."""

USUAL_LAG_S = 0.003
"""The middle takes the smaller of two lags that fit about as well; bounds know nothing of this."""

LEAST_NOISE_J2 = 1e-8
LARGEST_FIRST_S = 0.02
"""The first tick is off by what the largest power draws in this, at most."""

FEWEST_SPARE = 3
"""So many more readings than unknowns are needed to tell whether powers are even."""

LARGEST_MISFIT_STD = 3.0
"""The misfit of ticks is at most so many standard deviations above what is usual, or powers were not even."""

ROUNDS = 2
"""So often all is made linear around what was found."""

FAR_MISFIT = 30.0
"""A lag that misfits by so much more than another is not looked at again."""

MOST_ROUNDS, SETTLED_FRACTION = 4, 0.005
"""So often at most, and until a sum grows by less than this part of it."""

MOST_LINEAR_AGAIN = 2
"""So many lags that reach farthest are made linear around their ends, since lengths times powers are not."""


@dataclass(frozen=True, slots=True)
class Around:
    """A lag, powers and drifts, and how late boundaries are, around which all is linear."""

    lag_s: float
    unknown_w: Floats
    late_s: Floats


@dataclass(frozen=True, slots=True)
class Noise:
    """The variance of each reading. misses: by how much they misfit less since boundaries are beside some."""

    variance: Floats
    misses: float


@dataclass(frozen=True, slots=True)
class Cell:
    """The fit at a lag. noise: of its ticks."""

    around: Around
    fit: BoundedFit
    noise: Noise

    @property
    def spread(self) -> float:
        return self.noise.misses

    @property
    def cost(self) -> float:
        """The misfit, with what unsure ticks misfit less by."""
        return self.fit.misfit + self.spread

    def at(self, unknowns: Floats) -> Around:
        """What it would be linear around at unknowns of its fit."""
        size, boundaries = len(self.around.unknown_w), len(self.around.late_s)
        late_s = unknowns[len(unknowns) - boundaries :]
        return replace(self.around, unknown_w=unknowns[:size], late_s=np.asarray(late_s, np.float64))


class Problem(Protocol):
    """What a profile asks of the problem that it is of."""

    @property
    def columns(self) -> Columns:
        """The unknown powers."""
        ...

    def fitted(self, around: Around, noise: Noise | None = None) -> Cell:
        """The fit around powers and boundaries. noise: as it was found before."""
        ...


@dataclass(frozen=True, slots=True)
class CountProblem:
    """A counter's ticks and what may have drawn them. lags_s: from and to which ticks may all be stamped late."""

    columns: Columns
    rows: CountRows
    resolution_j: float
    limit_w: float
    lags_s: tuple[float, float]

    def solved(self) -> CountProfile | None:
        """All solutions that fit; None where there are too few ticks, or none fits with even powers."""
        spare = len(self.rows.tick_s) + len(self.columns.drifts) - self._powers - 2
        if spare < FEWEST_SPARE:
            return None
        step_s = min(LAG_STEP_S, LAG_STEP_STD * float(np.min(self.columns.boundary_std_s)))
        first, last = round(self.lags_s[0] / step_s), round(self.lags_s[1] / step_s)
        marked = [self.started(step_s * number) for number in range(first, last + 1)]
        cells = marked
        for _ in range(ROUNDS):
            least = min(cell.cost for cell in cells)
            cells = [self.fitted(cell.at(cell.fit.best)) for cell in cells if cell.cost <= least + FAR_MISFIT]
        cells = [*cells, *marked]
        best = min(cells, key=lambda cell: cell.cost)
        if best.fit.misfit > spare + LARGEST_MISFIT_STD * (2.0 * spare) ** 0.5:
            return None
        threshold = best.cost + max(best.fit.misfit / spare, 1.0) * t_95(spare) ** 2
        fitting = sorted((cell for cell in cells if cell.cost <= threshold), key=lambda cell: cell.cost)
        return CountProfile(self, tuple(fitting), threshold, self.middle_j(fitting, threshold))

    @property
    def _powers(self) -> int:
        return len(self.columns.low_w)

    @property
    def _boundaries(self) -> int:
        return len(self.columns.boundary_std_s)

    def started(self, lag_s: float) -> Cell:
        """The fit at a lag, linear around what boundaries where they are marked would give."""
        level_w = float(self.rows.energy_j[-1] / max(self.rows.tick_s[-1] - self.rows.tick_s[0], S_PER_NS))
        even_w = np.concatenate([np.full(self.columns.powers, level_w), np.zeros(self._powers - self.columns.powers)])
        first = self.fitted(Around(lag_s, even_w, np.zeros(self._boundaries)))
        return self.fitted(Around(lag_s, first.fit.best[: self._powers], np.zeros(self._boundaries)))

    def fitted(self, around: Around, noise: Noise | None = None) -> Cell:
        """The fit at a lag, linear around powers and boundaries. noise: as it was found before."""
        seen, own = self.seen(around)
        noise = own if noise is None else noise
        root_j = np.sqrt(noise.variance)
        known = self.known(seen.shape[1])
        bent_j = seen[:, -self._boundaries :] @ around.late_s
        values = np.concatenate([(self.rows.energy_j + bent_j) / root_j, np.zeros(len(known))])
        most_s = 4.0 * self.columns.boundary_std_s
        ends = np.concatenate([[LARGEST_FIRST_S * self.limit_w], most_s])
        low = np.concatenate([self.columns.low_w, -ends])
        high = np.concatenate([self.columns.high_w, ends])
        fit = bounded_fit(np.concatenate([seen / root_j[:, None], known]), values, low, high)
        return Cell(around, fit, noise)

    def known(self, unknowns: int) -> Floats:
        """What is known beside ticks: drifts of short segments, and boundaries, in sigmas."""
        drifts = self.columns.drifts
        known = np.zeros((len(drifts) + self._boundaries, unknowns))
        known[: len(drifts), : self._powers] = drifts
        known[len(drifts) :, -self._boundaries :] = np.eye(self._boundaries) / self.columns.boundary_std_s
        return known

    def seen(self, around: Around) -> tuple[Floats, Noise]:
        """(what ticks show of each unknown (R, N), their noise)."""
        columns, tick_s = self.columns, self.rows.tick_s[:, None] - around.lag_s
        half_s = 3**0.5 * columns.boundary_std_s
        age_s = tick_s - (columns.start_s[1:] + around.late_s)
        side = np.minimum(np.maximum(age_s / half_s, -1.0), 1.0)
        passed = (1.0 + side) / 2
        since_s = half_s * passed**2 + np.maximum(age_s - half_s, 0.0)
        none = np.zeros((len(tick_s), 1))
        lasted_s = np.concatenate([tick_s - columns.start_s[0], since_s], axis=1)
        lasted_s -= np.concatenate([since_s, none], axis=1)
        share = np.concatenate([none + 1.0, passed], axis=1) - np.concatenate([passed, none], axis=1)
        is_of = np.asarray(columns.owner[:, None] == np.arange(columns.powers), np.float64)
        power_w = around.unknown_w[columns.owner]
        step_w = power_w[:-1] - power_w[1:]
        seen = np.concatenate([lasted_s @ is_of, self._drifted(around), none, passed * step_w], axis=1)
        seen = seen - seen[0]
        seen[:, self._powers] = 1.0
        beside_j2 = (half_s**2 * left_over(side)) @ step_w**2
        taken_j2 = self.rows.place_s2 * (np.maximum(share, 0.0) @ power_w**2)
        noise_j2 = np.asarray(beside_j2 + taken_j2 + self.resolution_j**2 / 3 + LEAST_NOISE_J2, np.float64)
        return seen, Noise(noise_j2, float(np.sum(beside_j2 / noise_j2)))

    def _drifted(self, around: Around) -> Floats:
        """What ticks show of the slope of each segment that has one, about its middle."""
        which, late_s = self.columns.sloped, np.concatenate([[0.0], around.late_s, [0.0]])
        start_s = (self.columns.start_s + late_s[:-1])[which]
        half_s = (self.columns.end_s + late_s[1:])[which] / 2 - start_s / 2
        inside_s = self.rows.tick_s[:, None] - around.lag_s - start_s
        inside_s = np.minimum(np.maximum(inside_s, 0.0), np.maximum(2 * half_s, 0.0))
        return np.asarray(inside_s * (inside_s / 2 - half_s) / SLOPE_S, np.float64)

    def middle_j(self, fitting: Sequence[Cell], threshold: float) -> Floats:
        """Joules of each segment where powers and lag are usual, or in a solution on the way to it that just fits."""
        usual = [self._usual_fit(cell) for cell in fitting]
        number = min(range(len(usual)), key=lambda each: usual[each][0])
        cell, wanted = fitting[number], usual[number][1]
        share, found = 1.0, wanted
        while share > S_PER_NS and cell.fit.misfit_of(found) + cell.spread > threshold:
            share /= 2
            found = np.asarray(cell.fit.best + share * (wanted - cell.fit.best), np.float64)
        middle, columns = cell.at(found), self.columns
        begun_s = np.maximum.accumulate(np.concatenate([columns.start_s[:1], columns.start_s[1:] + middle.late_s]))
        lasted_s = np.diff(np.append(begun_s, columns.end_s[-1]))
        return np.asarray(middle.unknown_w[columns.owner] * lasted_s, np.float64)

    def _usual_fit(self, cell: Cell) -> tuple[float, Floats]:
        """(cost, unknowns) of the fit at a lag with what is usual as further readings."""
        usual = np.zeros((len(self.columns.usual), len(cell.fit.best)))
        usual[:, : self._powers] = self.columns.usual
        design = np.concatenate([cell.fit.root, usual])
        values = np.concatenate([cell.fit.root @ cell.fit.free, np.zeros(len(usual))])
        fit = bounded_fit(design, values, cell.fit.low, cell.fit.high)
        return fit.misfit + cell.spread + cell.fit.least + (cell.around.lag_s / USUAL_LAG_S) ** 2, fit.best


@dataclass(frozen=True, slots=True)
class CountProfile:
    """All solutions that fit: lags with a cost up to the threshold.

    segment_j: joules of each segment, of the solution in the middle. known: ends of joules that were asked for.
    """

    problem: Problem
    cells: tuple[Cell, ...]
    threshold: float
    segment_j: Floats
    known: dict[bytes, tuple[float, float]] = field(default_factory=dict[bytes, tuple[float, float]])

    @property
    def lags_s(self) -> tuple[float, float]:
        """From the least to the largest lag that fits."""
        lags_s = [cell.around.lag_s for cell in self.cells]
        return min(lags_s), max(lags_s)

    def middle_j(self, inside_s: Floats) -> float:
        """The joules within seconds of each segment, of the solution in the middle."""
        return float(self._part(inside_s) @ self.segment_j)

    def ends(self, inside_s: Floats) -> tuple[float, float]:
        """The least and the most joules within seconds of each segment, over all solutions that fit."""
        key = inside_s.tobytes()
        if key not in self.known:
            middle_j = self.middle_j(inside_s)
            least_j, most_j = -self._most(inside_s, -1.0), self._most(inside_s, 1.0)
            self.known[key] = min(max(least_j, 0.0), middle_j), max(most_j, middle_j)
        return self.known[key]

    def _part(self, inside_s: Floats) -> Floats:
        """Which part of each segment the seconds are; of one without a length nothing."""
        columns = self.problem.columns
        return np.asarray(inside_s / np.maximum(columns.end_s - columns.start_s, S_PER_NS), np.float64)

    def _wide(self, inside_s: Floats, around: Around) -> tuple[Floats, float]:
        """(joules of each unknown, joules beside these), linear around powers and boundaries."""
        columns = self.problem.columns
        late_s = np.concatenate([[0.0], around.late_s, [0.0]])
        part = self._part(inside_s)
        longer_s = part * np.diff(late_s)
        drawn_w = part * around.unknown_w[columns.owner]
        weights = np.zeros(len(self.cells[0].fit.best))
        weights[: columns.powers] = np.bincount(columns.owner, inside_s + longer_s, columns.powers)
        weights[len(weights) - len(around.late_s) :] = drawn_w[:-1] - drawn_w[1:]
        return weights, -float(longer_s @ around.unknown_w[columns.owner])

    def _most(self, inside_s: Floats, sign: float) -> float:
        """The most joules, or with a sign of -1 the least with that sign."""
        wide = [self._wide(inside_s, cell.around) for cell in self.cells]
        room = [self.threshold - cell.spread for cell in self.cells]
        beyond = [
            cell.fit.beyond(sign * weights, room[number]) + sign * fixed_j
            for number, (cell, (weights, fixed_j)) in enumerate(zip(self.cells, wide))
        ]
        found: list[tuple[float, int]] = []
        for number in sorted(range(len(beyond)), key=lambda each: -beyond[each]):
            if found and beyond[number] <= max(found)[0]:
                break
            weights, fixed_j = wide[number]
            end = self.cells[number].fit.furthest(sign * weights, room[number])
            found.append((sign * (float(weights @ end) + fixed_j), number))
        farthest = sorted(found, reverse=True)[:MOST_LINEAR_AGAIN]
        again = [self._again(self.cells[number], wide[number][0], inside_s, sign) for _, number in farthest]
        return max(again) if np.isfinite(max(again)) else farthest[0][0]

    def _again(self, cell: Cell, weights: Floats, inside_s: Floats, sign: float) -> float:
        """The largest sum at a lag, linear around the powers and boundaries that it has there."""
        most_j, room = -np.inf, self.threshold - cell.spread
        for _ in range(MOST_ROUNDS):
            end = cell.fit.furthest(sign * weights, room)
            cell = self.problem.fitted(cell.at(end), cell.noise)
            if cell.fit.misfit > room:
                break
            weights, fixed_j = self._wide(inside_s, cell.around)
            before_j, most_j = most_j, sign * (float(weights @ cell.fit.furthest(sign * weights, room)) + fixed_j)
            if most_j - before_j < SETTLED_FRACTION * abs(most_j):
                break
        return most_j


def left_over(side: Floats) -> Floats:
    """What a line through a boundary's place leaves over, a tick `side` half-widths after it: a variance of lengths.

    The length before the tick has the mean (1 + side)^2 / 4 and the slope (1 + side) / 2, in half-widths.
    """
    passed = (1.0 + side) / 2
    square = (1.0 + side) ** 3 / 6
    along = (1.0 / 3 + side / 2 - side**3 / 6) / 2
    left = square - passed**4 - 2.0 * passed * along + passed**2 / 3
    return np.asarray(np.where(np.abs(side) < 1.0, np.maximum(left, 0.0), 0.0), np.float64)

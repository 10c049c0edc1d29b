"""Least squares in a box: the best solution, and how far a sum of unknowns can go while the readings still fit.

The misfit of unknowns x is |B x - z|^2, rows scaled by their noise. All x in the box whose misfit is within a
threshold make a convex set; the ends of a linear sum of x over it are its profile-likelihood interval. Each end lies on
the path of min |B x - z|^2 - 2 f l'x over the box as the force f grows: misfit and l'x grow with f, so the f at the
threshold is found by halving.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats

RIDGE = 0.01
"""The misfit of an unknown its whole range from the middle of it, so that what nothing was read of has one solution."""

NEARLY = 1e-9
NEAR_ENOUGH = 0.01
"""Of a force; the end that it leads to is far nearer than that, since misfits are flat there."""

LARGEST_FORCE = 1e9


@dataclass(frozen=True, slots=True)
class BoundedFit:
    """|B x - z|^2 = least + |R (x - free)|^2 with low <= x <= high. curvature: R'R; best: the bounded solution."""

    free: Floats
    root: Floats
    curvature: Floats
    least: float
    low: Floats
    high: Floats
    best: Floats

    @property
    def misfit(self) -> float:
        """The misfit of the best solution in the box."""
        return self.misfit_of(self.best)

    def misfit_of(self, unknowns: Floats) -> float:
        """The misfit of any unknowns."""
        off: Floats = self.root @ (unknowns - self.free)
        return self.least + float(off @ off)

    def beyond(self, weights: Floats, threshold: float) -> float:
        """What weights @ x is at most with a misfit up to the threshold, were there no box: never too small."""
        usual: Floats = np.asarray(np.linalg.solve(self.curvature, weights), np.float64)
        room = max(threshold - self.least, 0.0)
        reach: float = np.sqrt(room * max(float(weights @ usual), 0.0))
        return float(weights @ self.free) + float(reach)

    def furthest(self, weights: Floats, threshold: float) -> Floats:
        """The x in the box with the largest weights @ x among those with a misfit up to the threshold.

        The best x has no more than this misfit.
        """
        usual: Floats = np.asarray(np.linalg.solve(self.curvature, weights), np.float64)
        reach = float(weights @ usual)
        if reach <= 0.0:
            return self.best
        force = ((threshold - self.least) / reach) ** 0.5
        free = self.free + force * usual
        if bool(np.all((free >= self.low) & (free <= self.high))):
            return np.asarray(free, np.float64)
        weak, strong, found = 0.0, force, self.best
        pulled = self._pulled(force * weights, self.best)
        while self.misfit_of(pulled) <= threshold:
            found, weak, strong = pulled, strong, 8.0 * strong
            if strong > LARGEST_FORCE * force:
                return found
            pulled = self._pulled(strong * weights, found)
        while strong - weak > NEAR_ENOUGH * strong:
            middle = (weak + strong) / 2
            pulled = self._pulled(middle * weights, found)
            if self.misfit_of(pulled) <= threshold:
                found, weak = pulled, middle
            else:
                strong = middle
        return found

    def _pulled(self, force: Floats, start: Floats) -> Floats:
        return minimum_in_box(self.curvature, self.curvature @ self.free + force, self.low, self.high, start)


def bounded_fit(design: Floats, values: Floats, low: Floats, high: Floats) -> BoundedFit:
    """The fit of values by design @ x with low <= x <= high; rows are scaled by their noise already."""
    scale = high - low
    scaled = design * scale
    centre = (low + high) / 2 / scale
    stacked = np.concatenate([scaled, RIDGE**0.5 * np.eye(len(low))])
    target = np.concatenate([values, RIDGE**0.5 * centre])
    triangle: Floats = np.asarray(np.linalg.qr(np.column_stack([stacked, target]), mode="r"), np.float64)
    root = triangle[:-1, :-1]
    free: Floats = np.asarray(np.linalg.solve(root, triangle[:-1, -1]), np.float64) * scale
    root = np.asarray(root / scale, np.float64)
    curvature = np.asarray(np.transpose(root) @ root, np.float64)
    best = minimum_in_box(curvature, curvature @ free, low, high, free)
    return BoundedFit(free, root, curvature, float(triangle[-1, -1]) ** 2, low, high, best)


def minimum_in_box(curvature: Floats, moment: Floats, low: Floats, high: Floats, start: Floats) -> Floats:
    """The x in [low, high] with the least x' curvature x / 2 - moment' x, by an active set from a start in the box."""
    found: Floats = np.minimum(np.maximum(start, low), high)
    held: NDArray[np.bool_] = (found <= low) | (found >= high)
    for _ in range(20 * len(found) + 20):
        free = ~held
        wanted: Floats = np.array(found)
        if np.any(free):
            rest: Floats = moment[free] - curvature[np.ix_(free, held)] @ found[held]
            wanted[free] = np.linalg.solve(curvature[np.ix_(free, free)], rest)
        step = wanted - found
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(step > 0, (high - found) / step, np.where(step < 0, (low - found) / step, np.inf))
        room[held] = np.inf
        first = int(np.argmin(room))
        if room[first] < 1.0:
            found = found + max(float(room[first]), 0.0) * step
            found[first] = high[first] if step[first] > 0 else low[first]
            held[first] = True
            continue
        found = wanted
        pull = (moment - curvature @ found) * (high - low)
        inwards = np.where(found <= low, pull, np.where(found >= high, -pull, 0.0)) * held
        worst = int(np.argmax(inwards))
        if inwards[worst] <= NEARLY * (1.0 + float(np.max(np.abs(pull)))):
            return found
        held[worst] = False
    return found

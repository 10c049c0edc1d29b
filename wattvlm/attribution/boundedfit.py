"""Least squares in a box: the best solution, and how far a sum of unknowns can go while the readings still fit.

The misfit of unknowns x is |B x - z|^2, rows scaled by their noise. All x in the box whose misfit is within a
threshold make a convex set; the ends of a linear sum of x over it are its profile-likelihood interval. Each end lies on
the path of min |B x - z|^2 - 2 f l'x over the box as the force f grows: misfit and l'x grow with f. The path is made of
straight pieces (as in Markowitz's critical line method), so the end at the threshold is found piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats

RIDGE = 0.01
"""The misfit of an unknown its whole range from the middle of it, so that what nothing was read of has one solution."""

NEARLY = 1e-9
"""So little counts for nothing, in parts of an unknown's range or of the largest force."""

MOST_PIECES = 8
"""Pieces of a path for each unknown; a path that has more goes in circles, and ends there."""


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

        The best x has no more than this misfit. Found on the path of a growing force, whose pieces end where an
        unknown meets the end of its range or leaves it.
        """
        usual: Floats = np.asarray(np.linalg.solve(self.curvature, weights), np.float64)
        reach = float(weights @ usual)
        if reach <= 0.0:
            return self.best
        force = (max(threshold - self.least, 0.0) / reach) ** 0.5
        free = self.free + force * usual
        if bool(np.all((free >= self.low) & (free <= self.high))):
            return np.asarray(free, np.float64)
        scale = self.high - self.low
        path = _Path(self.root * scale, self.free / scale, self.low / scale, self.high / scale, weights * scale)
        return np.asarray(path.end(self.best / scale, threshold - self.least) * scale, np.float64)


@dataclass(frozen=True, slots=True)
class _Path:
    """The minima of |R (x - free)|^2 - 2 f w'x in the box over the force f; unknowns in parts of their range."""

    root: Floats
    free: Floats
    low: Floats
    high: Floats
    weights: Floats

    def end(self, best: Floats, room: float) -> Floats:
        """The x on the path with |R (x - free)|^2 = room, or the last one. best: the x without a force."""
        curvature = np.transpose(self.root) @ self.root
        found: Floats = np.array(best)
        held: NDArray[np.bool_] = (found <= self.low + NEARLY) | (found >= self.high - NEARLY)
        force = 0.0
        for _ in range(MOST_PIECES * len(found)):
            moves, pulls = self._piece(curvature, found, held, force)
            changes_at, changed = self._until_it_changes(found, held, moves, pulls)
            misfits_at = _until_it_misfits(self.root @ (found - self.free), self.root @ moves, room)
            if min(changes_at, misfits_at) == np.inf:
                return found
            if misfits_at <= changes_at:
                return np.asarray(found + misfits_at * moves, np.float64)
            found, force = found + changes_at * moves, force + changes_at
            held[changed] = not held[changed]
            if held[changed]:
                found[changed] = self.high[changed] if moves[changed] > 0 else self.low[changed]
        return found

    def _piece(self, curvature: Floats, found: Floats, held: NDArray[np.bool_], force: float) -> tuple[Floats, Floats]:
        """By how much unknowns move for each unit of force, and (pulls now, pulls for each unit) outwards."""
        free = ~held
        moves = np.zeros_like(found)
        if np.any(free):
            moves[free] = np.linalg.solve(curvature[np.ix_(free, free)], self.weights[free])
        outwards = np.where(found >= self.high - NEARLY, 1.0, -1.0)
        now = (curvature @ (self.free - found) + force * self.weights) * outwards
        return moves, np.stack([now, (self.weights - curvature @ moves) * outwards])

    def _until_it_changes(
        self, found: Floats, held: NDArray[np.bool_], moves: Floats, pulls: Floats
    ) -> tuple[float, int]:
        """(how much force it takes, which unknown) until one meets the end of its range, or a held one is let go."""
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(moves > 0, (self.high - found) / moves, (self.low - found) / moves)
            until_let_go = np.where(pulls[1] < -NEARLY * np.abs(self.weights).max(), -pulls[0] / pulls[1], np.inf)
        until = np.where(held, until_let_go, np.where(moves == 0.0, np.inf, room))
        until = np.maximum(until, 0.0)
        first = int(np.argmin(until))
        return (float(until[first]), first) if np.isfinite(until[first]) else (np.inf, -1)


def _until_it_misfits(off: Floats, moves: Floats, room: float) -> float:
    """The largest s with |off + s moves|^2 <= room; off is within it."""
    square = float(moves @ moves)
    if square <= 0.0:
        return np.inf
    along = float(off @ moves)
    left = max(room - float(off @ off), 0.0)
    return (-along + float(np.sqrt(along**2 + square * left))) / square


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

"""Bounds on joules of one call, or a few, from a power sensor: every solution that fits its readings.

Each segment of a call draws a power of its own (a long one with a slope), time between phases one power, each stretch
outside of calls its own; all lie in [0, limit]. A reading weighs them by the sensor's response (see `responses`). What
a window of 1 s holds of a phase enters it at one tick and leaves it a window later, so a phase is seen twice, as sharp
as the ticks are known. Lag and window are free as well: linear around the values in each cell of a grid.

A solution fits where its misfit is within the 95 % threshold of the best one's, over all responses, lags and windows;
bounds of a sum of joules are the hull of its ends over all of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product

import numpy as np

from wattvlm.attribution.boundedfit import BoundedFit, bounded_fit
from wattvlm.attribution.curve import TWO_SIDED_95
from wattvlm.attribution.evenpowers import LARGEST_OFF_S, Columns
from wattvlm.attribution.responses import Response
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.updates import SURE_STRETCH_S, Updates

LARGEST_LAG_S = 0.008
"""Marks, stamps and windows are off against each other by up to this, and by what ticks may all be off together."""

CELL_S = 0.0005
"""The lag is linear in cells of this width to either side of their middle."""

LARGEST_SCALE = 0.02
"""A window that nobody states is linear in cells of this fraction to either side."""

USUAL_LAG_S = 0.003
"""The middle takes the smaller of two lags that fit about as well; bounds know nothing of this."""

LEAST_NOISE_W, STAMP_STD_S = 0.03, 50e-6
NOISES_W = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
JITTERS_S = (0.0, 0.0005, 0.001, 0.002)
"""One sigma of readings and of ticks that is tried, beside these and what is known of them."""

FEWEST_SPARE = 3
"""So many more readings than unknowns are needed to tell noise."""

LARGEST_MISFIT_FRACTION = 0.03
"""Where readings differ from the best solution by more than this part of their swing, powers were not even."""

LEAST_PERIODS = 3.0
"""A memory of fewer periods than this is short."""

ROUGH_FRACTION, FAR_SCALE, STEPS = 0.01, 0.05, 6
"""Of the search for lag and window: noise in parts of the readings' swing, the longest step of a window, steps."""

FAR_TIMES, FAR_MISFIT = 20.0, 400.0
MOST_REFINED = 4
NARROWEST_S = 1e-6

MOST_LINEAR_AGAIN = 2
"""So many cells that reach farthest are made linear around the powers at their ends, since lag times power is not."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A response and a cell of lags (its middle, and how far it reaches), with powers around which all is linear."""

    response: Response
    lag_s: float
    reach_s: float
    unknown_w: Floats


@dataclass(frozen=True, slots=True)
class _Cell:
    """A place and the fit of powers, lag, window and period in it. scale: which of the unknowns is the window's."""

    place: _Place
    fit: BoundedFit
    scale: int | None = None

    @property
    def found(self) -> _Place:
        """The place that the fit points at."""
        size = len(self.place.unknown_w)
        response = self.place.response
        if self.scale is not None:
            response = response.scaled(1.0 + float(self.fit.best[self.scale]))
        lag_s = self.place.lag_s + float(self.fit.best[size])
        return replace(self.place, response=response, lag_s=lag_s, unknown_w=self.fit.best[:size])


@dataclass(frozen=True, slots=True)
class ProfileProblem:
    """A power sensor's updates and what may have drawn them. is_known: the response is stated."""

    columns: Columns
    updates: Updates
    resolution_w: float
    is_known: bool

    def solved(self, responses: Sequence[Response]) -> Profile | None:
        """All solutions that fit; None where there are too few readings, or none fits with even powers.

        Where the period is unsure all is made linear around the likeliest one, once this is known.
        """
        found = self._solved(responses)
        if found is None or self._is_sure:
            return found
        longer = float(found.cells[0].fit.best[-1 - self._boundaries])
        time_s = self.updates.time_s + longer * self._from_middle_s
        return replace(self, updates=replace(self.updates, time_s=time_s))._solved(found.responses)

    def _solved(self, responses: Sequence[Response]) -> Profile | None:
        spare = self._spare
        if spare < FEWEST_SPARE:
            return None
        swing_w = self._swing_w
        rough_w2 = np.full(len(self.updates), (ROUGH_FRACTION * swing_w) ** 2 + LEAST_NOISE_W**2)
        started = _near_the_best([self._started(response, rough_w2) for response in responses])
        rough = _near_the_best([self._settled(each, rough_w2) for each in started])
        noise_w2 = self._noise_w2(rough[0].found)
        refined = [self._refined(each, noise_w2) for each in rough[:MOST_REFINED]]
        refined.sort(key=lambda cells: _least(cells).fit.misfit)
        noise_w2 = self._noise_w2(_least(refined[0]).found)
        cells = [cell for each in refined for cell in self._cells(_least(each).found, noise_w2)]
        best = _least(cells)
        threshold = best.fit.misfit + max(best.fit.misfit / spare, 1.0) * t_95(spare) ** 2
        fitting = sorted((cell for cell in cells if cell.fit.misfit <= threshold), key=lambda cell: cell.fit.misfit)
        if not self._is_even(best, noise_w2) or not self._is_told(fitting):
            return None
        usual = [(self._usual_fit(cell.place, noise_w2), cell.fit) for cell in fitting]
        number = min(range(len(usual)), key=lambda each: usual[each][0].misfit)
        middle = _nearest_that_fits(*usual[number], threshold)
        return Profile(self, tuple(fitting), noise_w2, threshold, middle, fitting[number].place.unknown_w)

    @property
    def _powers(self) -> int:
        return len(self.columns.low_w)

    @property
    def _spare(self) -> int:
        """How many more readings than unknowns there are; what is known of these counts as a reading."""
        return len(self.updates) + self._priors - self._powers - 1 - len(self._extra_ends)

    @property
    def _swing_w(self) -> float:
        """How far readings reach."""
        return float(np.ptp(self.updates.value))

    @property
    def _largest_lag_s(self) -> float:
        return LARGEST_LAG_S + self.updates.shift_s

    @property
    def _from_middle_s(self) -> Floats:
        """How much later than the middle one each tick is."""
        return self.updates.time_s - float(np.mean(self.updates.time_s[[0, -1]]))

    @property
    def _extra_ends(self) -> list[float]:
        """How far the window and the period may be off, where they may."""
        ends = [] if self.is_known else [LARGEST_SCALE]
        if not self._is_sure:
            ends.append(self.updates.stretch)
        return [*ends, *np.minimum(LARGEST_OFF_S, 4.0 * self.columns.boundary_std_s)]

    @property
    def _boundaries(self) -> int:
        return len(self.columns.boundary_std_s)

    @property
    def _priors(self) -> int:
        """What is known beside readings: drifts of short segments, and boundaries."""
        return len(self.columns.drifts) + self._boundaries

    @property
    def _is_sure(self) -> bool:
        """Whether the period is known well enough."""
        return self.updates.stretch * float(np.max(self._from_middle_s)) < SURE_STRETCH_S

    def _is_told(self, fitting: Sequence[_Cell]) -> bool:
        """False where only a lag at the end of what is possible fits, or where a short memory does that nobody states.

        Which moments a window shorter than its period saw, one call cannot tell from what they drew.
        """
        if all(abs(cell.found.lag_s) > self._largest_lag_s - CELL_S for cell in fitting):
            return False
        least_s = LEAST_PERIODS * float(np.median(np.diff(self.updates.time_s)))
        return self.is_known or all(cell.place.response.reach_s >= least_s for cell in fitting)

    def _started(self, response: Response, noise_w2: Floats) -> _Cell:
        """The lag that fits a response best."""
        lags = np.arange(-self._largest_lag_s, self._largest_lag_s + CELL_S, 4 * CELL_S)
        places = [_Place(response, float(lag_s), CELL_S, np.zeros(self._powers)) for lag_s in lags]
        return _least([_Cell(place, self._fit_of_powers(place, noise_w2)) for place in places])

    def _settled(self, cell: _Cell, noise_w2: Floats) -> _Cell:
        """The lag, and the window near a response's, that fit best."""
        place = replace(cell.place, unknown_w=cell.fit.best)
        for _ in range(STEPS):
            cell = self.fitted(replace(place, reach_s=2 * CELL_S), noise_w2, FAR_SCALE)
            place = cell.found
            most_s = self._largest_lag_s
            place = replace(place, lag_s=max(-most_s, min(place.lag_s, most_s)))
        return cell

    def _refined(self, cell: _Cell, noise_w2: Floats) -> list[_Cell]:
        """The cells of a response, its window moved to where it fits best."""
        cells = self._cells(cell.found, noise_w2)
        for _ in range(0 if self.is_known else STEPS // 2):
            before = _least(cells)
            cells = self._cells(before.found, noise_w2)
            if _least(cells).fit.misfit > before.fit.misfit - 0.01:
                break
        return cells

    def _cells(self, near: _Place, noise_w2: Floats) -> list[_Cell]:
        """Fits in all cells of the lag for one response: these end where a boundary meets the end of a window."""
        times_s = np.concatenate([self.columns.start_s, self.columns.end_s[-1:]])
        ages_s = self.updates.time_s[:, None] - times_s
        meet_s = np.ravel(np.stack([ages_s, ages_s - near.response.reach_s]))
        most_s = self._largest_lag_s
        meet_s = meet_s[np.abs(meet_s) < most_s]
        even_s = np.arange(-most_s, most_s + CELL_S, 2 * CELL_S)
        ends_s = np.unique(np.concatenate([even_s, meet_s]))
        ends_s = ends_s[np.concatenate([[True], np.diff(ends_s) > NARROWEST_S])]
        return [
            self._at(replace(near, lag_s=float(one_s + two_s) / 2, reach_s=float(two_s - one_s) / 2), noise_w2)
            for one_s, two_s in pairwise(ends_s)
        ]

    def _at(self, place: _Place, noise_w2: Floats) -> _Cell:
        """The fit in a cell, linear around the powers that fit best there."""
        unknown_w = self._fit_of_powers(place, noise_w2).best
        first = self.fitted(replace(place, unknown_w=unknown_w), noise_w2)
        return self.fitted(replace(place, unknown_w=first.found.unknown_w), noise_w2)

    def fitted(self, place: _Place, noise_w2: Floats, scale: float = LARGEST_SCALE) -> _Cell:
        """The fit of powers, lag and window in a cell, linear around the place's powers."""
        return _Cell(
            place, bounded_fit(*self._linear(place, noise_w2, scale)), None if self.is_known else self._powers + 1
        )

    def _fit_of_powers(self, place: _Place, noise_w2: Floats) -> BoundedFit:
        root_w = np.sqrt(noise_w2)
        design = self._seen(place) / root_w[:, None]
        return bounded_fit(
            np.concatenate([design, self.columns.drifts]),
            np.concatenate([self.updates.value / root_w, np.zeros(len(self.columns.drifts))]),
            self.columns.low_w, self.columns.high_w,
        )  # fmt: skip

    def _usual_fit(self, place: _Place, noise_w2: Floats) -> BoundedFit:
        """The fit with what is usual as further readings."""
        design, values, low, high = self._linear(place, noise_w2, LARGEST_SCALE)
        usual = np.zeros((len(self.columns.usual) + 1, design.shape[1]))
        usual[:-1, : self._powers] = self.columns.usual
        usual_s = float(np.hypot(USUAL_LAG_S, self.updates.shift_s))
        usual[-1, self._powers] = 1.0 / usual_s
        wanted = np.zeros(len(usual))
        wanted[-1] = -place.lag_s / usual_s
        return bounded_fit(np.concatenate([design, usual]), np.concatenate([values, wanted]), low, high)

    def _linear(self, place: _Place, noise_w2: Floats, scale: float) -> tuple[Floats, Floats, Floats, Floats]:
        """(design, values, low, high) of powers, lag and window around a place, rows in sigmas."""
        extra, ends = [self._by_lag(place)], [place.reach_s, *self._extra_ends]
        if not self.is_known:
            extra.append(self._by_scale(place))
            ends[1] = scale
        if not self._is_sure:
            extra.append(-self._from_middle_s * extra[0])
        extra += list(np.transpose(self.columns.moved(place.response, self._tick_s(place), place.unknown_w)))
        root_w = np.sqrt(noise_w2)
        seen: Floats = np.concatenate([self._seen(place), np.stack(extra, axis=1)], axis=1) / root_w[:, None]
        known = np.zeros((self._priors, seen.shape[1]))
        known[: len(self.columns.drifts), : self._powers] = self.columns.drifts
        known[len(self.columns.drifts) :, -self._boundaries :] = np.eye(self._boundaries) / self.columns.boundary_std_s
        low, high = np.concatenate([self.columns.low_w, -np.array(ends)]), np.concatenate([self.columns.high_w, ends])
        values = np.concatenate([self.updates.value / root_w, np.zeros(len(known))])
        return np.concatenate([seen, known]), np.asarray(values, np.float64), low, high

    def _seen(self, place: _Place, later_s: float = 0.0) -> Floats:
        """What readings show of a watt of each unknown."""
        return self.columns.weights(place.response, self._tick_s(place, later_s))

    def _tick_s(self, place: _Place, later_s: float = 0.0) -> Floats:
        return self.updates.time_s - (place.lag_s + later_s)

    def _by_lag(self, place: _Place) -> Floats:
        step_s = max(place.reach_s / 2, NARROWEST_S)
        later, earlier = self._seen(place, step_s), self._seen(place, -step_s)
        return np.asarray((later - earlier) @ place.unknown_w / (2 * step_s), np.float64)

    def _by_scale(self, place: _Place) -> Floats:
        step = 1e-4
        longer = self.columns.weights(place.response.scaled(1 + step), self._tick_s(place))
        shorter = self.columns.weights(place.response.scaled(1 - step), self._tick_s(place))
        return np.asarray((longer - shorter) @ place.unknown_w / (2 * step), np.float64)

    def _noise_w2(self, place: _Place) -> Floats:
        """The likeliest variance of each reading, from what is left over: of its own, and of its tick."""
        place = replace(place, reach_s=CELL_S / 4)
        slope_w2 = self._by_lag(place) ** 2
        ticks_s2 = STAMP_STD_S**2 + self.updates.std_s**2
        least_w2 = LEAST_NOISE_W**2 + self.resolution_w**2 / 12 + ticks_s2 * slope_w2
        jitters_s = JITTERS_S if np.any(self.updates.std_s) else JITTERS_S[:1]
        found: list[tuple[float, Floats]] = []
        for noise_w, jitter_s in product(NOISES_W, jitters_s):
            noise_w2 = least_w2 + noise_w**2 + jitter_s**2 * slope_w2
            fit = self.fitted(place, noise_w2).fit
            _, curved = np.linalg.slogdet(fit.curvature)
            found.append((float(np.sum(np.log(noise_w2))) + float(curved) + fit.misfit, noise_w2))
        return min(found, key=lambda each: each[0])[1]

    def _is_even(self, best: _Cell, noise_w2: Floats) -> bool:
        """False where readings differ too much from the best solution: powers were not even."""
        return self._off_w(best, noise_w2) <= LARGEST_MISFIT_FRACTION * self._swing_w

    def _off_w(self, cell: _Cell, noise_w2: Floats) -> float:
        """How much readings differ from a fit, one sigma."""
        design, values, _, _ = self._linear(cell.place, noise_w2, LARGEST_SCALE)
        off = (values - design @ cell.fit.best)[: len(noise_w2)]
        off_w = off * np.sqrt(noise_w2)
        return float(np.sqrt(np.sum(off_w**2) / max(self._spare, 1)))


@dataclass(frozen=True, slots=True)
class Profile:
    """All solutions that fit: cells of the lag with a misfit up to the threshold.

    best: the solution in the middle, linear around the powers around_w. known: the ends of joules that were asked for.
    """

    problem: ProfileProblem
    cells: tuple[_Cell, ...]
    noise_w2: Floats
    threshold: float
    best: Floats
    around_w: Floats
    known: dict[bytes, tuple[float, float]] = field(default_factory=dict[bytes, tuple[float, float]])

    @property
    def responses(self) -> tuple[Response, ...]:
        """Those that fit."""
        return tuple(dict.fromkeys(cell.place.response for cell in self.cells))

    @property
    def lags_s(self) -> tuple[float, float]:
        """From the least to the largest lag that fits."""
        ends_s = [cell.place.lag_s + side * cell.place.reach_s for cell in self.cells for side in (-1, 1)]
        return min(ends_s), max(ends_s)

    def middle_j(self, inside_s: Floats) -> float:
        """The joules within seconds of each segment, of the solution in the middle."""
        return float(self._wide(inside_s, self.around_w) @ self.best)

    def ends(self, inside_s: Floats) -> tuple[float, float]:
        """The least and the most joules within seconds of each segment, over all solutions that fit."""
        key = inside_s.tobytes()
        if key not in self.known:
            self.known[key] = -self._most(inside_s, -1.0), self._most(inside_s, 1.0)
        return self.known[key]

    def _wide(self, inside_s: Floats, unknown_w: Floats) -> Floats:
        """Joules of each unknown, linear around powers."""
        of_powers, of_boundaries = self.problem.columns.joules(inside_s, unknown_w)
        others = np.zeros(len(self.best) - len(of_powers) - len(of_boundaries))
        return np.concatenate([of_powers, others, of_boundaries])

    def _most(self, inside_s: Floats, sign: float) -> float:
        """The most joules, or with a sign of -1 the least with that sign."""
        wide = [sign * self._wide(inside_s, cell.place.unknown_w) for cell in self.cells]
        beyond = [
            (cell.fit.beyond(own, self.threshold), number) for number, (cell, own) in enumerate(zip(self.cells, wide))
        ]
        found: list[tuple[float, int]] = []
        for reach, number in sorted(beyond, reverse=True):
            if found and reach <= max(found)[0]:
                break
            found.append((float(wide[number] @ self.cells[number].fit.furthest(wide[number], self.threshold)), number))
        farthest = sorted(found, reverse=True)[:MOST_LINEAR_AGAIN]
        again = [self._again(self.cells[number], wide[number], inside_s, sign) for _, number in farthest]
        return max([most for most, _ in farthest] + again)

    def _again(self, cell: _Cell, wide: Floats, inside_s: Floats, sign: float) -> float:
        """The largest sum in a cell, linear around the powers that it has there."""
        end = cell.fit.furthest(wide, self.threshold)
        around = replace(cell.place, unknown_w=end[: len(cell.place.unknown_w)])
        again = self.problem.fitted(around, self.noise_w2)
        if again.fit.misfit > self.threshold:
            return -np.inf
        wide = sign * self._wide(inside_s, around.unknown_w)
        return float(wide @ again.fit.furthest(wide, self.threshold))


def _near_the_best(cells: Sequence[_Cell]) -> list[_Cell]:
    """The best cell first; without those that the search need not look at again."""
    ordered = sorted(cells, key=lambda cell: cell.fit.misfit)
    return [cell for cell in ordered if cell.fit.misfit <= FAR_TIMES * ordered[0].fit.misfit + FAR_MISFIT]


def _nearest_that_fits(usual: BoundedFit, fit: BoundedFit, threshold: float) -> Floats:
    """The usual solution, or where that does not fit the one on the way to it from the best that just does."""
    share = 1.0
    while share > NARROWEST_S:
        found = fit.best + share * (usual.best - fit.best)
        if fit.misfit_of(found) <= threshold:
            return found
        share /= 2
    return fit.best


def _least(cells: Sequence[_Cell]) -> _Cell:
    return min(cells, key=lambda cell: cell.fit.misfit)


def t_95(degrees: int) -> float:
    """The two-sided 95 % quantile of Student's t, by its expansion in 1 / degrees (0.3 % off at 3)."""
    z = TWO_SIDED_95
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )

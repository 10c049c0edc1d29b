"""Bounds on joules of one call, or a few, from a counter's ticks and a power field's readings of the same curve.

Both see the same powers, drifts and boundaries (see `countprofile`); each has a lag of its own. With S what a reading
shows of a watt in each segment (a mean over what boundaries may be off) and D its slopes times the step of power there,

    y = (1 + g) (S P + D delta) + c + n

where g is what the field's gain differs from the counter's and c its offset: normal around 0, and found mostly from
long phases and idle time. Joules are the counter's. Lag and window of the field are made linear around what was found,
as boundaries are; the noise n of its readings is found from what is left over (REML).

A field that differs by more than can be, or that no even powers fit together with the counter, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.boundedfit import bounded_fit
from wattvlm.attribution.countprofile import (
    FAR_MISFIT,
    FEWEST_SPARE,
    LARGEST_FIRST_S,
    LARGEST_MISFIT_STD,
    Around,
    Cell,
    CountProblem,
    CountProfile,
    Noise,
    left_over,
)
from wattvlm.attribution.evenpowers import Columns
from wattvlm.attribution.profile import (
    CELL_S,
    FAR_TIMES,
    LARGEST_LAG_S,
    LARGEST_MISFIT_FRACTION,
    LEAST_NOISE_W,
    NOISES_W,
    ROUGH_FRACTION,
    STAMP_STD_S,
    t_95,
)
from wattvlm.attribution.responses import Response
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.updates import Updates
from wattvlm.attribution.views import SLOPE_S

GAIN_STD_FRACTION, OFFSET_STD_W = 0.02, 3.0
"""What a field differs by from the counter of its board, one sigma. Boards differ by 0 to 9 % and 20 W from a meter
(arXiv 2312.02741); what two channels of one board differ by no source says, and it is taken to be less."""

MOST_SIGMAS = 3.0
"""A field that differs by more of these than so many does not show the counter's curve."""

SCALE_STD, LARGEST_SCALE = 0.1, 0.2
"""A window that nobody states is near one that is known: by this part of it (one sigma), and at most."""

STATED_SCALE = 1e-9
"""And one that is stated is what it is said to be."""

LAG_STEP_S, STEPS, MOST_RESPONSES = 0.002, 4, 4
"""The search for the field's lag begins this far apart; so often all is made linear again; so many responses stay."""

SETTLED = 0.01
"""A misfit that falls by less than this is the least."""

EXTRA = 4
"""Unknowns of the field, beside the counter's: gain, offset, lag, and scale of its window."""


@dataclass(frozen=True, slots=True)
class JointAround(Around):
    """What all is linear around: the counter's part of it, and the field's response, lag, gain and scale of window."""

    response: Response
    field_lag_s: float = 0.0
    gain: float = 0.0
    scale: float = 0.0


@dataclass(frozen=True, slots=True)
class JointCell(Cell):
    """The fit of both channels at a lag of the counter and a response of the field."""

    around: JointAround

    def at(self, unknowns: Floats) -> JointAround:
        size, boundaries = len(self.around.unknown_w), len(self.around.late_s)
        gain, _, lag_s, scale = (float(each) for each in unknowns[size + 1 : size + 1 + EXTRA])
        late_s = np.asarray(unknowns[len(unknowns) - boundaries :], np.float64)
        return replace(
            self.around, unknown_w=unknowns[:size], late_s=late_s, gain=gain, field_lag_s=lag_s, scale=scale
        )  # fmt: skip

    @property
    def differs(self) -> tuple[float, float]:
        """By how much the field differs from the counter: its gain, and watts."""
        first = len(self.around.unknown_w) + 1
        return float(self.fit.best[first]), float(self.fit.best[first + 1])

    @property
    def field_lag_s(self) -> float:
        return self.at(self.fit.best).field_lag_s

    @property
    def response(self) -> Response:
        """With the window that fits best."""
        return self.around.response.scaled(1.0 + self.at(self.fit.best).scale)


@dataclass(frozen=True, slots=True)
class Joint:
    """A field beside a counter. best: the likeliest solution. profile: all that fit; None where the field is left out.

    why: what it does not fit in, where it is left out.
    """

    best: JointCell
    profile: CountProfile | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class JointProblem:
    """A counter's ticks, and a field's updates of the same powers. is_known: the field's response is stated.

    noise_w: one sigma of each reading; None before it is found, where it is a part of their swing.
    """

    count: CountProblem
    updates: Updates
    resolution_w: float
    is_known: bool
    noise_w: float | None = None

    @property
    def columns(self) -> Columns:
        return self.count.columns

    def solved(self, alone: CountProfile, responses: Sequence[Response]) -> Joint:
        """All solutions that fit both. alone: those that fit the counter."""
        started = [self._settled(self._started(alone.cells[0], response)) for response in responses]
        nearest = _near_the_best(started)[:MOST_RESPONSES]
        return replace(self, noise_w=self._likeliest_noise_w(nearest[0]))._over_lags(alone, nearest)

    def _over_lags(self, alone: CountProfile, nearest: Sequence[JointCell]) -> Joint:
        """The solutions at each of the counter's lags and the responses that are left."""
        cells = [
            self._settled(self.fitted(replace(own.around, lag_s=cell.around.lag_s)), 2)
            for own in nearest
            for cell in alone.cells
        ]
        best = min(cells, key=lambda cell: cell.cost)
        why = self._against(best)
        if why:
            return Joint(best, None, why)
        threshold = best.cost + max(best.fit.misfit / self._spare, 1.0) * t_95(self._spare) ** 2
        fitting = sorted((cell for cell in cells if cell.cost <= threshold), key=lambda cell: cell.cost)
        return Joint(best, CountProfile(self, tuple(fitting), threshold, self.count.middle_j(fitting, threshold)))

    def _against(self, best: JointCell) -> str:
        """What speaks against the field, in words; "" for nothing."""
        gain, offset_w = best.differs
        if abs(gain) > MOST_SIGMAS * GAIN_STD_FRACTION or abs(offset_w) > MOST_SIGMAS * OFFSET_STD_W:
            return f"shows {100 * gain:+.1f} % and {offset_w:+.1f} W beside it in long phases"
        if abs(best.field_lag_s) > self._largest_lag_s - CELL_S:
            return "is further off the marks than can be"
        spare = self._spare
        noise_w = self.noise_w or 0.0
        too_far = best.fit.misfit > spare + LARGEST_MISFIT_STD * (2.0 * max(spare, 1)) ** 0.5
        if spare < FEWEST_SPARE or too_far or noise_w > LARGEST_MISFIT_FRACTION * self._swing_w:
            return "fits no powers that fit the counter"
        return ""

    @property
    def _spare(self) -> int:
        """How many more readings than unknowns; of what the field has more, all but its lag have a known width."""
        powers = len(self.columns.low_w)
        return len(self.count.rows.tick_s) + len(self.updates) + len(self.columns.drifts) - powers - 3

    @property
    def _swing_w(self) -> float:
        return float(np.ptp(self.updates.value))

    @property
    def _largest_lag_s(self) -> float:
        return LARGEST_LAG_S + self.updates.shift_s

    def _started(self, cell: Cell, response: Response) -> JointCell:
        """The field's lag that fits a response best, beside what the counter found."""
        own, most_s = cell.at(cell.fit.best), self._largest_lag_s
        lags_s = np.arange(-most_s, most_s + LAG_STEP_S / 2, LAG_STEP_S)
        tried = [JointAround(own.lag_s, own.unknown_w, own.late_s, response, float(lag_s)) for lag_s in lags_s]
        return min((self.fitted(around) for around in tried), key=lambda found: found.cost)

    def _settled(self, cell: JointCell, steps: int = STEPS) -> JointCell:
        """The fit made linear around itself until it is no better."""
        for _ in range(steps):
            again = self.fitted(cell.at(cell.fit.best))
            if again.cost >= cell.cost - SETTLED:
                return min(cell, again, key=lambda found: found.cost)
            cell = again
        return cell

    def _likeliest_noise_w(self, cell: JointCell) -> float:
        found: list[tuple[float, float]] = []
        for noise_w in NOISES_W:
            own = replace(self, noise_w=noise_w).fitted(cell.at(cell.fit.best))
            _, curved = np.linalg.slogdet(own.fit.curvature)
            found.append((float(np.sum(np.log(own.noise.variance))) + float(curved) + own.fit.misfit, noise_w))
        return min(found)[1]

    def fitted(self, around: Around, noise: Noise | None = None) -> JointCell:
        """The fit of both channels, linear around powers, boundaries, and the field's lag, gain and window."""
        if not isinstance(around, JointAround):
            raise TypeError("a field has a response")
        counted, of_counts = self.count.seen(around)
        read, of_reads = self._seen(around)
        if noise is None:
            noise = Noise(np.concatenate([of_counts.variance, of_reads.variance]), of_counts.misses + of_reads.misses)
        size, none = len(self.columns.low_w) + 1, np.zeros((len(counted), EXTRA))
        seen = np.concatenate([np.concatenate([counted[:, :size], none, counted[:, size:]], axis=1), read])
        moved = np.array([0.0, around.gain, 0.0, around.field_lag_s, around.scale, *around.late_s])
        values = np.concatenate([self.count.rows.energy_j, self.updates.value]) + seen[:, size - 1 :] @ moved
        root, known, ends = np.sqrt(noise.variance), self._known(size), self._ends
        fit = bounded_fit(
            np.concatenate([seen / root[:, None], known]), np.concatenate([values / root, np.zeros(len(known))]),
            np.concatenate([self.columns.low_w, -ends]), np.concatenate([self.columns.high_w, ends]),
        )  # fmt: skip
        return JointCell(around, fit, noise)

    @property
    def _ends(self) -> Floats:
        """How far the unknowns beside powers may be from 0."""
        scale = STATED_SCALE if self.is_known else LARGEST_SCALE
        most = 4.0 * GAIN_STD_FRACTION, 4.0 * OFFSET_STD_W, self._largest_lag_s, scale
        return np.concatenate([[LARGEST_FIRST_S * self.count.limit_w], most, 4.0 * self.columns.boundary_std_s])

    def _known(self, size: int) -> Floats:
        """What is known beside readings, in sigmas: what the counter's problem knows; gain, offset and window."""
        boundaries = len(self.columns.boundary_std_s)
        counted = self.count.known(size + boundaries)
        known = np.zeros((len(counted) + 3, size + EXTRA + boundaries))
        known[: len(counted), :size], known[: len(counted), -boundaries:] = counted[:, :size], counted[:, size:]
        known[-3:, [size, size + 1, size + 3]] = np.eye(3) / np.array([GAIN_STD_FRACTION, OFFSET_STD_W, SCALE_STD])
        return known

    def _seen(self, around: JointAround) -> tuple[Floats, Noise]:
        """(what readings show of each unknown (F, N), their noise)."""
        columns, response = self.columns, around.response.scaled(1.0 + around.scale)
        half_s = 3**0.5 * columns.boundary_std_s
        age_s = (self.updates.time_s - around.field_lag_s)[:, None] - (columns.start_s[1:] + around.late_s)
        since = (response.reached_s(age_s + half_s) - response.reached_s(age_s - half_s)) / (2 * half_s)
        weight = (response.reached(age_s + half_s) - response.reached(age_s - half_s)) / (2 * half_s)
        none = np.zeros((len(age_s), 1))
        share = np.concatenate([none + 1.0, since], axis=1) - np.concatenate([since, none], axis=1)
        is_of = np.asarray(columns.owner[:, None] == np.arange(columns.powers), np.float64)
        of_powers = np.concatenate([share @ is_of, self._drifted(around, response)], axis=1)
        power_w, factor = around.unknown_w[columns.owner], 1.0 + around.gain
        step_w = factor * (power_w[:-1] - power_w[1:])
        later = weight * step_w
        by_lag, by_scale = np.sum(later, axis=1), np.sum(later * age_s, axis=1) / (1.0 + around.scale)
        extra = np.stack([of_powers @ around.unknown_w, none[:, 0] + 1.0, by_lag, by_scale], axis=1)
        seen = np.concatenate([factor * of_powers, none, extra, later], axis=1)
        return seen, self._noise(response, age_s, half_s, step_w, by_lag)

    def _noise(self, response: Response, age_s: Floats, half_s: Floats, step_w: Floats, by_lag: Floats) -> Noise:
        """Of each reading: its own, that of its tick, and what boundaries beside the ends of its window leave over."""
        beside_w2 = np.zeros(len(age_s))
        for at_s, jump in response.jumps:
            side = np.minimum(np.maximum((age_s - at_s) / half_s, -1.0), 1.0)
            beside_w2 += jump**2 * ((half_s**2 * left_over(side)) @ step_w**2)
        own_w = ROUGH_FRACTION * self._swing_w if self.noise_w is None else self.noise_w
        tick_w2 = (STAMP_STD_S**2 + self.updates.std_s**2) * by_lag**2
        noise_w2 = LEAST_NOISE_W**2 + self.resolution_w**2 / 12 + own_w**2 + tick_w2 + beside_w2
        return Noise(np.asarray(noise_w2, np.float64), float(np.sum(beside_w2 / noise_w2)))

    def _drifted(self, around: JointAround, response: Response) -> Floats:
        """What readings show of the slope of each segment that has one, about its middle."""
        which, late_s = self.columns.sloped, np.concatenate([[0.0], around.late_s, [0.0]])
        start_s, end_s = (self.columns.start_s + late_s[:-1])[which], (self.columns.end_s + late_s[1:])[which]
        tick_s = (self.updates.time_s - around.field_lag_s)[:, None]
        both = response.reached(tick_s - start_s) + response.reached(tick_s - end_s)
        moments = response.reached_s(tick_s - start_s) - response.reached_s(tick_s - end_s)
        return np.asarray((moments - np.maximum(end_s - start_s, 0.0) / 2 * both) / SLOPE_S, np.float64)


def _near_the_best(cells: Sequence[JointCell]) -> list[JointCell]:
    """The best cell first; without those that need not be looked at again."""
    ordered = sorted(cells, key=lambda cell: cell.cost)
    return [cell for cell in ordered if cell.cost <= FAR_TIMES * ordered[0].cost + FAR_MISFIT]

"""What a sensor saw of the power curve, and of each segment of time in it: the view that the mixed model solves.

Each row (one reading) of a cluster is a linear functional of the power curve, value = integral of k(t) P(t) dt, and a
View gives its cumulative kernel K(t), the integral of k up to t, for all rows at once. All else follows from K: a
segment of constant power has the weight K(end) - K(start), one that rises by a slope the first moment of k, and a
boundary that is off by delta moves the value by (P_left - P_right) k(t) delta.

Another sensor plugs in as a class with the three methods of View and a builder that gives a `Chain` as
`clusters.chain_of` does: rows cut into groups that share no reading, the segments of each from `segments_of`, the
values with what is unsure of each alone (own_noise) and of all in a cluster together (shared_noise), and the stretch
of time (from_s, to_s) whose joules a cluster accounts for. Stretches of different clusters neither overlap nor leave
time of a call out, but for bodies that the sensor counted by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.timeline import Indices

Which = NDArray[np.bool_] | Indices

SLOPE_S = 0.1
"""Slopes of heads and tails are in watts over this time."""

LEVEL, HEAD_SLOPE, TAIL_SLOPE = 0, 1, 2
"""What a segment's column stands for: its mean power, or watts that rise from its start, or towards its end."""


RAMP_LEFT_S, RAMP_REACH_S = 0.2e-3, 1e-3
"""One sigma of what is left of a ramp where a step in its place is late by as much, and how far around it reaches."""


class View(Protocol):
    """The kernels k of J clusters of up to M rows. Times are seconds since the origin, of segments shifted by a lag."""

    @property
    def counted(self) -> int:
        """How many rows, the first ones, count from the cluster's first reading and share its error."""
        ...

    def up_to(self, time_s: Floats) -> Floats:
        """K: the integral of each row's k up to times (J, S), as (J, M, S); values per watt."""
        ...

    def summed_up_to(self, time_s: Floats) -> Floats:
        """The integral of K up to times (J, S), as (J, M, S)."""
        ...

    def chosen(self, which: Which) -> View:
        """The view of some of the clusters."""
        ...

    def bent_s2(self, time_s: Floats, over_s: Floats) -> Floats:
        """What is not linear in where steps at times (J, S) lie within +- over_s, (J, M + 1, S): first tick, rows."""
        ...

    def ramp_s2(self, time_s: Floats) -> Floats:
        """What ramps at times (J, S) are more than steps that are late, (J, M + 1, S): variances at ticks."""
        ...


@dataclass(frozen=True, slots=True)
class CounterView:
    """An energy counter: each row counts from its cluster's first tick to its own. tick_s (J, M + 1).

    k is 1 between the two ticks, so values are joules.
    """

    tick_s: Floats

    @property
    def counted(self) -> int:
        return int(self.tick_s.shape[1]) - 1

    def up_to(self, time_s: Floats) -> Floats:
        passed_s = np.maximum(time_s - self.tick_s[:, :1], 0.0)
        return np.minimum(passed_s[:, None, :], self._length_s)

    def summed_up_to(self, time_s: Floats) -> Floats:
        passed_s = np.maximum(time_s - self.tick_s[:, :1], 0.0)[:, None, :]
        inside_s = np.minimum(passed_s, self._length_s)
        return inside_s * (passed_s - inside_s / 2)

    def bent_s2(self, time_s: Floats, over_s: Floats) -> Floats:
        """What is not linear in where a step at times (J, S) lies within +- over_s, (J, M + 1, S): variances at ticks.

        With U uniform over +- a and a tick x = u a after the middle, the seconds of the step before the tick are
        max(x - U, 0); what a line of their mean slope, (1 + u) / 2, leaves over has this variance.
        """
        after = (self.tick_s[:, :, None] - time_s[:, None, :]) / over_s[:, None, :]
        at: Floats = np.minimum(np.maximum(after, -1.0), 1.0)
        slope, mean = (1.0 + at) / 2, (1.0 + at) ** 2 / 4
        square, product = (1.0 + at) ** 3 / 6, (1.0 / 3 + at / 2 - at**3 / 6) / 2
        return np.asarray(
            (square - mean**2 - 2.0 * slope * product + slope**2 / 3) * over_s[:, None, :] ** 2, np.float64
        )

    def ramp_s2(self, time_s: Floats) -> Floats:
        """What a ramp is more than a step that is late, at times (J, S) and as ticks see it, (J, M + 1, S): variances.

        A rise of first order with tau leaves tau / e at the step that is late by tau, less with the distance.
        """
        away_s: Floats = np.abs(self.tick_s[:, :, None] - time_s[:, None, :])
        return np.asarray((RAMP_LEFT_S * np.exp(-away_s / RAMP_REACH_S)) ** 2, np.float64)

    @property
    def _length_s(self) -> Floats:
        return (self.tick_s[:, 1:] - self.tick_s[:, :1])[:, :, None]

    def chosen(self, which: Which) -> CounterView:
        return CounterView(self.tick_s[which])


def _mean_up_to(view: View, time_s: Floats, over_s: Floats) -> Floats:
    """K on average over +- over_s (J, S) around times."""
    return (view.summed_up_to(time_s + over_s) - view.summed_up_to(time_s - over_s)) / (2.0 * over_s[:, None, :])


@dataclass(frozen=True, slots=True)
class Blur:
    """How far from where they are taken to be (to either side) starts and ends of columns may lie: (J, S), over 0."""

    start_s: Floats
    end_s: Floats


@dataclass(frozen=True, slots=True)
class Segments:
    """S columns of J clusters, (J, S) each: segments in order of time, of no length where there is none, then slopes.

    kind: of the power; row: the part of calls whose joules these are, or -1; shape: LEVEL, or a slope beside the level
    of the same segment. before: the column on the other side of the boundary at a segment's start, or -1 where a
    cluster has none; offset: the kind of that boundary, or -1; boundary_std_s: how unsure it is said to be, one sigma.
    longer_s: how much longer a segment is than its like, by the marks; length_s2: the variance of that, infinite where
    it says nothing. overlap_s, overlap_s2: by how much marks that have met would have crossed, and its variance.
    """

    start_s: Floats
    end_s: Floats
    kind: Indices
    row: Indices
    shape: Indices
    before: Indices
    offset: Indices
    boundary_std_s: Floats
    longer_s: Floats
    length_s2: Floats
    overlap_s: Floats
    overlap_s2: Floats

    def weights(self, view: View, lag_s: float, blur: Blur | None = None) -> Floats:
        """What each row shows of a watt in each column, (J, M, S), the marks shifted by a lag.

        Of segments whose ends lie anywhere within a blur of where they are marked, the mean.
        """
        low_s, high_s = self.start_s + lag_s, self.end_s + lag_s
        low, high = view.up_to(low_s), view.up_to(high_s)
        found: Floats = high - low
        if blur is not None:
            found = _mean_up_to(view, high_s, blur.end_s) - _mean_up_to(view, low_s, blur.start_s)
        sloped = np.flatnonzero(np.any(self.shape != LEVEL, axis=0))
        if len(sloped):
            low_s, high_s, shape = low_s[:, sloped], high_s[:, sloped], self.shape[:, None, sloped]
            length_s = (high_s - low_s)[:, None, :]
            summed = view.summed_up_to(high_s) - view.summed_up_to(low_s)
            from_start = (length_s * high[:, :, sloped] - summed) / SLOPE_S
            to_end = (summed - length_s * low[:, :, sloped]) / SLOPE_S
            levels: Floats = found[:, :, sloped]
            found[:, :, sloped] = np.where(
                shape == HEAD_SLOPE, from_start, np.where(shape == TAIL_SLOPE, to_end, levels)
            )
        return found

    def at_boundaries(self, view: View, lag_s: float, over_s: Floats | float) -> Floats:
        """k at each column's start, (J, M, S): a mean over +- over_s around it; 0 where a cluster has no boundary."""
        over_s = np.broadcast_to(np.asarray(over_s, np.float64), self.start_s.shape)
        time_s = self.start_s + lag_s
        found = (view.up_to(time_s + over_s) - view.up_to(time_s - over_s)) / (2.0 * over_s[:, None, :])
        return np.asarray(found * (self.before >= 0)[:, None, :], np.float64)

    def beside(self, *others: Segments) -> Segments:
        """The columns of this and of others in one."""
        parts = self, *others
        return Segments(
            np.concatenate([each.start_s for each in parts], axis=1),
            np.concatenate([each.end_s for each in parts], axis=1),
            np.concatenate([each.kind for each in parts], axis=1),
            np.concatenate([each.row for each in parts], axis=1),
            np.concatenate([each.shape for each in parts], axis=1),
            np.concatenate([each.before for each in parts], axis=1),
            np.concatenate([each.offset for each in parts], axis=1),
            np.concatenate([each.boundary_std_s for each in parts], axis=1),
            np.concatenate([each.longer_s for each in parts], axis=1),
            np.concatenate([each.length_s2 for each in parts], axis=1),
            np.concatenate([each.overlap_s for each in parts], axis=1),
            np.concatenate([each.overlap_s2 for each in parts], axis=1),
        )

    def chosen(self, which: Which) -> Segments:
        """The segments of some of the clusters."""
        return Segments(
            self.start_s[which], self.end_s[which], self.kind[which], self.row[which], self.shape[which],
            self.before[which], self.offset[which], self.boundary_std_s[which],
            self.longer_s[which], self.length_s2[which], self.overlap_s[which], self.overlap_s2[which],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clusters:
    """J clusters of up to M rows: what was read, and how sure it is.

    values (J, M); own_noise (J, M), shared_noise (J,): variances of each alone and of all rows of a cluster together;
    real (J, M): the rows that are readings. from_s, to_s (J,): the time whose joules the cluster accounts for.
    first_row, last_row (J,): the part of calls with a counted body that ends at from_s with the shared error, and with
    one that begins at to_s with the last row's error; -1 for none.
    """

    segments: Segments
    view: View
    values: Floats
    own_noise: Floats
    shared_noise: Floats
    real: NDArray[np.bool_]
    from_s: Floats
    to_s: Floats
    first_row: Indices
    last_row: Indices

    def __len__(self) -> int:
        return len(self.values)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """The rows that are readings and share the error of the first, (J, M)."""
        return np.asarray(self.real & (np.arange(self.real.shape[1]) < self.view.counted), np.bool_)

    def weights(self, lag_s: float, blur: Blur | None = None) -> Floats:
        """What each row shows of a watt in each column, (J, M, S), the marks shifted by a lag; 0 for empty rows.

        Of segments whose ends lie anywhere within a blur of where they are marked, the mean.
        """
        return np.asarray(self.segments.weights(self.view, lag_s, blur) * self.real[:, :, None], np.float64)

    def at_boundaries(self, lag_s: float, over_s: Floats | float) -> Floats:
        """What each row shows of a watt-second at each column's start, (J, M, S), a mean over +- over_s around it."""
        found = self.segments.at_boundaries(self.view, lag_s, over_s)
        return np.asarray(found * self.real[:, :, None], np.float64)

    def bent_s2(self, lag_s: float, blur: Blur | None) -> Floats:
        """Variance of what is not linear in where boundaries lie in a blur, (J, M + 1, S): first tick, then rows."""
        time_s = self.segments.start_s + lag_s
        found = self.view.ramp_s2(time_s)
        if blur is not None:
            found = found + self.view.bent_s2(time_s, blur.start_s)
        return np.asarray(found * (self.segments.before >= 0)[:, None, :], np.float64)

    def seconds(self, lag_s: float) -> Floats:
        """Joules of a watt in each column within the cluster's own time, (J, S)."""
        return np.asarray(self.segments.weights(self._own_time, lag_s)[:, 0], np.float64)

    def share_of_boundaries(self, lag_s: float, over_s: Floats | float) -> Floats:
        """How much of +- over_s around each column's start lies in the cluster's own time, (J, S)."""
        return np.asarray(self.segments.at_boundaries(self._own_time, lag_s, over_s)[:, 0], np.float64)

    def is_kind(self, kinds: int) -> Floats:
        """1 where a column is of a kind, (J, S, kinds)."""
        return np.asarray(self.segments.kind[:, :, None] == np.arange(kinds), np.float64)

    def chosen(self, which: Which) -> Clusters:
        """Some of the clusters."""
        return Clusters(
            self.segments.chosen(which), self.view.chosen(which), self.values[which], self.own_noise[which],
            self.shared_noise[which], self.real[which], self.from_s[which], self.to_s[which], self.first_row[which],
            self.last_row[which],
        )  # fmt: skip

    @property
    def _own_time(self) -> CounterView:
        return CounterView(np.stack([self.from_s, self.to_s], axis=1))


@dataclass(frozen=True, slots=True)
class Chain:
    """All clusters of a sensor. counted_j: joules of the bodies by row. mean_w: mean power over all clusters.

    of_row: kind -> row, or -1. is_slope: the kinds that are slopes and not powers. boundaries: how many there are of
    each kind of boundary, met_share: how many of these have met their neighbour, so that they are off to one side.
    is_end: the kinds of boundaries where a call begins or ends. outside: the kind of time between calls whose joules
    are one row more, the last one; -1 for none.
    """

    clusters: tuple[Clusters, ...]
    counted_j: Floats
    of_row: Indices
    is_slope: NDArray[np.bool_]
    boundaries: Indices
    met_share: Floats
    is_end: NDArray[np.bool_]
    mean_w: float
    outside: int = -1

    @property
    def kinds(self) -> int:
        return len(self.of_row)

    @property
    def offsets(self) -> int:
        """How many kinds of boundaries there are."""
        return len(self.boundaries)

    def rows_of(self, segments: Segments) -> Indices:
        """The row whose joules each segment's are, (J, S), or -1."""
        return np.where(segments.kind == self.outside, len(self.counted_j) - 1, segments.row)

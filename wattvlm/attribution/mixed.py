"""The linear mixed model of several calls: mean powers by kind, and how each segment and boundary differs from these.

For a cluster with values y, A what its rows show of a watt in each segment, X the kinds of these, and D what they show
of a second by which each boundary is late, (P_left - P_right) k(t),

    y = A (X mu + b) + D (delta + Y Delta + s rho + Lambda) + n
    b ~ N(0, spread^2),    delta ~ N(0, jitter^2 + stated^2)

where Delta belongs to each kind of boundary (Y), rho is how much later power rises (s = 1) and earlier it falls (-1),
Lambda is what remains of the lag, and n is noise, of each row and of all rows of a cluster together. So
y ~ N(G theta, V) with theta = (mu, Lambda, Delta, rho), G = [A X, D 1, D Y, D s] and
V = A spread^2 A' + D (jitter^2 + stated^2) D' + noise. Given V, theta is a least-squares problem; b, delta and n given
theta and y are normal as well. The joules of a part of the calls that ran are sums over its segments and counted
bodies, moved by P_left delta and -P_right delta at its true boundaries: normal given theta, with a mean that is linear
in theta.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.jitter import SHARP, Jitter, Unsure, jitter_of
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import Chain, Clusters

SLOPE_STD_FRACTION = 0.05
"""One sigma of slopes, in largest powers over SLOPE_S: 35 W in 100 ms on a board of 700 W."""

MOST_SHOWN = 32
"""What rows show is kept for so many lags and jitters: variations, powers and weights change more often than these."""

LEAST_OVER_S = 0.2e-3
"""A tick this close to a boundary sees a part of what the boundary is off, at least; more where jitter is larger."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Powers lie in [0, limit_w]; before that cut their prior is a wide normal, all but flat between the ends.

    is_slope: the kinds that are slopes; these are around 0. lag_std_s: one sigma of what remains of the lag.
    offset_std_s: one sigma of each of the offsets of the kinds of boundaries; ramp_std_s: of half of how much later
    power rises than it falls. jitter_std_s (offsets,): one sigma of how much the mean of all boundaries of a kind is
    off, since each of them is off on its own. is_gap, gap_w: kinds of time between phases, and what they draw (one
    sigma: gap_std_w) if it is about what is drawn between calls; None where it may be anything.
    """

    limit_w: float
    is_slope: NDArray[np.bool_]
    lag_std_s: float
    offset_std_s: float
    ramp_std_s: float
    jitter_std_s: Floats
    is_gap: NDArray[np.bool_]
    gap_w: float | None
    gap_std_w: float = 0.0

    @property
    def mean(self) -> Floats:
        powers_w = np.where(self.is_slope, 0.0, self.limit_w / 2)
        if self.gap_w is not None:
            powers_w = np.where(self.is_gap, self.gap_w, powers_w)
        return np.concatenate([powers_w, np.zeros(2 + len(self.jitter_std_s))])

    @property
    def precision(self) -> Floats:
        powers_w = np.where(self.is_slope, SLOPE_STD_FRACTION * self.limit_w, self.limit_w)
        if self.gap_w is not None:
            powers_w = np.where(self.is_gap, self.gap_std_w, powers_w)
        offset_s = np.hypot(self.offset_std_s, self.jitter_std_s)
        return np.concatenate([powers_w, [self.lag_std_s], offset_s, [self.ramp_std_s]]) ** -2.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What the covariance follows from: lag_s, spread_w (one sigma by kind), and how unsure boundaries are."""

    lag_s: float
    spread_w: Floats
    unsure: Unsure = SHARP


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the clusters say of theta: the sums of G' V^-1 G, G' V^-1 y and y' V^-1 y, and of log |V|."""

    precision: Floats
    moment: Floats
    squares: float
    log_determinant: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Theta: its mean and precision, and the logarithm of the marginal likelihood."""

    mean: Floats
    precision: Floats
    log_likelihood: float


@dataclass(frozen=True, slots=True)
class Sums:
    """Joules of each row summed over calls, given theta: constant_j + per_unknown theta, with a covariance.

    moved_j: to be added to per_unknown where offsets of boundaries are the marks', not the power's.
    """

    constant_j: Floats
    per_unknown: Floats
    moved_j: Floats
    covariance_j2: Floats


@dataclass(frozen=True, slots=True)
class Shown:
    """What the rows of one array of clusters show at one lag and jitter.

    of_segments (J, M, S), of_kinds (J, M, kinds): of a watt.
    of_boundaries (J, M, B): of a watt-second at each boundary. bent_s2 (J, M + 1, B): variance of what is not linear
    in what a boundary is off, of the cluster's first tick and of each row. is_offset (J, B, offsets): 1 where of that
    kind.
    """

    of_segments: Floats
    of_kinds: Floats
    of_boundaries: Floats
    bent_s2: Floats
    is_offset: Floats


@dataclass(frozen=True, slots=True)
class Model:
    """A chain, the usual powers (at boundaries), and a weight of each cluster: 1 where it fits, less where not.

    noise: the variance of what is read, in those that are stated of it.
    jitters, shown: what was found of the chain's clusters, by number and unsureness, and by lag too; neither
    hangs on powers or weights.
    """

    chain: Chain
    power_w: Floats
    weights: tuple[Floats, ...]
    noise: float = 1.0
    jitters: dict[tuple[int, Unsure], Jitter] = field(default_factory=dict[tuple[int, Unsure], Jitter])
    shown: dict[tuple[int, Unsure, float], Shown] = field(default_factory=dict[tuple[int, Unsure, float], Shown])

    @property
    def unknowns(self) -> int:
        """How long theta is."""
        return self.chain.kinds + 1 + self.chain.offsets + 1

    def solved(self, setting: Setting) -> list[Solved]:
        """All clusters at a setting, for both evidence and sums."""
        return [_solved(self, number, weight, setting) for number, weight in enumerate(self.weights)]

    def evidence(self, setting: Setting, known: Sequence[Solved] = ()) -> Evidence:
        """What all clusters say of theta."""
        size = self.unknowns
        precision, moment = np.zeros((size, size)), np.zeros(size)
        squares = log_determinant = 0.0
        for solved in known or self.solved(setting):
            rows: Floats = np.reshape(solved.white_design, (-1, size))
            values: Floats = np.ravel(solved.white_values)
            precision += np.transpose(rows) @ rows
            moment += values @ rows
            squares += float(values @ values)
            log_determinant += 2.0 * float(np.sum(np.log(np.diagonal(solved.factor, axis1=1, axis2=2))))
            log_determinant -= 2.0 * solved.jitter.log_likelihood
        return Evidence(precision, moment, squares, log_determinant)

    def misfits(self, setting: Setting, mean: Floats) -> list[Floats]:
        """For each cluster, the squared distance of what was read from what theta says, in sigmas."""
        solved = self.solved(setting)
        return [np.sum((each.white_values - each.white_design @ mean) ** 2, axis=1) for each in solved]

    def sums(self, setting: Setting, known: Sequence[Solved] = ()) -> Sums:
        """Joules of each row of the calls that ran, as they follow from theta and the readings."""
        rows, size = len(self.chain.counted_j), self.unknowns
        constant_j: Floats = np.array(self.chain.counted_j, dtype=np.float64)
        per_unknown, moved_j, covariance_j2 = np.zeros((rows, size)), np.zeros((rows, size)), np.zeros((rows, rows))
        for (clusters, weight), solved in zip(self._parts(), known or self.solved(setting)):
            parts = _parts_of(self, clusters, weight, setting, solved)
            with_values = parts.covariance(clusters, solved)
            white: Floats = np.asarray(np.linalg.solve(solved.factor, np.swapaxes(with_values, 1, 2)), np.float64)
            flat: Floats = np.reshape(white, (-1, rows))
            constant_j += np.ravel(solved.white_values) @ flat
            per_unknown[:, : self.chain.kinds] += parts.per_kind(clusters, self.chain.kinds)
            per_unknown -= np.transpose(flat) @ np.reshape(solved.white_design, (-1, size))
            moved_j[:, self.chain.kinds + 1 :] += parts.per_offset(solved)
            covariance_j2 += parts.variance(solved) - np.transpose(flat) @ flat
        return Sums(constant_j, per_unknown, moved_j, covariance_j2)

    def jitter(self, number: int, unsure: Unsure) -> Jitter:
        """How much the boundaries of one array of clusters are off, looked up where it was asked before."""
        found = self.jitters.get((number, unsure))
        if found is None:
            found = self.jitters[number, unsure] = jitter_of(self.chain.clusters[number], unsure)
        return found

    def show(self, number: int, unsure: Unsure, lag_s: float) -> Shown:
        """What the rows of one array of clusters show; the last MOST_SHOWN are kept."""
        found = self.shown.get((number, unsure, lag_s))
        if found is None:
            while len(self.shown) >= MOST_SHOWN:
                del self.shown[next(iter(self.shown))]
            found = self.shown[number, unsure, lag_s] = _shown(self.chain, self.jitter(number, unsure), lag_s)
        return found

    def _parts(self) -> Iterator[tuple[Clusters, Floats]]:
        return zip(self.chain.clusters, self.weights)


@dataclass(frozen=True, slots=True)
class Priors:
    """Several priors side by side, and what each posterior needs of them: one row each.

    precision is one diagonal matrix each; moment = mean x precision; squares = mean' precision mean.
    """

    precision: Floats
    moment: Floats
    squares: Floats
    log_determinant: Floats


def priors_of(each: Sequence[Prior]) -> Priors:
    """Several priors side by side."""
    precision = np.stack([prior.precision for prior in each])
    mean = np.stack([prior.mean for prior in each])
    return Priors(
        np.eye(precision.shape[1]) * precision[:, None, :],
        mean * precision,
        np.asarray(np.sum(mean**2 * precision, axis=1), np.float64),
        np.asarray(np.sum(np.log(precision), axis=1), np.float64),
    )


def posterior(evidence: Evidence, prior: Prior) -> Fit:
    """Theta given what the clusters say of it and its prior."""
    return posteriors(evidence, priors_of([prior]))[0]


def posteriors(evidence: Evidence, priors: Priors) -> list[Fit]:
    """Theta given what the clusters say of it, with each of several priors."""
    precision = evidence.precision + priors.precision
    moment = evidence.moment + priors.moment
    mean = np.asarray(np.linalg.solve(precision, moment[:, :, None]), np.float64)[:, :, 0]
    squares = evidence.squares + priors.squares - np.sum(moment * mean, axis=1)
    of_precision = np.linalg.slogdet(precision)[1] - priors.log_determinant
    log_likelihood = -0.5 * (evidence.log_determinant + of_precision + squares)
    return [Fit(mean[each], precision[each], float(log_likelihood[each])) for each in range(len(precision))]


@dataclass(frozen=True, slots=True)
class Solved:
    """One array of clusters at one setting.

    of_offsets (J, B, offsets + 1): how late each boundary is for a second of each offset, and of ramps (rises later,
    falls earlier). effects (J, M, S + B): A and D times the root of delta's covariance, side by side, with variances
    (J, S + B); G and y whitened by the Cholesky factor of V.
    """

    jitter: Jitter
    of_offsets: Floats
    effects: Floats
    variances: Floats
    white_design: Floats
    white_values: Floats
    factor: Floats


def _over_s(jitter: Jitter) -> Floats | float:
    return LEAST_OVER_S if jitter.blur is None else np.maximum(jitter.blur.start_s, LEAST_OVER_S)


def _shown(chain: Chain, jitter: Jitter, lag_s: float) -> Shown:
    clusters, boundary = jitter.clusters, jitter.boundary
    seen = clusters.weights(lag_s, jitter.blur)
    at = clusters.at_boundaries(lag_s, _over_s(jitter))[:, :, boundary]
    is_offset = clusters.segments.offset[:, boundary, None] == np.arange(chain.offsets)
    of_kinds = np.asarray(seen @ clusters.is_kind(chain.kinds), np.float64)
    bent_s2 = clusters.bent_s2(lag_s, jitter.blur)[:, :, boundary]
    return Shown(seen, of_kinds, at, bent_s2, np.asarray(is_offset, np.float64))


def _solved(model: Model, number: int, weight: Floats, setting: Setting) -> Solved:
    clusters = model.chain.clusters[number]
    own = clusters.segments
    jitter = model.jitter(number, setting.unsure)
    shown = model.show(number, setting.unsure, setting.lag_s)
    left_w, right_w = _powers_beside(model, clusters, jitter.boundary)
    at = shown.of_boundaries * (left_w - right_w)[:, None, :]
    effects = np.concatenate([shown.of_segments, at @ jitter.root_s], axis=2)
    variances = np.concatenate([setting.spread_w[own.kind] ** 2, np.ones(at[:, 0].shape)], axis=1) / weight[:, None]
    covariance = (effects * variances[:, None, :]) @ np.swapaxes(effects, 1, 2)
    both = clusters.counted[:, :, None] * clusters.counted[:, None, :]
    bent_j2 = (shown.bent_s2 @ ((left_w - right_w) ** 2)[:, :, None])[:, :, 0]
    covariance += both * ((model.noise * clusters.shared_noise + bent_j2[:, 0]) / weight)[:, None, None]
    own_j2 = model.noise * clusters.own_noise + bent_j2[:, 1:]
    noise = np.where(clusters.real, own_j2 / weight[:, None], 1.0)
    covariance += noise[:, :, None] * np.eye(noise.shape[1])
    factor = np.asarray(np.linalg.cholesky(covariance), np.float64)
    values = (clusters.values * clusters.real)[:, :, None]
    of_offsets = np.concatenate([shown.is_offset, np.sign(right_w - left_w)[:, :, None]], axis=2)
    columns = [shown.of_kinds, np.sum(at, axis=2, keepdims=True), at @ of_offsets, values]
    white: Floats = np.asarray(np.linalg.solve(factor, np.concatenate(columns, axis=2)), np.float64)
    return Solved(jitter, of_offsets, effects, variances, white[:, :, :-1], white[:, :, -1], factor)


def _powers_beside(model: Model, clusters: Clusters, boundary: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Usual powers before and after each boundary, (J, B) each."""
    own = clusters.segments
    left = np.take_along_axis(own.kind, np.maximum(own.before[:, boundary], 0), axis=1)
    return model.power_w[left], model.power_w[own.kind[:, boundary]]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What rows are made of, for one array of clusters.

    of_effects (J, S + B, rows): joules of each row for a unit of each effect. of_boundaries (J, B, rows): for each
    second of delta. first, last (J, rows): 1 where a counted body ends at the first, begins at the last reading, and
    the variances of these.
    """

    of_effects: Floats
    of_boundaries: Floats
    first: Floats
    last: Floats
    first_j2: Floats
    last_j2: Floats
    is_last: Floats

    def covariance(self, clusters: Clusters, solved: Solved) -> Floats:
        """Of the joules of rows with the values, (J, rows, M)."""
        spread = np.swapaxes(self.of_effects * solved.variances[:, :, None], 1, 2)
        known: Floats = spread @ np.swapaxes(solved.effects, 1, 2)
        known += (self.first * self.first_j2[:, None])[:, :, None] * clusters.counted[:, None, :]
        known += (self.last * self.last_j2[:, None])[:, :, None] * self.is_last[:, None, :]
        return known

    def variance(self, solved: Solved) -> Floats:
        """Of the joules of rows before anything was read, (rows, rows)."""
        rows = self.first.shape[1]
        spread: Floats = np.reshape(self.of_effects * solved.variances[:, :, None], (-1, rows))
        found = np.transpose(spread) @ np.reshape(self.of_effects, (-1, rows))
        found += np.transpose(self.first * self.first_j2[:, None]) @ self.first
        return np.asarray(found + np.transpose(self.last * self.last_j2[:, None]) @ self.last, np.float64)

    def per_kind(self, clusters: Clusters, kinds: int) -> Floats:
        """Joules of rows for each watt of each kind, (rows, kinds)."""
        rows, columns = self.first.shape[1], clusters.segments.kind.shape[1]
        of_segments: Floats = np.reshape(self.of_effects[:, :columns], (-1, rows))
        return np.asarray(np.transpose(of_segments) @ np.reshape(clusters.is_kind(kinds), (-1, kinds)), np.float64)

    def per_offset(self, solved: Solved) -> Floats:
        """Joules of rows for each second of each offset and of ramps, (rows, offsets + 1)."""
        of_boundaries: Floats = np.reshape(self.of_boundaries, (-1, self.first.shape[1]))
        of_offsets: Floats = np.reshape(solved.of_offsets, (-1, solved.of_offsets.shape[2]))
        return np.asarray(np.transpose(of_boundaries) @ of_offsets, np.float64)


def _parts_of(model: Model, clusters: Clusters, weight: Floats, setting: Setting, solved: Solved) -> _Parts:
    own, rows = clusters.segments, np.arange(len(model.chain.counted_j))
    row = model.chain.rows_of(own)
    moved, boundary = solved.jitter.clusters, solved.jitter.boundary
    of_segments = (row[:, :, None] == rows) * moved.seconds(setting.lag_s)[:, :, None]
    share = moved.share_of_boundaries(setting.lag_s, _over_s(solved.jitter))[:, boundary]
    left_w, right_w = _powers_beside(model, clusters, boundary)
    left_row = np.take_along_axis(row, np.maximum(own.before[:, boundary], 0), axis=1)
    right_row = row[:, boundary]
    of_boundaries = (left_row[:, :, None] == rows) * (share * left_w)[:, :, None]
    of_boundaries = of_boundaries - (right_row[:, :, None] == rows) * (share * right_w)[:, :, None]
    real_rows = np.sum(clusters.counted, axis=1)
    every = np.asarray(np.arange(clusters.real.shape[1]), np.int64)
    is_last = every == real_rows[:, None] - 1
    last_noise = clusters.own_noise[np.arange(len(clusters)), real_rows - 1]
    of_jitter: Floats = np.swapaxes(solved.jitter.root_s, 1, 2) @ of_boundaries
    return _Parts(
        np.asarray(np.concatenate([of_segments, of_jitter], axis=1), np.float64),
        np.asarray(of_boundaries, np.float64),
        np.asarray(clusters.first_row[:, None] == rows, np.float64),
        np.asarray(clusters.last_row[:, None] == rows, np.float64),
        model.noise * clusters.shared_noise / weight,
        model.noise * last_noise / weight,
        np.asarray(is_last, np.float64),
    )

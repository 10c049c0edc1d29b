"""The linear mixed model of several calls: mean powers by kind, and how each segment differs from its kind's.

For a cluster with joules y above its first tick, A the seconds of each segment before each tick, and X its kinds,

    y = A (X mu + b) + n0 - n,    b ~ N(0, spread^2),    n ~ N(0, noise),

so y ~ N(A X mu, V) with V = A spread^2 A' + noise + noise0. Given V, mu is a least-squares problem; b and n given mu
and y are normal as well. The joules of a part of the calls that ran are sums of A (X mu + b) and of counted bodies,
moved by the noise at the bodies' ends: normal given mu, with a mean that is linear in mu.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import Chain, Clusters

SLOPE_STD_FRACTION = 0.05
"""One sigma of slopes, in largest powers over SLOPE_S: 35 W in 100 ms on a board of 700 W."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Powers lie in [0, limit_w]; before that cut their prior is a wide normal, all but flat between the ends.

    is_slope: the kinds that are slopes; these are around 0.
    """

    limit_w: float
    is_slope: NDArray[np.bool_]

    @property
    def mean_w(self) -> Floats:
        return np.where(self.is_slope, 0.0, self.limit_w / 2)

    @property
    def precision(self) -> Floats:
        return np.where(self.is_slope, SLOPE_STD_FRACTION * self.limit_w, self.limit_w) ** -2.0


@dataclass(frozen=True, slots=True)
class Fit:
    """Mean powers given lag and spread: their mean and precision, and the logarithm of the marginal likelihood."""

    mean_w: Floats
    precision: Floats
    log_likelihood: float


@dataclass(frozen=True, slots=True)
class Sums:
    """Joules of each row summed over calls, given mean powers mu: constant_j + per_w mu, with a covariance."""

    constant_j: Floats
    per_w: Floats
    covariance_j2: Floats


@dataclass(frozen=True, slots=True)
class _Solved:
    """One array of clusters at one lag and spread: A, and A X and y whitened by the Cholesky factor of V."""

    seen: Floats
    spread_w2: Floats
    white_design: Floats
    white_joules: Floats
    factor: Floats
    log_determinant: float


def fit(chain: Chain, weights: tuple[Floats, ...], lag_s: float, spread_w: Floats, prior: Prior) -> Fit:
    """Mean powers and marginal likelihood. weights: of each cluster, 1 where it fits, less where it does not."""
    precision: Floats = np.eye(chain.kinds) * prior.precision
    moment: Floats = prior.mean_w * prior.precision
    squares = float(moment @ prior.mean_w)
    log_determinant = -float(np.sum(np.log(prior.precision)))
    for clusters, weight in zip(chain.clusters, weights):
        solved = _solved(clusters, weight, lag_s, spread_w, chain.kinds)
        rows: Floats = np.reshape(solved.white_design, (-1, chain.kinds))
        joules: Floats = np.ravel(solved.white_joules)
        precision = precision + np.transpose(rows) @ rows
        moment = moment + joules @ rows
        squares += float(joules @ joules)
        log_determinant += solved.log_determinant
    mean_w: Floats = np.asarray(np.linalg.solve(precision, moment), np.float64)
    _, of_precision = np.linalg.slogdet(precision)
    log_likelihood = -0.5 * (log_determinant + of_precision + squares - float(moment @ mean_w))
    return Fit(mean_w, precision, log_likelihood)


def misfits(chain: Chain, weights: tuple[Floats, ...], lag_s: float, spread_w: Floats, mean_w: Floats) -> list[Floats]:
    """For each cluster, the squared distance of what was counted from what the mean powers say, in sigmas."""
    found: list[Floats] = []
    for clusters, weight in zip(chain.clusters, weights):
        solved = _solved(clusters, weight, lag_s, spread_w, chain.kinds)
        found.append(np.sum((solved.white_joules - solved.white_design @ mean_w) ** 2, axis=1))
    return found


def sums(chain: Chain, weights: tuple[Floats, ...], lag_s: float, spread_w: Floats) -> Sums:
    """Joules of each row of the calls that ran, as they follow from the mean powers and the counter."""
    rows = len(chain.counted_j)
    constant_j: Floats = np.array(chain.counted_j, dtype=np.float64)
    covariance_j2: Floats = np.zeros((rows, rows))
    per_w: Floats = np.zeros((rows, chain.kinds))
    for clusters, weight in zip(chain.clusters, weights):
        solved = _solved(clusters, weight, lag_s, spread_w, chain.kinds)
        is_row = clusters.segments.row[:, :, None] == np.arange(rows)
        of_row = np.asarray(is_row * clusters.seconds(lag_s)[:, :, None], np.float64)
        per_w += np.einsum("jsr,jsk->rk", of_row, clusters.is_kind(chain.kinds), optimize=True)
        first = (clusters.first_row[:, None] == np.arange(rows)) / weight[:, None] ** 0.5
        last = (clusters.last_row[:, None] == np.arange(rows)) / weight[:, None] ** 0.5
        first_j2, last_j2 = clusters.shared_noise, _last_noise_j2(clusters)
        known = np.einsum("jsr,js,jms->jrm", of_row, solved.spread_w2, solved.seen, optimize=True)
        scale = weight[:, None, None] ** -0.5
        known += scale * (first * first_j2[:, None])[:, :, None] * clusters.real[:, None, :]
        known += scale * (last * last_j2[:, None])[:, :, None] * _is_last(clusters)[:, None, :]
        white: Floats = np.asarray(np.linalg.solve(solved.factor, np.swapaxes(known, 1, 2)), np.float64)
        constant_j += np.einsum("jmr,jm->r", white, solved.white_joules)
        per_w -= np.einsum("jmr,jmk->rk", white, solved.white_design, optimize=True)
        covariance_j2 += np.einsum("jsr,js,jsq->rq", of_row, solved.spread_w2, of_row, optimize=True)
        covariance_j2 += np.einsum("jr,j,jq->rq", first, first_j2, first)
        covariance_j2 += np.einsum("jr,j,jq->rq", last, last_j2, last)
        covariance_j2 -= np.einsum("jmr,jmq->rq", white, white, optimize=True)
    return Sums(constant_j, per_w, covariance_j2)


def _is_last(clusters: Clusters) -> Floats:
    """1 in each cluster's last row that is a tick."""
    rows = clusters.real.shape[1]
    return np.asarray(np.arange(rows) == np.sum(clusters.real, axis=1)[:, None] - 1, np.float64)


def _last_noise_j2(clusters: Clusters) -> Floats:
    return np.asarray(np.sum(clusters.own_noise * _is_last(clusters), axis=1), np.float64)


def _solved(clusters: Clusters, weight: Floats, lag_s: float, spread_w: Floats, kinds: int) -> _Solved:
    seen = clusters.weights(lag_s)
    spread_w2 = np.asarray(spread_w[clusters.segments.kind] ** 2 / weight[:, None], np.float64)
    covariance = (seen * spread_w2[:, None, :]) @ np.swapaxes(seen, 1, 2)
    both = clusters.real[:, :, None] * clusters.real[:, None, :]
    covariance += both * (clusters.shared_noise / weight)[:, None, None]
    own = np.where(clusters.real, clusters.own_noise / weight[:, None], 1.0)
    covariance += own[:, :, None] * np.eye(own.shape[1])
    factor = np.linalg.cholesky(covariance)
    design = seen @ clusters.is_kind(kinds)
    values = (clusters.values * clusters.real)[:, :, None]
    white: Floats = np.asarray(np.linalg.solve(factor, np.concatenate([design, values], axis=2)), np.float64)
    log_determinant = 2.0 * float(np.sum(np.log(np.diagonal(factor, axis1=1, axis2=2))))
    return _Solved(seen, spread_w2, white[:, :, :-1], white[:, :, -1], np.asarray(factor, np.float64), log_determinant)

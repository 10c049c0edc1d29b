"""Joules of the calls that ran from several calls together: joint draws, and what they rest on.

Lag (a shift common to all marks against the sensor) and variation (how much powers differ from segment to segment of
one kind) are not known. Both lie on a grid that is refined where the marginal likelihood is large; draws take a pair by
its weight, then mean powers, then joules of each part given these. Draws with powers outside of [0, limit] are
dropped. Clusters that do not fit (a preempted call) count with less weight, once the others have set the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.clusters import LARGEST_LAG_S
from wattvlm.attribution.mixed import Fit, Prior, Sums, fit, misfits, sums
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import Chain
from wattvlm.energy import DRAWS

VARIATIONS = (0.002, 0.006, 0.012, 0.02, 0.03, 0.045, 0.07, 0.11, 0.17, 0.3)
"""One sigma of powers from call to call, as fractions."""

IDLE_VARIATIONS = (0.01, 0.05, 0.2)
"""The same for the time between phases and outside of calls, which varies for reasons of its own."""

FIRST = (0.045, 0.05)
COARSE_LAGS = 11
FINE_LAGS = 9
MOST_LIKELY = 12
"""So many variations at most are taken with every lag: those of the largest likelihood."""

MOST_REFINEMENTS = 4
WORTH_KEEPING = 6.0
"""Settings whose log likelihood is lower than the best by more than this have no weight that counts."""

MOST_CLUSTERS_SEARCHED = 128
"""Lag and variation are taken from this many clusters, spread over the recording; more would only cost time."""

MOST_SETTINGS = 16
FIRST_CANDIDATES = 4 * DRAWS
FEWEST_ACCEPTED = 1 / 250
"""Where fewer drawn powers than this lie within the limits, the readings say next to nothing of them."""

UNUSUAL_SIGMAS = 3.0

Variation = tuple[float, float]
"""One sigma of powers as fractions: inside phases, and where nothing runs."""

Setting = tuple[float, Variation]
"""A lag in seconds and a variation."""


@dataclass(frozen=True, slots=True)
class PooledDraws:
    """Joules summed over calls, (DRAWS, rows), with the lag in seconds and the variation of powers they rest on."""

    joules: Floats
    lag_s: float
    variation_fraction: float


@dataclass(frozen=True, slots=True)
class _Model:
    """A chain with what is known of its powers. usual_w: of each kind; idle: which kinds are no phase's."""

    chain: Chain
    prior: Prior
    idle: NDArray[np.bool_]
    usual_w: Floats
    weights: tuple[Floats, ...]

    def spread_w(self, variation: Variation) -> Floats:
        fraction = np.where(self.chain.is_slope, 0.0, np.where(self.idle, variation[1], variation[0]))
        return np.asarray(fraction * self.usual_w, np.float64)

    def fit(self, lag_s: float, variation: Variation) -> Fit:
        return fit(self.chain, self.weights, lag_s, self.spread_w(variation), self.prior)

    def sums(self, lag_s: float, variation: Variation) -> Sums:
        return sums(self.chain, self.weights, lag_s, self.spread_w(variation))

    def likelihoods(self, lags: Floats, variation: Variation) -> Floats:
        return np.array([self.fit(float(lag), variation).log_likelihood for lag in lags])

    def with_usual_w(self, mean_w: Floats) -> _Model:
        """The same with powers that were found, none so small that it could not vary."""
        least_w = 0.2 * self.chain.mean_w
        return replace(self, usual_w=np.minimum(np.maximum(mean_w, least_w), self.prior.limit_w))


def pooled_draws(chain: Chain, limit_w: float, idle_rows: Sequence[int], seed: int) -> PooledDraws | None:
    """Joint draws of each row's joules summed over calls; None where what was counted says too little of them.

    idle_rows: rows of time in which no phase runs.
    """
    chance = np.random.default_rng(seed)
    idle = np.isin(chain.of_row, [-1, *idle_rows])
    ones = tuple(np.ones(len(own)) for own in chain.clusters)
    model = _Model(chain, Prior(limit_w, chain.is_slope), idle, np.full(chain.kinds, chain.mean_w), ones)
    searched, lag_s, variation = _tuned(_thinned(model))
    settings, weights = _settings(searched, lag_s, variation)
    if _is_at_an_end(settings, weights):
        return None
    model = replace(model, usual_w=searched.usual_w)
    model = replace(model, weights=_weights(model, searched.fit(lag_s, variation).mean_w, lag_s, variation))
    joules = _drawn(model, settings, weights, chance)
    if joules is None:
        return None
    mean_lag_s = sum(weight * lag for weight, (lag, _) in zip(weights, settings))
    mean_variation = sum(weight * each[0] for weight, (_, each) in zip(weights, settings))
    return PooledDraws(joules, float(mean_lag_s), float(mean_variation))


def _is_at_an_end(settings: Sequence[Setting], weights: Floats) -> bool:
    """True where the marks seem to be off by more than the lags that are considered."""
    far = sum(weight for weight, (lag_s, _) in zip(weights, settings) if abs(lag_s) > 0.999 * LARGEST_LAG_S)
    return bool(far > 0.5)


def _thinned(model: _Model) -> _Model:
    """The model of at most MOST_CLUSTERS_SEARCHED clusters."""
    every = sum(map(len, model.chain.clusters)) / MOST_CLUSTERS_SEARCHED
    if every <= 1.0:
        return model
    chosen = [np.unique(np.arange(0, len(own), every).astype(np.int64)) for own in model.chain.clusters]
    clusters = tuple(own.chosen(which) for own, which in zip(model.chain.clusters, chosen))
    weights = tuple(own[which] for own, which in zip(model.weights, chosen))
    return replace(model, chain=replace(model.chain, clusters=clusters), weights=weights)


def _tuned(model: _Model) -> tuple[_Model, float, Variation]:
    """(the model with its usual powers and weights, the best lag, the best variation)."""
    model = model.with_usual_w(model.fit(0.0, FIRST).mean_w)
    lags = np.linspace(-LARGEST_LAG_S, LARGEST_LAG_S, COARSE_LAGS)
    lag_s = float(lags[np.argmax(model.likelihoods(lags, FIRST))])
    model = model.with_usual_w(model.fit(lag_s, FIRST).mean_w)
    variation = FIRST
    for _ in range(2):
        variation = _best_variation(model, lag_s, variation)
        model = replace(model, weights=_weights(model, model.fit(lag_s, variation).mean_w, lag_s, variation))
        if all(bool(np.all(own == 1.0)) for own in model.weights):
            break
    return model.with_usual_w(model.fit(lag_s, variation).mean_w), lag_s, variation


def _best_variation(model: _Model, lag_s: float, variation: Variation) -> Variation:
    """The best variation inside phases, then the best one where nothing runs, then again inside phases."""

    def likelihood(each: Variation) -> float:
        return model.fit(lag_s, each).log_likelihood

    variation = max(((own, variation[1]) for own in VARIATIONS), key=likelihood)
    variation = max(((variation[0], idle) for idle in IDLE_VARIATIONS), key=likelihood)
    return max(((own, variation[1]) for own in VARIATIONS), key=likelihood)


def _weights(model: _Model, mean_w: Floats, lag_s: float, variation: Variation) -> tuple[Floats, ...]:
    """1 for clusters that fit as well as most do; for others what brings them to the edge of the usual."""
    clusters = model.chain.clusters
    ones = tuple(np.ones(len(own)) for own in clusters)
    distances = misfits(model.chain, ones, lag_s, model.spread_w(variation), mean_w)
    rows = [np.sum(own.real, axis=1) for own in clusters]
    scale = max(float(np.median(np.concatenate([each / count for each, count in zip(distances, rows)]))), 1e-12)
    return tuple(
        np.minimum(1.0, scale * (count + UNUSUAL_SIGMAS * np.sqrt(2.0 * count)) / np.maximum(distance, 1e-12))
        for distance, count in zip(distances, rows)
    )


def _settings(model: _Model, lag_s: float, variation: Variation) -> tuple[list[Setting], Floats]:
    """The pairs of lag and variation that count, and their weights."""
    lags = _refined_lags(model, variation)
    best_lag_s = float(lags[np.argmax(model.likelihoods(lags, variation))])
    everywhere = list(product(VARIATIONS, IDLE_VARIATIONS))
    likelihoods = np.array([model.fit(best_lag_s, each).log_likelihood for each in everywhere])
    least = max(np.sort(likelihoods)[-MOST_LIKELY], np.max(likelihoods) - WORTH_KEEPING)
    kept = [each for each, found in zip(everywhere, likelihoods) if found >= least]
    settings: list[Setting] = [(float(lag), each) for lag in lags for each in kept]
    found = np.array([model.fit(*setting).log_likelihood for setting in settings])
    weights = np.exp(found - np.max(found))
    return settings, weights / np.sum(weights)


def _refined_lags(model: _Model, variation: Variation) -> Floats:
    """Evenly spaced lags over the stretch that counts, at least four of them within it."""
    lags = np.linspace(-LARGEST_LAG_S, LARGEST_LAG_S, COARSE_LAGS)
    for _ in range(MOST_REFINEMENTS):
        likelihoods = model.likelihoods(lags, variation)
        counts = np.flatnonzero(likelihoods > np.max(likelihoods) - WORTH_KEEPING)
        low, high = max(counts[0] - 1, 0), min(counts[-1] + 1, len(lags) - 1)
        lags = np.linspace(lags[low], lags[high], FINE_LAGS)
        if len(counts) >= 4:
            break
    return np.asarray(lags, np.float64)


def _drawn(model: _Model, settings: Sequence[Setting], weights: Floats, chance: np.random.Generator) -> Floats | None:
    """DRAWS rows of joules whose powers all lie between 0 and the limit; None where hardly any does."""
    chosen, counts = np.unique(chance.choice(len(settings), size=MOST_SETTINGS, p=weights), return_counts=True)
    shares = counts / MOST_SETTINGS
    if len(settings) <= MOST_SETTINGS:
        chosen, shares = np.arange(len(settings)), weights
    used = [settings[int(index)] for index in chosen]
    solved = [(model.fit(*setting), model.sums(*setting)) for setting in used]
    for candidates in (FIRST_CANDIDATES, round(DRAWS / FEWEST_ACCEPTED)):
        wanted = chance.multinomial(candidates, shares)
        accepted = [
            _candidates(fitted, summed, int(count), model.prior, chance)
            for (fitted, summed), count in zip(solved, wanted)
        ]
        draws = np.concatenate(accepted)
        if len(draws) >= DRAWS:
            return np.asarray(draws[chance.permutation(len(draws))[:DRAWS]], np.float64)
    return None


def _candidates(fitted: Fit, summed: Sums, count: int, prior: Prior, chance: np.random.Generator) -> Floats:
    """Joules of rows for as many drawn mean powers as lie within the limits."""
    factor: Floats = np.transpose(np.asarray(np.linalg.cholesky(fitted.precision), np.float64))
    noise: Floats = chance.standard_normal((len(fitted.mean_w), count))
    mean_w: Floats = fitted.mean_w + np.transpose(np.asarray(np.linalg.solve(factor, noise), np.float64))
    mean_w = mean_w[np.all(((mean_w >= 0.0) & (mean_w <= prior.limit_w)) | prior.is_slope, axis=1)]
    values, vectors = np.linalg.eigh(summed.covariance_j2)
    root: Floats = np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), np.float64)
    noise = chance.standard_normal((len(mean_w), len(root)))
    return np.asarray(summed.constant_j + mean_w @ np.transpose(summed.per_w) + noise @ np.transpose(root), np.float64)

"""Joules of the calls that ran from several calls together: joint draws, and what they rest on.

Draws take a setting (see `settings`) by its weight, then mean powers, what remains of the lag and the offsets of
boundaries, then joules of each part given these. Draws with powers outside of [0, limit] or a lag beyond LARGEST_LAG_S
are dropped. Clusters that do not fit (a preempted call) count with less weight, once the others have set the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

import numpy as np

from wattvlm.attribution.clusters import LARGEST_LAG_S
from wattvlm.attribution.mixed import Fit, Model, Prior, Sums, posterior
from wattvlm.attribution.settings import IDLE_VARIATIONS, Choice, Search, misfit_weights, search
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import Chain
from wattvlm.energy import DRAWS

MOST_SETTINGS = 16
MOST_CLUSTERS_SOLVED = 8_192
"""So many clusters at most are solved over all drawn settings: with more clusters, settings differ by less."""

FEWEST_SETTINGS = 4
FIRST_CANDIDATES = 4 * DRAWS
FEWEST_ACCEPTED = 1 / 250
"""Where fewer drawn powers than this lie within the limits, the readings say next to nothing of them."""


@dataclass(frozen=True, slots=True)
class PooledDraws:
    """Joules summed over calls, (DRAWS, rows), and means of what they rest on.

    outside_j (DRAWS,): of the time between calls; None where it was not asked for, varies by
    more than is tried, or was not seen throughout.
    lag_s: of the marks against the sensor. variation_fraction: of powers from call to call. jitter_s, offset_s: one
    sigma of each boundary, and of each kind of boundary in all calls.
    """

    joules: Floats
    outside_j: Floats | None
    lag_s: float
    variation_fraction: float
    jitter_s: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One setting, solved with all clusters."""

    choice: Choice
    fit: Fit
    sums: Sums
    prior: Prior


def pooled_draws(chain: Chain, limit_w: float, idle_rows: Sequence[int], seed: int) -> PooledDraws | None:
    """Joint draws of each row's joules summed over calls; None where what was read says too little of them.

    idle_rows: rows of time in which no phase runs.
    """
    chance = np.random.default_rng(seed)
    idle = np.isin(chain.of_row, [-1, *idle_rows])
    ones = tuple(np.ones(len(own)) for own in chain.clusters)
    model = Model(chain, np.full(chain.kinds, chain.mean_w), ones)
    found, choices = search(model, limit_w, idle)
    drawn = _solved(model, found, _picked(choices, chain, chance))
    shares = np.array([exp(each.choice.log_weight) for each in drawn])
    shares = shares / np.sum(shares)
    lags: Floats = np.array([each.choice.lag_s + float(each.fit.mean[chain.kinds]) for each in drawn])
    if float(np.sum(shares[np.abs(lags) > 0.999 * LARGEST_LAG_S])) > 0.5:
        return None
    joules = _drawn(drawn, shares, chain.kinds, chance)
    if joules is None:
        return None
    variation = sum(exp(each.log_weight) * each.variation_fraction for each in choices)
    jitter_s = sum(exp(each.log_weight) * each.jitter_s for each in choices)
    offset_s = sum(exp(each.log_weight) * each.offset_std_s for each in choices)
    steady = sum(exp(each.log_weight) for each in choices if each.place[1] < len(IDLE_VARIATIONS) - 1) > 0.5
    outside_j = joules[:, -1] if chain.outside >= 0 and steady else None
    joules = joules if chain.outside < 0 else joules[:, :-1]
    return PooledDraws(joules, outside_j, float(shares @ lags), variation, jitter_s, offset_s)


def _picked(choices: Sequence[Choice], chain: Chain, chance: np.random.Generator) -> list[Choice]:
    """At most as many settings as can be solved, taken evenly by weight; each then stands for the same share."""
    clusters = sum(map(len, chain.clusters))
    most = min(MOST_SETTINGS, max(FEWEST_SETTINGS, MOST_CLUSTERS_SOLVED // max(clusters, 1)))
    if len(choices) <= most:
        return list(choices)
    ends: Floats = np.cumsum(np.array([exp(choice.log_weight) for choice in choices], np.float64))
    at: Floats = np.asarray((np.arange(most) + chance.random()) / most * float(ends[-1]), np.float64)
    picked, counts = np.unique(np.minimum(np.searchsorted(ends, at), len(choices) - 1), return_counts=True)
    return [
        replace(own, log_weight=float(np.log(count / most)))
        for own, count in ((choices[int(index)], int(count)) for index, count in zip(picked, counts))
    ]


def _solved(model: Model, found: Search, choices: Sequence[Choice]) -> list[_Drawn]:
    """The settings solved with all clusters; these get their weights at the likeliest of the settings."""
    best = max(choices, key=lambda choice: choice.log_weight)
    model = replace(found.model, chain=model.chain, weights=model.weights, jitters={}, shown={})
    fitted = found.fit(best.lag_s, best.place)
    every = found.with_model(model)
    weights = misfit_weights(model, every.setting(best.lag_s, best.place), fitted.mean)
    every = found.with_model(replace(model, weights=weights))
    drawn: list[_Drawn] = []
    sums: dict[tuple[float, tuple[int, int, int]], Sums] = {}
    for choice in choices:
        key = choice.lag_s, choice.place
        if key not in sums:
            solved = every.model.solved(every.setting(*key))
            sums[key] = every.model.sums(every.setting(*key), solved)
            every.seen[key] = every.model.evidence(every.setting(*key), solved)
        prior = every.prior(choice.place, choice.offset, choice.gap)
        drawn.append(_Drawn(choice, posterior(every.evidence(*key), prior), sums[key], prior))
    return drawn


def _drawn(drawn: Sequence[_Drawn], shares: Floats, kinds: int, chance: np.random.Generator) -> Floats | None:
    """DRAWS rows of joules whose powers all lie between 0 and the limit; None where hardly any does."""
    for candidates in (FIRST_CANDIDATES, round(DRAWS / FEWEST_ACCEPTED)):
        wanted = chance.multinomial(candidates, shares)
        joules = np.concatenate([_candidates(each, int(count), kinds, chance) for each, count in zip(drawn, wanted)])
        if len(joules) >= DRAWS:
            return np.asarray(joules[chance.permutation(len(joules))[:DRAWS]], np.float64)
    return None


def _candidates(drawn: _Drawn, count: int, kinds: int, chance: np.random.Generator) -> Floats:
    """Joules of rows for as many drawn thetas as lie within the limits.

    Whether an offset of a kind of boundary is the mark's (and moves joules) or the power's (which follows the mark
    late) cannot be read from any sensor: each is taken in half of the draws. What the mean of all boundaries of a kind
    is off because each of them is, is the marks' in all draws.
    """
    fit, sums, prior = drawn.fit, drawn.sums, drawn.prior
    factor: Floats = np.transpose(np.asarray(np.linalg.cholesky(fit.precision), np.float64))
    noise: Floats = chance.standard_normal((len(fit.mean), count))
    theta: Floats = fit.mean + np.transpose(np.asarray(np.linalg.solve(factor, noise), np.float64))
    powers_w, remains_s = theta[:, :kinds], theta[:, kinds]
    possible = np.all(((powers_w >= 0.0) & (powers_w <= prior.limit_w)) | prior.is_slope, axis=1)
    theta = theta[possible & (np.abs(drawn.choice.lag_s + remains_s) <= LARGEST_LAG_S)]
    values, vectors = np.linalg.eigh(sums.covariance_j2)
    root: Floats = np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), np.float64)
    noise = chance.standard_normal((len(theta), len(root)))
    offset_s2 = np.append(np.full(len(prior.jitter_std_s), prior.offset_std_s**2), 0.0)
    jitter_s2 = np.append(prior.jitter_std_s**2, prior.ramp_std_s**2)
    of_marks = jitter_s2 / (offset_s2 + jitter_s2)
    split_s = np.sqrt(of_marks * offset_s2) * chance.standard_normal((len(theta), len(of_marks)))
    marks_s = of_marks * theta[:, kinds + 1 :] + split_s
    is_marks = chance.random((len(theta), 1)) < 0.5
    moved_j = np.where(is_marks, theta[:, kinds + 1 :], marks_s) @ np.transpose(sums.moved_j[:, kinds + 1 :])
    joules = sums.constant_j + theta @ np.transpose(sums.per_unknown) + moved_j + noise @ np.transpose(root)
    return np.asarray(joules, np.float64)

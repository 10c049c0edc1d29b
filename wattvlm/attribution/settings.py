"""What is not known of a session beside its powers: the lag, variation, jitter of boundaries, and their offsets.

Each lies on a grid. A setting is a place on it; settings are weighted by their marginal likelihood with theta (powers,
the rest of the lag, offsets) integrated out, times the prior weights that are stated here. Only settings near the best
one are looked at: from it outwards, as long as they count.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from math import log

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.clusters import LARGEST_LAG_S
from wattvlm.attribution.jitter import Unsure, places_of
from wattvlm.attribution.mixed import Evidence, Fit, Model, Prior, Priors, Setting, posterior, posteriors, priors_of
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import Chain

VARIATIONS = (0.002, 0.006, 0.012, 0.02, 0.03, 0.045, 0.07, 0.11, 0.17, 0.3)
"""One sigma of powers from call to call, as fractions."""

IDLE_VARIATIONS = (0.002, 0.01, 0.05, 0.2)
"""The same for the time between phases and outside of calls, which varies for reasons of its own."""

SHARP_CHANCE = 0.5
"""How likely boundaries are not off each on its own, before anything is read; other places share the rest."""

MET_SIGMAS = 1.0
"""A boundary whose mark met its neighbour's is off to one side, by so many sigmas of jitter, one sigma."""

OFFSETS_S = (1e-6, 1e-6, 0.5e-3, 2e-3)
"""How much kinds of boundaries are off, each kind on its own and the same in all calls: one sigma."""

RAMPS_S = (1e-6, 0.6e-3, 0.6e-3, 0.6e-3)
"""With each of these, half of how much later power rises than it falls, the same at all boundaries: one sigma."""

OFFSET_CHANCES = (0.75, 0.2, 0.035, 0.015)
"""How likely each is before anything is read."""

GAP_STDS_FRACTION = (0.02, 0.1, None)
"""One sigma of what time between phases draws beside time between calls, in largest powers; None: it is anything."""

GAP_CHANCES = (0.7, 0.25, 0.05)
"""How likely each is before anything is read."""

NOISES = (0.76, 0.87, 1.0, 1.3, 1.7, 2.2)
"""Variances of what is read, in those that are stated of it, from which it begins at 1.

The least is that of a tick anywhere in a bracket of 0.5 ms, with nothing added for stamps and reads."""

FIRST = (3, 2, 0), (5, 2, -1)
"""Where the search may begin, with sharp boundaries or with the most unsure ones: places in the grids."""

LAG_STEP_S = 1e-3
"""Lags lie this far apart; between them theta holds what remains of the lag, to first order."""

NARROW_LAG_STD_S = 0.25e-3
"""Where what remains of the lag is known this well, one lag is enough."""

LAG_ROUNDS = 6
SETTLED_LAG_STDS = 0.5
"""The lag is moved by what remains of it until that is less than this many of its sigmas."""

WORTH_KEEPING = 5.0
"""Settings whose log likelihood is lower than the best by more than this have no weight that counts."""

MOST_TRIED = 60
"""So many combinations of variations and jitter are looked at around the best one."""

MOST_WITH_EACH_LAG = 10

MOST_CLUSTERS_SEARCHED = 128
"""Settings are taken from this many clusters, spread over the recording; more would only cost time."""

MOST_CLUSTERS_BEGUN = 48
"""The search begins with so many of these."""

UNUSUAL_SIGMAS = 3.0

LEAST_USUAL = 0.3
"""What fits within its stated noise is not unusual, however well the other clusters fit: squared sigmas a row."""

_OFFSETS_AND_GAPS = {
    (offset, gap): own * of_gap
    for (offset, own), (gap, of_gap) in product(enumerate(OFFSET_CHANCES), enumerate(GAP_CHANCES))
}
"""How likely each pair of an offset and a kind of gaps is."""

Place = tuple[int, int, int]
"""Where on the grids of variation inside phases, of variation where nothing runs, and of jitter."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting: lag, place on the grids, which offset and which kind of gaps, and its log weight."""

    lag_s: float
    place: Place
    offset: int
    gap: int
    jitter_s: float
    log_weight: float

    @property
    def variation_fraction(self) -> float:
        return VARIATIONS[self.place[0]]

    @property
    def offset_std_s(self) -> float:
        return OFFSETS_S[self.offset]


@dataclass(frozen=True, slots=True)
class Search:
    """A model, and what is known of its powers. idle: which kinds are no phase's. Keeps what it has looked at.

    is_gap: the kinds of time between phases that are too short to be counted by themselves. outside: the commonest
    kind of time between calls, -1 for none. unsure: the grid of how unsure boundaries are.
    gaps_are_free: whether boundaries of gaps are taken with the powers that are found for these, or with what is drawn
    between calls. Powers of short gaps and offsets of their boundaries look alike, so that each can hide the other.
    known_priors: by jitter; begun anew in each copy, since they hang on the model's powers and on lag_std_s.
    """

    model: Model
    limit_w: float
    idle: NDArray[np.bool_]
    is_gap: NDArray[np.bool_]
    outside: int
    unsure: tuple[Unsure, ...]
    gaps_are_free: bool = False
    lag_std_s: float = LAG_STEP_S / 2
    seen: dict[tuple[float, Place], Evidence] = field(default_factory=dict[tuple[float, Place], Evidence])
    weighed: dict[tuple[float, Place], list[Choice]] = field(default_factory=dict[tuple[float, Place], list[Choice]])
    known_priors: dict[int, Priors] = field(init=False, default_factory=dict[int, Priors])

    def setting(self, lag_s: float, place: Place) -> Setting:
        """The setting at a place: powers vary by a fraction of what is usual, none so small that it could not vary."""
        chain = self.model.chain
        fraction = np.where(self.idle, IDLE_VARIATIONS[place[1]], VARIATIONS[place[0]])
        usual_w = np.maximum(self.model.power_w, 0.2 * chain.mean_w)
        return Setting(lag_s, np.where(chain.is_slope, 0.0, fraction * usual_w), self.unsure[place[2]])

    def prior(self, place: Place, offset: int, gap: int) -> Prior:
        """The prior of theta at a place, with one of the offsets and of the kinds of gaps."""
        chain = self.model.chain
        unsure = self.unsure[place[2]]
        of_means_s = unsure.jitter_s * np.hypot(chain.boundaries**-0.5, MET_SIGMAS * chain.met_share)
        of_means_s = np.where(chain.is_end & unsure.ends_sharp, 0.0, of_means_s)
        gap_std = GAP_STDS_FRACTION[gap]
        gap_w = None if gap_std is None else self.outside_w(self.model.power_w)
        return Prior(
            self.limit_w, chain.is_slope, self.lag_std_s, OFFSETS_S[offset], RAMPS_S[offset], of_means_s, self.is_gap,
            gap_w, (gap_std or 0.0) * self.limit_w,
        )  # fmt: skip

    def priors(self, place: Place) -> Priors:
        """Those of a place with each offset and each kind of gaps, which hang on its jitter alone."""
        found = self.known_priors.get(place[2])
        if found is None:
            found = self.known_priors[place[2]] = priors_of([self.prior(place, *each) for each in _OFFSETS_AND_GAPS])
        return found

    def evidence(self, lag_s: float, place: Place) -> Evidence:
        """What the clusters say of theta, looked up where it was asked before."""
        found = self.seen.get((lag_s, place))
        if found is None:
            found = self.seen[lag_s, place] = self.model.evidence(self.setting(lag_s, place))
        return found

    def fit(self, lag_s: float, place: Place) -> Fit:
        """Theta at a place, with the likeliest offset and kind of gaps."""
        best = max(self.choices(lag_s, place), key=lambda choice: choice.log_weight)
        return posterior(self.evidence(lag_s, place), self.prior(place, best.offset, best.gap))

    def choices(self, lag_s: float, place: Place) -> list[Choice]:
        """A place with each offset and each kind of gaps, looked up where it was asked before."""
        found = self.weighed.get((lag_s, place))
        if found is None:
            fits = posteriors(self.evidence(lag_s, place), self.priors(place))
            jitter_s, others = self.unsure[place[2]].jitter_s, len(self.unsure) - 1
            chance = log((1.0 - SHARP_CHANCE) / others if jitter_s else SHARP_CHANCE)
            found = self.weighed[lag_s, place] = [
                Choice(lag_s, place, offset, gap, jitter_s, fit.log_likelihood + chance + log(own))
                for ((offset, gap), own), fit in zip(_OFFSETS_AND_GAPS.items(), fits)
            ]
        return found

    def log_weight(self, lag_s: float, place: Place) -> float:
        """Of a place, over all offsets."""
        each = np.array([choice.log_weight for choice in self.choices(lag_s, place)])
        return float(np.max(each) + np.log(np.sum(np.exp(each - np.max(each)))))

    def with_model(self, model: Model) -> Search:
        """The same search of another model, from the beginning."""
        return replace(self, model=model, seen={}, weighed={})

    def with_usual_w(self, lag_s: float, place: Place) -> Search:
        """The same with the powers that are found at a place, within the limits."""
        found_w = self.fit(lag_s, place).mean[: self.model.chain.kinds]
        found_w = np.minimum(np.maximum(found_w, 0.0), self.limit_w)
        gap_w = self.outside_w(found_w)
        if gap_w is not None and not self.gaps_are_free:
            found_w = np.where(self.is_gap, gap_w, found_w)
        return self.with_model(replace(self.model, power_w=found_w))

    def outside_w(self, power_w: Floats) -> float | None:
        """What the commonest kind of time between calls draws."""
        return float(power_w[self.outside]) if self.outside >= 0 else None


def _outside_of(chain: Chain) -> int:
    """The commonest kind of time between calls; -1 for none."""
    outside = np.flatnonzero((chain.of_row < 0) & ~chain.is_slope)
    if not len(outside):
        return -1
    counts = sum(np.bincount(np.ravel(own.segments.kind), minlength=chain.kinds) for own in chain.clusters)
    return int(outside[np.argmax(np.asarray(counts)[outside])])


def search(model: Model, limit_w: float, idle: NDArray[np.bool_]) -> tuple[Search, list[Choice]]:
    """(the search of a model with its usual powers found, the settings that count with weights that sum to 1)."""
    is_gap = np.asarray(idle & (model.chain.of_row >= 0) & ~model.chain.is_slope, np.bool_)
    begun = Search(_thinned(model), limit_w, idle, is_gap, _outside_of(model.chain), places_of(model.chain))
    found, lag_s, place = _tuned(begun)
    best = max(found.choices(lag_s, place), key=lambda choice: choice.log_weight)
    if GAP_STDS_FRACTION[best.gap] is None and found.outside_w(found.model.power_w) is not None:
        other, other_lag_s, other_place = _tuned(replace(begun, gaps_are_free=True, weighed={}))
        if other.log_weight(other_lag_s, other_place) > found.log_weight(lag_s, place):
            found, lag_s, place = other, other_lag_s, other_place
    return _spread(found, lag_s, place)


def _tuned(found: Search) -> tuple[Search, float, Place]:
    """(the search with its usual powers and weights, the best lag, the best place)."""
    lags = np.arange(-LARGEST_LAG_S, LARGEST_LAG_S + LAG_STEP_S / 2, LAG_STEP_S)
    few = found.with_model(_thinned(found.model, MOST_CLUSTERS_BEGUN))
    begun, lag_s, place = max(
        (_begun(few, lags, (*first[:2], first[2] % len(found.unsure))) for first in FIRST),
        key=lambda each: each[0].log_weight(each[1], each[2]),
    )
    found = found.with_model(replace(found.model, power_w=begun.model.power_w))
    lag_s = _best_lag(found, lags[np.abs(lags - lag_s) < 1.5 * LAG_STEP_S], place)
    place = _better_place(found, lag_s, place)
    for _ in range(2):
        found = _with_noise(found, lag_s, place)
        weights = weights_of(found, lag_s, place)
        same = all(np.allclose(one, two) for one, two in zip(weights, found.model.weights))
        found = found.with_model(replace(found.model, weights=weights)).with_usual_w(lag_s, place)
        near = lags[np.abs(lags - lag_s) < 1.5 * LAG_STEP_S]
        lag_s = _best_lag(found, near, place)
        if same:
            break
        place = _better_place(found, lag_s, place)
    return found, lag_s, place


def _with_noise(found: Search, lag_s: float, place: Place) -> Search:
    """The search with the likeliest noise that is reached step by step from where it is."""
    for step in (-1, 1):
        here, most = NOISES.index(found.model.noise), found.log_weight(lag_s, place)
        while 0 <= here + step < len(NOISES):
            here += step
            other = found.with_model(replace(found.model, noise=NOISES[here]))
            if other.log_weight(lag_s, place) <= most:
                break
            found, most = other, other.log_weight(lag_s, place)
    return found


def _begun(found: Search, lags: Floats, place: Place) -> tuple[Search, float, Place]:
    """(the search with usual powers, a lag, a place), from one of the first places."""
    found = found.with_usual_w(0.0, place)
    lag_s = _best_lag(found, lags, place)
    found = found.with_usual_w(lag_s, place)
    lag_s = _climbed_lag(found, lags, lag_s, place)
    return found, lag_s, _best_place(found, lag_s, place)


def weights_of(found: Search, lag_s: float, place: Place) -> tuple[Floats, ...]:
    """1 for clusters that fit as well as most do; for others what brings them to the edge of the usual."""
    return misfit_weights(found.model, found.setting(lag_s, place), found.fit(lag_s, place).mean)


def misfit_weights(model: Model, setting: Setting, mean: Floats) -> tuple[Floats, ...]:
    """The weights of a model's clusters, given theta."""
    clusters = model.chain.clusters
    ones = replace(model, weights=tuple(np.ones(len(own)) for own in clusters))
    distances = ones.misfits(setting, mean)
    rows = [np.sum(own.real, axis=1) for own in clusters]
    usual = float(np.median(np.concatenate([each / count for each, count in zip(distances, rows)])))
    scale = max(usual, LEAST_USUAL)
    return tuple(
        np.minimum(1.0, scale * (count + UNUSUAL_SIGMAS * np.sqrt(2.0 * count)) / np.maximum(distance, 1e-12))
        for distance, count in zip(distances, rows)
    )


def _thinned(model: Model, most: int = MOST_CLUSTERS_SEARCHED) -> Model:
    """The model of at most so many clusters, spread over the recording."""
    every = sum(map(len, model.chain.clusters)) / most
    if every <= 1.0:
        return model
    chosen = [np.unique(np.arange(0, len(own), every).astype(np.int64)) for own in model.chain.clusters]
    clusters = tuple(own.chosen(which) for own, which in zip(model.chain.clusters, chosen))
    weights = tuple(own[which] for own, which in zip(model.weights, chosen))
    return Model(replace(model.chain, clusters=clusters), model.power_w, weights)


def _best_lag(found: Search, lags: Floats, place: Place) -> float:
    return float(max(lags, key=lambda lag_s: found.log_weight(float(lag_s), place)))


def _climbed_lag(found: Search, lags: Floats, lag_s: float, place: Place) -> float:
    """The best lag that is reached step by step from one of them."""
    here = int(np.argmin(np.abs(lags - lag_s)))
    for step in (-1, 1):
        while 0 <= here + step < len(lags) and (
            found.log_weight(float(lags[here + step]), place) > found.log_weight(float(lags[here]), place)
        ):
            here += step
    return float(lags[here])


def _best_place(found: Search, lag_s: float, place: Place) -> Place:
    """The best place at a lag: all of the jitter's grid, then what is reached from there."""
    jitters = [(place[0], place[1], jitter) for jitter in range(len(found.unsure))]
    return _better_place(found, lag_s, max(jitters, key=lambda each: found.log_weight(lag_s, each)))


def _better_place(found: Search, lag_s: float, best: Place) -> Place:
    """The best place that is reached along one grid after the other, until none gains."""
    sizes = len(VARIATIONS), len(IDLE_VARIATIONS), len(found.unsure)
    for _ in range(4):
        before = best
        for axis in (0, 2, 1):
            best = _climbed(found, lag_s, best, axis, sizes[axis])
        if best == before:
            break
    return best


def _climbed(found: Search, lag_s: float, place: Place, axis: int, size: int) -> Place:
    """The best place along one grid, step by step from where it is."""
    best, best_weight = place, found.log_weight(lag_s, place)
    for step in (-1, 1):
        place = best
        while 0 <= place[axis] + step < size:
            place = _stepped(place, axis, step)
            weight = found.log_weight(lag_s, place)
            if weight <= best_weight:
                break
            best, best_weight = place, weight
    return best


def _stepped(place: Place, axis: int, step: int) -> Place:
    moved = list(place)
    moved[axis] += step
    return moved[0], moved[1], moved[2]


def _spread(found: Search, lag_s: float, place: Place) -> tuple[Search, list[Choice]]:
    """The settings that count, around the best one."""
    kinds = found.model.chain.kinds
    std_s = 0.0
    for _ in range(LAG_ROUNDS):
        fit = found.fit(lag_s, place)
        remains_s = float(fit.mean[kinds])
        std_s = float(np.linalg.inv(fit.precision)[kinds, kinds]) ** 0.5
        lag_s = min(max(lag_s + remains_s, -LARGEST_LAG_S), LARGEST_LAG_S)
        if abs(remains_s) < SETTLED_LAG_STDS * std_s:
            break
        place = _better_place(found, lag_s, place)
    steps = [0] if std_s < NARROW_LAG_STD_S else list(range(-10, 11))
    lag_std_s = LAG_STEP_S if len(steps) == 1 else LAG_STEP_S / 2
    found = replace(found, lag_std_s=lag_std_s, weighed={})
    near = _near(found, lag_s, place)
    chosen: list[Choice] = []
    for step in steps:
        lag = lag_s + step * LAG_STEP_S
        if abs(lag) <= LARGEST_LAG_S + LAG_STEP_S / 2 and (
            step == 0 or found.log_weight(lag, near[0]) > found.log_weight(lag_s, near[0]) - WORTH_KEEPING
        ):
            for each in near if step == 0 else near[:MOST_WITH_EACH_LAG]:
                chosen += found.choices(lag, each)
    best = max(choice.log_weight for choice in chosen)
    chosen = [choice for choice in chosen if choice.log_weight > best - WORTH_KEEPING]
    weights = np.exp([choice.log_weight - best for choice in chosen])
    shares = weights / np.sum(weights)
    return found, [replace(choice, log_weight=log(share)) for choice, share in zip(chosen, shares)]


def _near(found: Search, lag_s: float, place: Place) -> list[Place]:
    """Places that count, the best first: neighbours of places that count are looked at until there are no more."""
    weights = {place: found.log_weight(lag_s, place)}
    looked: set[Place] = set()
    while len(weights) < MOST_TRIED:
        best = max(weights.values())
        open_places = [each for each in weights if each not in looked and weights[each] > best - WORTH_KEEPING]
        if not open_places:
            break
        here = max(open_places, key=weights.__getitem__)
        looked.add(here)
        for each in _neighbours(here, len(found.unsure)):
            if each not in weights:
                weights[each] = found.log_weight(lag_s, each)
    best = max(weights.values())
    kept = [each for each in weights if weights[each] > best - WORTH_KEEPING]
    return sorted(kept, key=weights.__getitem__, reverse=True)


def _neighbours(place: Place, jitters: int) -> list[Place]:
    steps = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1), (-1, 0, 1), (1, 0, -1)]
    sizes = len(VARIATIONS), len(IDLE_VARIATIONS), jitters
    moved = [(place[0] + one, place[1] + two, place[2] + three) for one, two, three in steps]
    return [each for each in moved if all(0 <= index < size for index, size in zip(each, sizes))]

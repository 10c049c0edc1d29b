"""Several calls on a counter and a power field beside it: joint draws from rows of both.

What the field is (its response, how late it is beside the counter, its gain, offset and noise) is found where the
counter's own solution is likeliest; all of it but the kind of response stays unknown then (see `jointviews`). The draws
of up to three responses that the readings allow count in equal shares. Readings that reach back further than a cluster
(a mean of 1 s) are no rows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.jointprofile import GAIN_STD_FRACTION, MOST_SIGMAS, OFFSET_STD_W, STATED_SCALE
from wattvlm.attribution.jointviews import EXTRA, Field, stacked
from wattvlm.attribution.mixed import SLOPE_STD_FRACTION, Model
from wattvlm.attribution.pooledpower import FAR_LESS_LIKELY
from wattvlm.attribution.pooling import PooledDraws, pooled_draws
from wattvlm.attribution.profile import LARGEST_MISFIT_FRACTION
from wattvlm.attribution.responses import Response
from wattvlm.attribution.settings import Choice, Search, search
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.updates import Updates
from wattvlm.attribution.views import Chain
from wattvlm.energy import DRAWS
from wattvlm.units import S_PER_NS, format_ns

MOST_CLUSTERS = 12
"""The field is identified with so many clusters, spread over the recording."""

FARTHEST_S, STEP_S = 0.008, 0.002
"""How late a field may be beside the counter, and the steps of the search."""

LONGEST_REACH_S = 0.125
"""Readings that reach further back are in too few clusters."""

SCALE_STD = 0.05
"""A window that nobody states is near one that is known, or near where the search moved it: one sigma, in parts."""

SAME_FRACTION, SAME_S = 0.01, 0.05e-3
"""Fields whose memory and lateness differ by less are one."""

MOST_MOVED = 0.1
"""The search moves a window by this part of it at most, each time."""

ROUGH_FRACTION = 0.01
NOISES_W, JITTERS_S = (0.05, 0.3, 1.0, 3.0, 10.0), (0.00005, 0.0003, 0.001, 0.002)
"""One sigma of readings and of ticks: of the search in parts of the swing, and those that are tried."""

ROUNDS, MOST_RESPONSES, MOST_REFINED = 3, 3, 5

SURE_STD = 3.0
"""Where both channels find joules so many sigmas of the counter's from what it finds alone, the field is left out."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A field, and how likely the readings of both are with it."""

    field: Field
    log_likelihood: float


@dataclass(frozen=True, slots=True)
class JointDraws:
    """Draws of both channels, None where the field is left out; what was found of it, or what speaks against it."""

    draws: PooledDraws | None
    fields: tuple[Field, ...]
    why: str = ""

    def words(self, name: str, counter: str, is_known: bool) -> str:
        """Whether the field was used, for a report."""
        if self.draws is None:
            return (
                f"{name} {self.why} and is left out: intervals are those of {counter} alone. "
                "Cure: `wattvlm calibrate` finds what it is"
            )
        best, known = self.fields[0], "known" if is_known else "found from the readings"
        kinds = " or ".join(dict.fromkeys(field.response.words for field in self.fields))
        return (
            f"{name} sees the same powers and narrows them: it shows {100 * best.gain:+.1f} % and "
            f"{best.offset_w:+.1f} W beside {counter}, whose joules these are, is taken for {kinds} ({known}), and its "
            f"values come {format_ns(best.later_s / S_PER_NS)} later"
        )


@dataclass(frozen=True, slots=True)
class JointPool:
    """A counter's chain and a field's updates. idle_rows: rows of time in which no phase runs."""

    chain: Chain
    updates: Updates
    limit_w: float
    idle_rows: Sequence[int]
    seed: int

    def draws(self, alone: PooledDraws, responses: Sequence[Response], is_known: bool) -> JointDraws | None:
        """Draws of all responses that the readings allow, None where these reach too far. alone: the counter's."""
        responses = [response for response in responses if response.reach_s <= LONGEST_REACH_S]
        if not responses:
            return None
        counted, choices = search(self._model(self.chain), self.limit_w, self._idle(self.chain))
        best = max(choices, key=lambda choice: choice.log_weight)
        fields = self._identified(counted, best, responses, is_known)
        why = self._against(fields[0])
        if why:
            return JointDraws(None, (fields[0],), why)
        found: list[PooledDraws] = []
        for field in fields:
            chain = stacked(self.chain, field, counted.model.power_w, best.lag_s, self.limit_w)
            own = pooled_draws(chain, self.limit_w, self.idle_rows, self.seed)
            if own is None:
                return JointDraws(None, (field,), "fits no powers that fit the counter")
            found.append(own)
        draws = _mixed(found, np.random.default_rng(self.seed))
        if _differ(draws, alone):
            return JointDraws(None, tuple(fields), "moves joules further than the counter allows")
        return JointDraws(draws, tuple(fields))

    def _model(self, chain: Chain) -> Model:
        return Model(chain, np.full(chain.kinds, chain.mean_w), tuple(np.ones(len(own)) for own in chain.clusters))

    def _idle(self, chain: Chain) -> NDArray[np.bool_]:
        return np.isin(chain.of_row, [-1, *self.idle_rows])

    @property
    def _swing_w(self) -> float:
        return float(np.ptp(self.updates.value))

    def _identified(self, counted: Search, best: Choice, responses: Sequence[Response], is_known: bool) -> list[Field]:
        """The fields that the readings allow, the likeliest first."""
        few = _thinned(self.chain)
        noise_w = ROUGH_FRACTION * self._swing_w
        scale_std = STATED_SCALE if is_known else SCALE_STD
        begun = [
            Field(self.updates.time_s, self.updates.value, response, float(later_s), noise_w=noise_w,
                  whole_s=LONGEST_REACH_S,
                  std=(GAIN_STD_FRACTION, OFFSET_STD_W, STEP_S / 2, scale_std))
            for response in responses
            for later_s in np.arange(-FARTHEST_S, FARTHEST_S + STEP_S / 2, STEP_S)
        ]  # fmt: skip
        found = [self._tried(few, field, counted, best) for field in begun]
        nearest = _near_the_best(_once_each(found), 20 * FAR_LESS_LIKELY)[:MOST_REFINED]
        nearest = _near_the_best([self._refined(few, each, counted, best) for each in nearest], np.inf)
        noises = [
            replace(nearest[0].field, noise_w=noise_w, jitter_s=jitter_s)
            for noise_w, jitter_s in product(NOISES_W, JITTERS_S)
        ]
        noisy = max((self._tried(few, field, counted, best) for field in noises), key=lambda each: each.log_likelihood)
        settled = [
            self._refined(
                few,
                replace(each, field=replace(each.field, noise_w=noisy.field.noise_w, jitter_s=noisy.field.jitter_s)),
                counted,
                best,
            )
            for each in nearest
        ]
        return _apart([each.field for each in _near_the_best(settled, FAR_LESS_LIKELY)])[:MOST_RESPONSES]

    def _refined(self, few: Chain, found: _Found, counted: Search, best: Choice) -> _Found:
        """A field moved to where it fits best."""
        field = found.field
        found = replace(found, log_likelihood=-np.inf)
        for _ in range(ROUNDS):
            tried = self._tried(few, field, counted, best)
            if tried.log_likelihood <= found.log_likelihood:
                break
            found, field = tried, self._moved(few, field, counted, best)
        return found

    def _moved(self, few: Chain, field: Field, counted: Search, best: Choice) -> Field:
        """The field with what is likeliest to remain of gain, offset, lateness and scale."""
        own = self._beside(few, field, counted, best)
        unit = SLOPE_STD_FRACTION * self.limit_w
        mean = own.fit(best.lag_s, best.place).mean[few.kinds : few.kinds + EXTRA] / unit * np.array(field.std)
        gain, offset_w, later_s, scale = (float(each) for each in mean)
        scale = max(min(scale, MOST_MOVED), -MOST_MOVED)
        return replace(
            field, gain=(1.0 + field.gain) * (1.0 + gain) - 1.0, offset_w=field.offset_w + offset_w,
            later_s=field.later_s + later_s, response=field.response.scaled(1.0 + scale),
        )  # fmt: skip

    def _tried(self, few: Chain, field: Field, counted: Search, best: Choice) -> _Found:
        own = self._beside(few, field, counted, best)
        far = (field.gain / GAIN_STD_FRACTION) ** 2 + (field.offset_w / OFFSET_STD_W) ** 2
        return _Found(field, own.log_weight(best.lag_s, best.place) - 0.5 * far)

    def _beside(self, few: Chain, field: Field, counted: Search, best: Choice) -> Search:
        """The counter's search with the field's rows, at its own powers."""
        chain = stacked(few, field, counted.model.power_w, best.lag_s, self.limit_w)
        more = np.zeros(EXTRA)
        power_w = np.concatenate([counted.model.power_w, more])
        weights = tuple(np.ones(len(own)) for own in chain.clusters)
        model = replace(counted.model, chain=chain, power_w=power_w, weights=weights, jitters={}, shown={})
        return replace(
            counted, model=model, idle=np.append(counted.idle, more > 0), is_gap=np.append(counted.is_gap, more > 0),
            seen={}, weighed={},
        )  # fmt: skip

    def _against(self, field: Field) -> str:
        """What speaks against a field, in words; "" for nothing."""
        if abs(field.gain) > MOST_SIGMAS * GAIN_STD_FRACTION or abs(field.offset_w) > MOST_SIGMAS * OFFSET_STD_W:
            return f"shows {100 * field.gain:+.1f} % and {field.offset_w:+.1f} W beside it in long phases"
        if field.noise_w > LARGEST_MISFIT_FRACTION * self._swing_w:
            return "fits no powers that fit the counter"
        return ""


def _thinned(chain: Chain) -> Chain:
    """A chain of MOST_CLUSTERS clusters at most."""
    every = max(sum(map(len, chain.clusters)) / MOST_CLUSTERS, 1.0)
    which = [np.unique(np.arange(0, len(own), every).astype(np.int64)) for own in chain.clusters]
    return replace(chain, clusters=tuple(own.chosen(each) for own, each in zip(chain.clusters, which)))


def _once_each(found: Sequence[_Found]) -> list[_Found]:
    """The likeliest lateness of each response."""
    best: dict[Response, _Found] = {}
    for each in found:
        known = best.get(each.field.response)
        if known is None or each.log_likelihood > known.log_likelihood:
            best[each.field.response] = each
    return list(best.values())


def _apart(fields: Sequence[Field]) -> list[Field]:
    """The fields that are not all but the same as a likelier one."""
    kept: list[Field] = []
    for field in fields:
        if not any(_are_alike(field, other) for other in kept):
            kept.append(field)
    return kept


def _are_alike(field: Field, other: Field) -> bool:
    """True for responses of one kind that were moved to the same place."""
    is_kind = isinstance(field.response, type(other.response))
    same_reach = abs(field.response.reach_s / other.response.reach_s - 1.0) < SAME_FRACTION
    return is_kind and same_reach and abs(field.later_s - other.later_s) < SAME_S


def _near_the_best(found: Sequence[_Found], less_likely: float) -> list[_Found]:
    ordered = sorted(found, key=lambda each: -each.log_likelihood)
    return [each for each in ordered if each.log_likelihood > ordered[0].log_likelihood - less_likely]


def _mixed(found: Sequence[PooledDraws], chance: np.random.Generator) -> PooledDraws:
    """Draws in equal shares of all responses."""
    places = chance.permutation(np.arange(DRAWS) % len(found))
    joules: Floats = np.stack([own.joules for own in found])[places, np.arange(DRAWS)]
    return replace(found[0], joules=joules, outside_j=None)


def _differ(draws: PooledDraws, alone: PooledDraws) -> bool:
    apart_j = np.abs(np.mean(draws.joules, axis=0) - np.mean(alone.joules, axis=0))
    return bool(np.any(apart_j > SURE_STD * np.std(alone.joules, axis=0) + 1e-9))

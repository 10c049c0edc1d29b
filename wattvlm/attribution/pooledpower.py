"""Joules of several calls from a power sensor whose response, lag and noise may not be known.

Every response that the channel's facts allow is tried: windows known from the field, and first-order memories. Each is
judged by its marginal likelihood (powers integrated out) at its best lag, noise and variation. Those that are far less
likely than the best are left out, all others are solved, and their draws count in equal shares: the interval is theirs
together, and the report names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.pooling import PooledDraws, pooled_draws
from wattvlm.attribution.power import PowerCurve
from wattvlm.attribution.powerviews import power_chain
from wattvlm.attribution.responses import FORGETS_AFTER, Boxcar, FirstOrder, Response
from wattvlm.attribution.ticks import Floats, seconds_since
from wattvlm.attribution.timeline import QUIET, Timeline
from wattvlm.attribution.updates import Updates, updates_of
from wattvlm.attribution.views import Chain, Clusters
from wattvlm.energy import DRAWS
from wattvlm.recording import Readings
from wattvlm.units import S_PER_NS, format_ns

WINDOWS_S = (0.001, 0.01, 0.02, 0.025, 0.05, 0.1, 1.0)
"""Averaging windows of power fields in the field [arXiv 2312.02741, NVML]: a point, and 10 ms to 1 s."""

RISES_S = (0.005, 0.008, 0.0125, 0.02, 0.03, 0.05, 0.08, 0.13, 0.2)
"""Time constants of first-order sensors that are tried."""

BLURS = (0.15, 6, 8), (0.05, 4, 3)
"""Of a coarse search: noise that is taken, in parts of what the readings scatter, so that no response is lost to a
coarse step of the lag; how many responses are kept; and steps of the lag to each side."""

FAR_LESS_LIKELY = 6.0
"""Responses whose log likelihood is lower than the best by more than this are left out."""

FARTHEST_LAG_S, LAG_STD_S = 0.03, 0.003
"""Stamps lie about where windows end, give or take what clocks and reads differ by: 3 ms (one sigma)."""

NOISES_W = (0.1, 0.4, 1.0, 2.5, 6.0, 15.0, 40.0)
"""One sigma of readings that is tried, beside their resolution."""

TICK_JITTERS_S = (0.0, 0.0005, 0.001, 0.002)
"""One sigma of ticks that is tried where the driver does not stamp them."""

VARIATIONS = (0.005, 0.03, 0.1)
IDLE_VARIATION = 0.05
LARGEST_GAP = 0.3
"""Calls that leave more of the time between two updates unvisited are in step with the sensor, however many."""

CLUSTERS_SEARCHED = 3
MOST_SOLVED = 4
SCALES = (0.8, 0.9, 1.1, 1.25)
"""A board's window is near those that are known: these parts of it are tried in the end."""

QUIET_FRACTION = 0.05
"""Readings before the block that differ by more than this part of what all readings differ show that something ran."""

LONGEST_REACH_S = max(*WINDOWS_S, FORGETS_AFTER * max(RISES_S)) * max(SCALES) + FARTHEST_LAG_S

LONGEST_PAUSE = 3.0
"""Readings further apart than so many usual distances have a hole between them."""

SHORTEST_S = 0.001
FEWEST_ROWS = 16


@dataclass(frozen=True, slots=True)
class _Setting:
    """A response with its best lag, noise, jitter of ticks and variation, and how likely the readings are with it."""

    response: Response
    lag_s: float
    noise_w: float
    jitter_s: float
    variation: float
    log_likelihood: float


@dataclass(frozen=True, slots=True)
class PowerDraws:
    """Draws of all responses that the readings allow, and these in words."""

    draws: PooledDraws
    words: str


def power_draws(
    curve: PowerCurve, timeline: Timeline, readings: Readings, idle_rows: Sequence[int], seed: int
) -> PowerDraws | None:
    """Joint draws of each row's joules summed over calls; None where the readings say too little of them.

    idle_rows: rows of time in which no phase runs.
    """
    updates = usable_updates(curve, timeline, readings, FEWEST_ROWS)
    if updates is None or (curve.channel.window_ns is None and is_in_step(updates, timeline, curve.origin_ns)):
        return None
    idle = np.isin(np.arange(len(timeline.kinds)), [*idle_rows, *range(timeline.rows, len(timeline.kinds))])
    problem = _Problem(timeline, updates, curve, idle)
    kept = _spread(problem.likely(responses_of(curve), curve.channel.window_ns is not None))
    found: list[PooledDraws] = []
    for setting in kept:
        own = pooled_draws(problem.chain(setting), curve.limit_w, idle_rows, seed)
        if own is None:
            return None
        found.append(own)
    words = " or ".join(setting.response.words for setting in kept)
    known = "known" if curve.channel.window_ns is not None else "found from the readings"
    late_s = [setting.lag_s for setting in kept]
    lags = " to ".join(dict.fromkeys(format_ns(each / S_PER_NS) for each in (min(late_s), max(late_s))))
    words = f"{curve.channel.name} is taken for {words} ({known}), stamped {lags} late"
    draws = _mixed(found, kept, np.random.default_rng(seed))
    return PowerDraws(replace(draws, outside_j=None) if _has_hole(updates) else draws, words)


def usable_updates(curve: PowerCurve, timeline: Timeline, readings: Readings, fewest: int) -> Updates | None:
    """The updates that saw the calls and nothing before the block; None where these are fewer than that."""
    updates = updates_of(readings, curve.origin_ns)
    if updates is None or len(updates) < fewest or not _covers(updates, timeline, curve.origin_ns):
        return None
    updates = _of_the_block(updates, timeline, curve.origin_ns)
    return updates if len(updates) >= fewest else None


def _has_hole(updates: Updates) -> bool:
    """True where nothing was read for a while: what ran then need not have been like the rest."""
    distance_s = np.diff(updates.time_s)
    return bool(np.max(distance_s) > LONGEST_PAUSE * np.median(distance_s))


def _of_the_block(updates: Updates, timeline: Timeline, origin_ns: int) -> Updates:
    """The updates without those that may see what ran before the block, where something did.

    A slow sensor still shows a warm-up that ended a second ago, and no mark says what that drew.
    """
    if timeline.kinds[int(timeline.kind[0])] != QUIET:
        return updates
    block_s = float(seconds_since(origin_ns, timeline.end_ns[:1])[0])
    before_w = updates.between(-np.inf, block_s).value
    if not len(before_w) or np.ptp(before_w) <= QUIET_FRACTION * np.ptp(updates.value):
        return updates
    return updates.between(block_s + LONGEST_REACH_S, np.inf)


def _covers(updates: Updates, timeline: Timeline, origin_ns: int) -> bool:
    first_s, last_s = seconds_since(origin_ns, np.array(timeline.in_calls_ns))
    return bool(updates.time_s[0] <= first_s and updates.time_s[-1] >= last_s)


def is_in_step(updates: Updates, timeline: Timeline, origin_ns: int) -> bool:
    """True where calls begin at much the same place between two updates: then no reading tells one window from another.

    The widest gap between these places is wider than that of as many random ones in all but 1 of 100 sessions.
    """
    start_s = seconds_since(origin_ns, timeline.start_ns[timeline.kind == 0])
    next_tick = np.searchsorted(updates.time_s, start_s)
    start_s, next_tick = start_s[next_tick < len(updates)], next_tick[next_tick < len(updates)]
    if len(start_s) < 2:
        return True
    period_s = float(np.median(np.diff(updates.time_s)))
    place = np.sort((updates.time_s[next_tick] - start_s) / period_s % 1.0)
    gap = max(float(np.max(np.diff(place))), float(place[0]) + 1.0 - float(place[-1]))
    by_chance = 1.0 - (0.01 / len(place)) ** (1.0 / (len(place) - 1))
    return bool(gap > max(by_chance, LARGEST_GAP))


def responses_of(curve: PowerCurve) -> list[Response]:
    """The responses that the channel's facts allow: the stated window, or all that are known from the field."""
    if curve.channel.window_ns is not None:
        return [Boxcar(max(curve.channel.window_ns * S_PER_NS, SHORTEST_S))]
    return [*(Boxcar(window_s) for window_s in WINDOWS_S), *(FirstOrder(rise_s) for rise_s in RISES_S)]


def _spread(settings: Sequence[_Setting]) -> list[_Setting]:
    """At most MOST_SOLVED settings: the likeliest, the ones with the shortest and the longest memory, then others."""
    by_age = sorted(settings, key=lambda setting: setting.response.mean_age_s)
    by_chance = sorted(settings, key=lambda setting: -setting.log_likelihood)
    return list(dict.fromkeys([by_chance[0], by_age[0], by_age[-1], *by_chance]))[:MOST_SOLVED]


def _mixed(found: Sequence[PooledDraws], kept: Sequence[_Setting], chance: np.random.Generator) -> PooledDraws:
    """Draws in equal shares of all responses; lags of ticks and of marks together."""
    places = chance.permutation(np.arange(DRAWS) % len(found))
    joules = np.stack([own.joules for own in found])[places, np.arange(DRAWS)]
    outside = [own.outside_j for own in found if own.outside_j is not None]
    outside_j = np.stack(outside)[places, np.arange(DRAWS)] if len(outside) == len(found) else None
    lag_s = float(np.mean([own.lag_s - setting.lag_s for own, setting in zip(found, kept)]))
    return replace(found[0], joules=np.asarray(joules, np.float64), outside_j=outside_j, lag_s=lag_s)


@dataclass(frozen=True, slots=True)
class _Problem:
    """A sensor's updates and the segments they saw. idle: which kinds of segments are no phase's."""

    timeline: Timeline
    updates: Updates
    curve: PowerCurve
    idle: NDArray[np.bool_]

    def chain(self, setting: _Setting) -> Chain:
        """All clusters with the noise of a setting, that of its ticks included."""
        noise_w2 = self._noise_w2(setting.noise_w)
        chain = self._chain(setting.response, setting.lag_s, noise_w2)
        if not setting.jitter_s:
            return chain
        usual_w = np.full(chain.kinds, chain.mean_w)
        usual_w, _ = _fitted(chain, usual_w, setting.variation, self._is_idle(chain), self.curve.limit_w)
        return _with_jitter(chain, setting.jitter_s, usual_w)

    def likely(self, responses: Sequence[Response], known: bool) -> list[_Setting]:
        """The responses that the readings allow, each at its likeliest lag, noise, jitter and variation.

        known: there is but one, and its window is not in question.
        """
        scatter_w = float(np.std(self.updates.value))
        settings = [_Setting(response, 0.0, scatter_w, 0.0, VARIATIONS[1], -np.inf) for response in responses]
        step_s = FARTHEST_LAG_S / BLURS[0][2]
        for blur, kept, steps in BLURS:
            noise_w = max(blur * scatter_w, NOISES_W[1])
            settings = [self._shifted(replace(each, noise_w=noise_w), step_s, steps) for each in settings]
            settings = sorted(settings, key=lambda each: -each.log_likelihood)[:kept]
            step_s /= 3
        settings = _near_the_best([self._better(each, step_s) for each in settings], 2 * FAR_LESS_LIKELY)
        settings = _near_the_best([self._better(each, step_s / 3) for each in settings], FAR_LESS_LIKELY)
        if known:
            return settings
        scaled = [self._rescaled(each, scale, step_s) for each in settings[:2] for scale in SCALES]
        return _near_the_best([*settings, *scaled], FAR_LESS_LIKELY)

    def _rescaled(self, setting: _Setting, scale: float, step_s: float) -> _Setting:
        """A setting with its memory scaled, and its lag so that the middle of the memory stays where it was."""
        response = setting.response.scaled(scale)
        later_s = response.mean_age_s - setting.response.mean_age_s
        return self._better(replace(setting, response=response, lag_s=setting.lag_s - later_s), step_s)

    def _shifted(self, setting: _Setting, step_s: float, steps: int) -> _Setting:
        """The likeliest lag around a setting's."""
        lags = setting.lag_s + step_s * np.arange(-steps, steps + 1)
        return _likeliest([self._tried(replace(setting, lag_s=float(lag_s))) for lag_s in lags])

    def _better(self, setting: _Setting, step_s: float) -> _Setting:
        """The likeliest noise and variation of a setting, then lag, then noise again, then jitter of ticks."""
        noises = [replace(setting, noise_w=noise_w) for noise_w in NOISES_W]
        setting = _likeliest([self._tried(replace(own, variation=each)) for own in noises for each in VARIATIONS])
        setting = self._shifted(setting, step_s, 3)
        setting = _likeliest([self._tried(replace(setting, noise_w=noise_w)) for noise_w in NOISES_W])
        if not np.any(self.updates.std_s):
            return setting
        jitters = [replace(setting, jitter_s=jitter_s) for jitter_s in TICK_JITTERS_S[1:]]
        every = [self._tried(replace(own, noise_w=noise_w)) for own in jitters for noise_w in NOISES_W[1:4]]
        return _likeliest([setting, *every])

    def _tried(self, setting: _Setting) -> _Setting:
        chain = _thinned(self._chain(setting.response, setting.lag_s, self._noise_w2(setting.noise_w)))
        idle = self._is_idle(chain)
        usual_w = np.full(chain.kinds, chain.mean_w)
        if setting.jitter_s:
            usual_w, _ = _fitted(chain, usual_w, setting.variation, idle, self.curve.limit_w)
            chain = _with_jitter(chain, setting.jitter_s, usual_w)
        likely = -0.5 * (setting.lag_s / np.hypot(LAG_STD_S, self.updates.shift_s / 3**0.5)) ** 2
        _, found = _fitted(chain, usual_w, setting.variation, idle, self.curve.limit_w)
        return replace(setting, log_likelihood=likely + found)

    def _chain(self, response: Response, lag_s: float, noise_w2: Floats) -> Chain:
        return power_chain(self.timeline, self.updates, self.curve.origin_ns, response, lag_s, noise_w2)

    def _noise_w2(self, noise_w: float) -> Floats:
        resolution_w = self.curve.channel.resolution_w or 0.0
        return np.full(len(self.updates), noise_w**2 + resolution_w**2 / 12)

    def _is_idle(self, chain: Chain) -> Floats:
        return np.asarray(chain.of_row < 0, np.float64)


def _thinned(chain: Chain) -> Chain:
    clusters = chain.clusters[0]
    if len(clusters) <= CLUSTERS_SEARCHED:
        return chain
    which = np.linspace(0, len(clusters) - 1, CLUSTERS_SEARCHED).astype(np.int64)
    return replace(chain, clusters=(clusters.chosen(which),))


def _with_jitter(chain: Chain, jitter_s: float, usual_w: Floats) -> Chain:
    """The chain with the noise that ticks cause which are not where they should be, at powers of about `usual_w`."""
    step_s = 1e-3
    clusters: list[Clusters] = []
    for own in chain.clusters:
        earlier_less_later = own.weights(-step_s) - own.weights(step_s)
        slope_w = earlier_less_later @ own.is_kind(chain.kinds) @ usual_w / (2 * step_s)
        clusters.append(replace(own, own_noise=own.own_noise + jitter_s**2 * slope_w**2))
    return replace(chain, clusters=tuple(clusters))


def _likeliest(settings: Sequence[_Setting]) -> _Setting:
    return max(settings, key=lambda setting: setting.log_likelihood)


def _near_the_best(settings: Sequence[_Setting], less_likely: float) -> list[_Setting]:
    """The settings that are not far less likely than the best, the likeliest first."""
    top = max(setting.log_likelihood for setting in settings)
    kept = [setting for setting in settings if setting.log_likelihood > top - less_likely]
    return sorted(kept, key=lambda setting: -setting.log_likelihood)


def _fitted(chain: Chain, usual_w: Floats, variation: float, idle: Floats, limit_w: float) -> tuple[Floats, float]:
    """(mean powers, marginal log likelihood) at a variation, with powers of about `usual_w`."""
    spread_w = np.maximum(np.minimum(usual_w, limit_w), 0.2 * chain.mean_w) * np.where(
        idle > 0, IDLE_VARIATION, variation
    )
    precision = np.eye(chain.kinds) / limit_w**2
    moment = np.full(chain.kinds, 0.5 / limit_w)
    squares, log_determinant = 0.25 * chain.kinds, 2.0 * chain.kinds * float(np.log(limit_w))
    for own in chain.clusters:
        seen = own.weights(0.0)
        spread = seen * spread_w[own.segments.kind][:, None, :]
        covariance = spread @ np.swapaxes(spread, 1, 2) + own.own_noise[:, :, None] * np.eye(own.own_noise.shape[1])
        factor = np.linalg.cholesky(covariance)
        both = np.concatenate([seen @ own.is_kind(chain.kinds), (own.values * own.real)[:, :, None]], axis=2)
        white = np.reshape(np.linalg.solve(factor, both), (-1, chain.kinds + 1))
        design, values = white[:, :-1], white[:, -1]
        precision, moment = precision + np.transpose(design) @ design, moment + values @ design
        squares += float(values @ values)
        log_determinant += 2.0 * float(np.sum(np.log(np.diagonal(factor, axis1=1, axis2=2))))
    mean_w = np.asarray(np.linalg.solve(precision, moment), np.float64)
    _, of_precision = np.linalg.slogdet(precision)
    return mean_w, -0.5 * (log_determinant + float(of_precision) + squares - float(moment @ mean_w))

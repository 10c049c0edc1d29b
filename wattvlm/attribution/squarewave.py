"""The forward model of identification: a load that switches at known times, seen through a response, fitted to updates.

The load draws a level before its first edge and then two in turn, which may drift together and apart. A reading is

    y_k = integral of k(u) P(t_k + d_k - lag - u) du + noise,    d_k ~ N(0, jitter^2),

so its mean is averaged over d_k and its variance holds what d_k does to it: near an edge a window of 25 ms turns 1 ms
of jitter into 4 % of the swing. Levels, noise and jitter are fitted; gain and offset are in the levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattvlm.attribution.responses import Boxcar, FirstOrder
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.updates import Updates

TREND_S, TREND_PERIODS = 1.0, 8.0
"""Clocks and heat move the power of both levels over seconds; what a sensor is shows at the edges, not in that."""

METER_STEP_S = 0.001
"""A meter's samples are averaged over this time."""

NODES, NODE_WEIGHTS = np.array([-(3.0**0.5), 0.0, 3.0**0.5]), np.array([1.0, 4.0, 1.0]) / 6.0
"""Three-point Gauss-Hermite rule of a normal error in time."""

REST_STD_FRACTION = 0.3
"""Between its bursts a load draws what it drew before the first, give or take this part of what it draws above that on
average (one sigma). Without it, the swing of a load in step with the sensor could be anything."""

ROUNDS = 3
LEAST_NOISE_FRACTION = 0.005
"""No load keeps its two levels closer than this part of the swing from burst to burst (one sigma)."""

DRIFT_STD_FRACTION = 0.1
"""Over a run, its two levels drift apart by this part of the mean rise (one sigma)."""

LAG_STD_S = 0.01
"""Stamps lie about where the window ends: reads take milliseconds, and clocks are compared to as much (one sigma)."""


@dataclass(frozen=True, slots=True)
class Load:
    """Pieces of constant basis power. edge_s (E,): the first pieces' start and every further border.

    powers (E + 1, B): of each piece, one column an unknown; piece 0 is the time before the first border. The swing is
    swing times the second unknown. trends: how many of the columns, from the fourth on, are the trend; 0 for a load
    whose power a meter has seen.
    """

    edge_s: Floats
    powers: Floats
    trends: int
    swing: float = 1.0

    def known(self, rise_w: float) -> Floats:
        """What is known of any load beforehand, as rows whose product with the unknowns is about 0 +- 1, (2, B)."""
        found = np.zeros((2, self.powers.shape[1]))
        if not self.trends:
            return found
        found[0, 0], found[0, 3 : 3 + self.trends] = -1.0, 1.0 / self.trends
        found[0] /= REST_STD_FRACTION * rise_w
        found[1, 2] = 1.0 / (DRIFT_STD_FRACTION * rise_w)
        return found

    def mean(self, response: Boxcar | FirstOrder, time_s: Floats) -> Floats:
        """What a response shows of each unknown at each time, (..., B)."""
        if isinstance(response, Boxcar):
            rise = self._summed(time_s) - self._summed(time_s - response.window_s)
            return np.asarray(rise / response.window_s, np.float64)
        return self._filtered(response.rise_s, time_s)

    def _summed(self, time_s: Floats) -> Floats:
        """The integral of each basis power up to each time."""
        lengths_s = np.diff(self.edge_s)[:, None]
        summed = np.concatenate([np.zeros((1, self.powers.shape[1])), np.cumsum(lengths_s * self.powers[1:-1], axis=0)])
        piece = np.searchsorted(self.edge_s, time_s, "right")
        since = np.maximum(piece - 1, 0)
        passed_s = (time_s - self.edge_s[since])[..., None]
        return np.asarray(summed[since] + passed_s * self.powers[piece], np.float64)

    def _filtered(self, rise_s: float, time_s: Floats) -> Floats:
        states = np.array(self.powers, dtype=np.float64)
        states[1] = self.powers[0]
        for index, fade in enumerate(np.exp(-np.diff(self.edge_s) / rise_s), start=1):
            states[index + 1] = self.powers[index] + fade * (states[index] - self.powers[index])
        piece = np.searchsorted(self.edge_s, time_s, "right")
        age_s = time_s - self.edge_s[np.maximum(piece - 1, 0)]
        fade = np.where(piece > 0, np.exp(-np.maximum(age_s, 0.0) / rise_s), 0.0)[..., None]
        return np.asarray(self.powers[piece] + fade * (states[piece] - self.powers[piece]), np.float64)


def load_of(edge_s: Floats) -> Load:
    """Columns: before the first edge; what the first level has above the second; its drift; the trend.

    The trend is the power of both levels together, free in each stretch of several of the load's periods.
    """
    ends_s = np.append(edge_s[1:], edge_s[-1] + 1.0)
    period_s = 2.0 * float(np.median(ends_s - edge_s))
    count = max(1, int(float(ends_s[-1] - edge_s[0]) / max(TREND_S, TREND_PERIODS * period_s)))
    trend_s = np.linspace(float(edge_s[0]), float(ends_s[-1]), count + 1)[:-1]
    borders_s = np.unique(np.concatenate([edge_s, trend_s]))
    is_first = (np.searchsorted(edge_s, borders_s, "right") % 2 == 1).astype(np.float64)
    middle_s = (borders_s + np.append(borders_s[1:], ends_s[-1])) / 2
    drift = 2.0 * (middle_s - edge_s[0]) / float(ends_s[-1] - edge_s[0]) - 1.0
    trend = np.searchsorted(trend_s, borders_s, "right")[:, None] == np.arange(1, count + 1)
    columns = [np.zeros(len(borders_s)), is_first, is_first * drift, *np.transpose(trend)]
    powers = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    before = np.zeros((1, powers.shape[1]))
    before[0, 0] = 1.0
    return Load(borders_s, np.concatenate([before, powers]), count)


def metered_load(time_s: Floats, power_w: Floats) -> Load:
    """Columns: an offset and a gain on the power that a meter has seen, in means over METER_STEP_S."""
    steps = max(int((time_s[-1] - time_s[0]) / METER_STEP_S), 2)
    border_s = np.linspace(float(time_s[0]), float(time_s[-1]), steps + 1)
    energy_j = np.concatenate([[0.0], np.cumsum(np.diff(time_s) * (power_w[1:] + power_w[:-1]) / 2)])
    mean_w = np.diff(np.interp(border_s, time_s, energy_j)) / np.diff(border_s)
    every_w = np.concatenate([mean_w[:1], mean_w, mean_w[-1:]])
    low_w, high_w = np.quantile(mean_w, [0.05, 0.95])
    return Load(border_s, np.stack([np.ones(len(every_w)), every_w], axis=1), 0, max(float(high_w - low_w), 1e-3))


def unexplained_w(load: Load, updates: Updates) -> float:
    """What is left over (rms) where the load is said not to reach the sensor: only its trend, or only an offset."""
    keeps = np.ones(load.powers.shape[1], dtype=bool)
    keeps[1 : 3 if load.trends else 2] = False
    mean = load.mean(Boxcar(1e-3), updates.time_s)[:, keeps]
    found, *_ = np.linalg.lstsq(mean, updates.value)
    return float(np.sqrt(np.mean((updates.value - mean @ found) ** 2)))


@dataclass(frozen=True, slots=True)
class Fits:
    """One fit for each lag: log likelihood, unknown powers (L, B), and rms of what is left over."""

    lag_s: Floats
    log_likelihood: Floats
    powers_w: Floats
    left_w: Floats

    @property
    def best(self) -> int:
        return int(np.argmax(self.log_likelihood))


def fits(load: Load, updates: Updates, response: Boxcar | FirstOrder, lag_s: Floats, jitter_s: float) -> Fits:
    """The load's levels fitted to updates at each of several lags. jitter_s: one sigma of ticks."""
    time_s = updates.time_s[None, :, None] - lag_s[:, None, None] + jitter_s * NODES
    seen = load.mean(response, time_s)
    mean = np.einsum("lknb,n->lkb", seen, NODE_WEIGHTS)
    value = updates.value
    variance = np.ones(mean.shape[:2])
    known = load.known(_rise_w(load, updates))
    powers_w = _solved(mean, value, variance, known)
    for _ in range(ROUNDS):
        least_w2 = (LEAST_NOISE_FRACTION * load.swing * powers_w[:, 1]) ** 2 + 1e-6
        shown_w = np.einsum("lknb,lb->lkn", seen, powers_w)
        moved_w2 = np.maximum(shown_w**2 @ NODE_WEIGHTS - (shown_w @ NODE_WEIGHTS) ** 2, 0.0)
        left_w = value - np.einsum("lkb,lb->lk", mean, powers_w)
        noise_w2 = _noise(left_w, moved_w2, least_w2, mean.shape[2])
        variance = moved_w2 + noise_w2[:, None]
        powers_w = _solved(mean, value, 1.0 / variance, known)
    left_w = value - np.einsum("lkb,lb->lk", mean, powers_w)
    unlike = np.sum((powers_w @ np.transpose(known)) ** 2, axis=1) + (lag_s / LAG_STD_S) ** 2
    log_likelihood = -0.5 * (np.sum(left_w**2 / variance + np.log(variance), axis=1) + unlike)
    log_likelihood = np.where(powers_w[:, 1] > 0.0, log_likelihood, -np.inf)
    return Fits(lag_s, log_likelihood, powers_w, np.sqrt(np.mean(left_w**2, axis=1)))


def _rise_w(load: Load, updates: Updates) -> float:
    """What the load draws on average above what was drawn before it; the whole range where that was not seen."""
    begun = updates.time_s > load.edge_s[0]
    if np.all(begun) or not np.any(begun):
        return float(np.ptp(updates.value))
    rise_w = float(np.median(updates.value[begun])) - float(np.median(updates.value[~begun]))
    return max(abs(rise_w), 1e-3)


def _solved(mean: Floats, value: Floats, weight: Floats, known: Floats) -> Floats:
    """Weighted least squares, with what is known of any load."""
    weighed = mean * weight[..., None]
    normal = np.swapaxes(weighed, 1, 2) @ mean
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal = normal + np.transpose(known) @ known + 1e-9 * scale * np.eye(mean.shape[2])
    moment = np.einsum("lkb,k->lb", weighed, value)
    return np.asarray(np.linalg.solve(normal, moment[..., None])[..., 0], np.float64)


def _noise(left_w: Floats, moved_w2: Floats, least_w2: Floats, unknowns: int) -> Floats:
    """The white variance with which residuals are as large as they should be, found by halving."""
    freedom = max(left_w.shape[1] - unknowns, 1)
    low, high = np.log(least_w2), np.log(np.maximum(np.max(left_w**2, axis=1), 2 * least_w2))
    for _ in range(20):
        middle = (low + high) / 2
        too_small = np.sum(left_w**2 / (moved_w2 + np.exp(middle)[:, None]), axis=1) > freedom
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    return np.asarray(np.exp((low + high) / 2), np.float64)

"""What kind of sensor this is, found from its readings of a load that switches at known times.

Every response in question is fitted at every lag; what is left over decides (profile likelihood). A lone step does not
tell a window: one reading on an edge can be any window at some lag. Many edges that fall into many places of the
sensor's period do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.responses import Boxcar, FirstOrder
from wattvlm.attribution.squarewave import Fits, Load, fits, load_of, metered_load, unexplained_w
from wattvlm.attribution.ticks import Floats, seconds_since
from wattvlm.attribution.updates import Updates, updates_of
from wattvlm.recording import Readings
from wattvlm.units import MS_PER_NS, NS_PER_S

ResponseKind = Literal["counter", "boxcar", "first-order", "unknown"]

FEWEST_EDGES = 8
LONE_STEP = "a lone step does not identify a window: drive a square wave of many edges, out of step with the sensor"

FEWEST_ON_EDGES = 8
"""So many readings must have an edge inside their window: there are six unknowns beside it."""

MOST_UPDATES = 240
LARGEST_EARLY_S = 0.03
"""How far a reading may be stamped before its window ends (reads that are stamped before they are made: 2-8 ms)."""

SETTLING_S = 0.5
"""Clocks rise for some hundred milliseconds once a load begins; readings of that time are left out."""

SHORTEST_S, LONGEST_S = 0.003, 1.3
COARSE_STEPS, FINE_STEPS = 30, 33
COARSE_LAGS, FINE_LAGS = 48, 25
LIKELY_PERIODS = np.array([0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 10.0])
"""Windows in update periods that are common; a coarse search holds them exactly, since aliasing makes peaks narrow."""

JITTERS_S = (0.0, 0.0005, 0.001, 0.002, 0.004)
LARGEST_LEFT_FRACTION = 0.15
"""A response that leaves more than this of the swing unexplained is none of those that are known."""

CHI2_95 = 3.84
WIDEST_RATIO = 2.0
"""Upper over lower end of an interval beyond which a window is not identified."""

LARGEST_GAP = 0.3
"""A load is in step with the sensor where its ticks leave more than this part of the load's period unvisited."""
IN_STEP = "the load is in step with the sensor: drive it at a period that is no simple fraction of the sensor's"

CLEARLY_SEEN = 1.5
"""A load that explains less than half of what moves in the readings is not what they show."""

CLEARLY = 3.0
"""By so much in log likelihood one response must be better than the other to be named."""


@dataclass(frozen=True, slots=True)
class SensorIdentity:
    """What a sensor was found to be.

    update_period_ns: None where its values keep no period. response: "counter" is an exact integral, "boxcar" a mean
    over a window, "first-order" an exponential memory. window_ns: 95 % interval of the window (of what a counter
    averages between ticks; for first-order of twice the time constant: a window with the same mean age and the same
    noise); None where the readings do not identify it. lag_ns: 95 % interval of how long after the end of its window a
    value appears (negative: stamped before); None without a fit. residual_fraction: rms of what is left unexplained,
    in parts of the load's swing. gain, offset_w: reading = gain x power + offset, against a meter, else None.
    reason: in plain words.
    """

    update_period_ns: int | None
    response: ResponseKind
    window_ns: tuple[int, int] | None
    lag_ns: tuple[int, int] | None
    residual_fraction: float | None
    reason: str
    gain: float | None = None
    offset_w: float | None = None


def identify(
    readings: Readings,
    edges_ns: Sequence[int] | NDArray[np.int64],
    *,
    is_counter: bool = False,
    meter: tuple[NDArray[np.int64], Floats] | None = None,
) -> SensorIdentity:
    """What kind of sensor gave these readings of a load that switched between two powers at `edges_ns`.

    edges_ns: monotonic ns, in order, of all times at which the load switched, as the program marked them, the first
    one to the higher power. is_counter: the readings are joules. meter: times (ns) and watts of a trusted meter on the
    same load, in order of time; gain and offset are found against it. Never raises for what a sensor did.
    """
    edges = np.asarray(edges_ns, dtype=np.int64)
    if len(edges) < 2 or len(readings) < 2:
        return _unknown(None, "there are no edges of a load, or no readings")
    origin_ns = int(edges[0])
    updates = updates_of(readings, origin_ns, is_counter=is_counter)
    if updates is None:
        return _unknown(None, "the value never changed: the load does not reach this sensor")
    if updates.comb is None:
        return _unknown(None, "its values keep no regular period; read it several times in each of its updates")
    period_ns = round(updates.comb.period_s * NS_PER_S)
    if len(edges) < FEWEST_EDGES:
        return _unknown(period_ns, LONE_STEP)
    edge_s = seconds_since(origin_ns, edges)
    powers = _mean_powers(updates) if is_counter else updates
    inside = powers.between(-3 * updates.comb.period_s, float(edge_s[-1]) - LARGEST_EARLY_S)
    if len(inside) < 5:
        return _unknown(period_ns, "there are fewer than five updates between the first and the last edge")
    if meter is not None:
        seen_s = seconds_since(origin_ns, meter[0])
        metered = inside.between(float(seen_s[0]), float(seen_s[-1]) - LARGEST_EARLY_S)
        return _identified(_thinned(metered), edge_s, metered_load(seen_s, meter[1]), period_ns, is_counter)
    if _widest_gap(inside.time_s, edge_s) > LARGEST_GAP:
        return _unknown(period_ns, IN_STEP)
    return _identified(_thinned(_settled(inside)), edge_s, load_of(edge_s), period_ns, is_counter)


def _unknown(period_ns: int | None, reason: str) -> SensorIdentity:
    return SensorIdentity(period_ns, "unknown", None, None, None, reason)


def _mean_powers(updates: Updates) -> Updates:
    """The mean powers between a counter's ticks, as readings of a mean over its period."""
    between_s = np.diff(updates.time_s)
    power_w = np.diff(updates.value) / np.maximum(between_s, 1e-9)
    return Updates(updates.time_s[1:], updates.std_s[1:], power_w, updates.comb)


def _settled(updates: Updates) -> Updates:
    kept = (updates.time_s < 0.0) | (updates.time_s > SETTLING_S)
    return Updates(updates.time_s[kept], updates.std_s[kept], updates.value[kept], updates.comb)


def _thinned(updates: Updates) -> Updates:
    kept = slice(0, MOST_UPDATES)
    return Updates(updates.time_s[kept], updates.std_s[kept], updates.value[kept], updates.comb)


def _widest_gap(time_s: Floats, edge_s: Floats) -> float:
    """The widest stretch of the load's period in which no tick falls, in parts of the period, once it has settled."""
    up_s = edge_s[::2]
    inside_s = time_s[(time_s > up_s[0] + SETTLING_S) & (time_s < up_s[-1])]
    if len(inside_s) < 2:
        return 1.0
    cycle = np.searchsorted(up_s, inside_s, "right") - 1
    place = np.sort((inside_s - up_s[cycle]) / (up_s[cycle + 1] - up_s[cycle]))
    return float(max(np.max(np.diff(place)), place[0] + 1.0 - place[-1]))


Kind = type[Boxcar] | type[FirstOrder]


@dataclass(frozen=True, slots=True)
class _Profile:
    """The best fit of each size of one kind of response, over lags and jitter."""

    kind: Kind
    size_s: Floats
    best: tuple[Fits, ...]

    @property
    def log_likelihood(self) -> Floats:
        return np.array([float(np.max(each.log_likelihood)) for each in self.best])

    @property
    def at(self) -> int:
        return int(np.argmax(self.log_likelihood))

    @property
    def top(self) -> float:
        return float(np.max(self.log_likelihood))


def _identified(updates: Updates, edge_s: Floats, load: Load, period_ns: int, is_counter: bool) -> SensorIdentity:
    box, slow = _searched(updates, load, Boxcar), _searched(updates, load, FirstOrder)
    kind, found = (Boxcar, box) if box.top >= slow.top else (FirstOrder, slow)
    fit = found.best[found.at]
    if unexplained_w(load, updates) < CLEARLY_SEEN * float(fit.left_w[fit.best]):
        return _unknown(period_ns, "the readings do not follow the load: it does not reach this sensor")
    swing_w = load.swing * abs(float(fit.powers_w[fit.best, 1]))
    fraction = float(fit.left_w[fit.best]) / swing_w if swing_w > 0 else float("inf")
    if fraction > LARGEST_LEFT_FRACTION:
        reason = f"no response of a known kind explains the readings ({fraction:.0%} of the swing is left over)"
        return SensorIdentity(period_ns, "unknown", None, None, fraction, reason)
    response, lag_s = kind(float(found.size_s[found.at])), float(fit.lag_s[fit.best])
    worth = CHI2_95 / 2 * _repetition(updates, load, response, fit)
    name: ResponseKind = "boxcar" if kind is Boxcar else "first-order"
    gain, offset_w = (
        (None, None) if load.trends else (float(fit.powers_w[fit.best, 1]), float(fit.powers_w[fit.best, 0]))
    )
    answer = SensorIdentity(period_ns, "unknown", None, _lag_interval(found, worth), fraction, "", gain, offset_w)
    if _on_edges(updates, edge_s, response, lag_s) < FEWEST_ON_EDGES:
        return replace(answer, reason=LONE_STEP)
    window_ns = _window_interval(found, worth)
    if abs(box.top - slow.top) < CLEARLY:
        other = _window_interval(slow if kind is Boxcar else box, worth)
        window_ns = min(window_ns[0], other[0]), max(window_ns[1], other[1])
        name = "unknown"
    words = f"{window_ns[0] * MS_PER_NS:.3g} to {window_ns[1] * MS_PER_NS:.3g} ms"
    if window_ns[1] > WIDEST_RATIO * window_ns[0]:
        reason = f"the readings allow any window of {words}: drive more edges, in other places of the sensor's period"
        return replace(answer, response=name, reason=reason)
    if is_counter and name == "boxcar" and window_ns[0] <= period_ns <= window_ns[1]:
        reason = "an exact counter: what it counts between ticks is the mean power over the whole of its period"
        return replace(answer, response="counter", window_ns=window_ns, reason=reason)
    what = {
        "boxcar": "a mean over", "first-order": "a first-order memory of twice the time constant,",
        "unknown": "a mean over a window or a first-order memory of twice the time constant,",
    }  # fmt: skip
    return replace(answer, response=name, window_ns=window_ns, reason=f"{what[name]} {words}")


def _window_interval(found: _Profile, worth: float) -> tuple[int, int]:
    """The sizes that the readings allow, one step of the search wider at both ends, as windows."""
    counts = np.flatnonzero(found.log_likelihood > found.top - worth)
    low, high = max(int(counts[0]) - 1, 0), min(int(counts[-1]) + 1, len(found.size_s) - 1)
    ends_ns = [round(found.kind(float(found.size_s[index])).window_s * NS_PER_S) for index in (low, high)]
    return ends_ns[0], ends_ns[1]


def _searched(updates: Updates, load: Load, kind: Kind) -> _Profile:
    """A coarse search over all sizes and lags, then a fine one around the best."""
    assert updates.comb is not None
    period_s = updates.comb.period_s
    sizes = np.unique(np.concatenate([np.geomspace(SHORTEST_S, LONGEST_S, COARSE_STEPS), period_s * LIKELY_PERIODS]))
    lags = np.linspace(-LARGEST_EARLY_S, 1.2 * period_s, COARSE_LAGS)
    coarse = _profile(updates, load, kind, sizes, lags, (float(np.diff(lags)[0]) / 3,))
    fit = coarse.best[coarse.at]
    size_s, lag_s = float(sizes[coarse.at]), float(fit.lag_s[fit.best])
    jitters: Sequence[float] = JITTERS_S
    fine = coarse
    for reach, steps in ((1.5, 13), (1.6, FINE_STEPS)):
        step_s = 3 * float(np.diff(lags)[0])
        lags = np.linspace(lag_s - step_s, lag_s + step_s, FINE_LAGS)
        sizes = np.geomspace(size_s / reach, size_s * reach, steps)
        fine = _profile(updates, load, kind, sizes, lags, jitters)
        fit = fine.best[fine.at]
        size_s, lag_s = float(sizes[fine.at]), float(fit.lag_s[fit.best])
        jitters = _likely_jitters(updates, load, kind(size_s), lags)
    return fine


def _likely_jitters(updates: Updates, load: Load, response: Boxcar | FirstOrder, lags: Floats) -> list[float]:
    tops = [float(np.max(fits(load, updates, response, lags, each).log_likelihood)) for each in JITTERS_S]
    return [each for each, top in zip(JITTERS_S, tops) if top > max(tops) - 2 * CHI2_95]


def _profile(
    updates: Updates, load: Load, kind: Kind, sizes: Floats, lags: Floats, jitters: Sequence[float]
) -> _Profile:
    best = [
        max((fits(load, updates, kind(float(size)), lags, each) for each in jitters),
            key=lambda fit: float(np.max(fit.log_likelihood)))
        for size in sizes
    ]  # fmt: skip
    return _Profile(kind, sizes, tuple(best))


def _repetition(updates: Updates, load: Load, response: Boxcar | FirstOrder, fit: Fits) -> float:
    """By how much neighbouring residuals repeat each other: what the model's shape lacks is shared by them."""
    shown = load.mean(response, updates.time_s - fit.lag_s[fit.best]) @ fit.powers_w[fit.best]
    left_w = updates.value - shown
    alike = float(left_w[1:] @ left_w[:-1]) / max(float(left_w @ left_w), 1e-12)
    return (1.0 + max(alike, 0.0)) / (1.0 - min(max(alike, 0.0), 0.9))


def _lag_interval(found: _Profile, worth: float) -> tuple[int, int]:
    every = [
        float(lag_s)
        for fit in found.best
        for lag_s, likely in zip(fit.lag_s, fit.log_likelihood)
        if likely > found.top - worth
    ]
    step_s = float(np.diff(found.best[0].lag_s)[0])
    return round((min(every) - step_s) * NS_PER_S), round((max(every) + step_s) * NS_PER_S)


def _on_edges(updates: Updates, edge_s: Floats, response: Boxcar | FirstOrder, lag_s: float) -> int:
    """How many readings saw more than one level: their windows hold an edge of the load."""
    is_high = (np.arange(len(edge_s) + 1) % 2 == 1).astype(np.float64)[:, None]
    seen = Load(edge_s, is_high, 0).mean(response, updates.time_s - lag_s)
    return int(np.sum((seen > 0.02) & (seen < 0.98)))

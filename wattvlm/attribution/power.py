"""What a power sensor or a model of power says of the cumulative energy curve.

A reading p at time t is the mean power over a window (t - W, t]. Three cases, for a block (a, b] of readings a period
T apart and a largest power Pmax:

* W >= T: sum(p dt) weighs every moment of the block by 1 except for ramps of length W at its ends, which hold at most
  Pmax W / 2 too much or too little.
* W < T (25 ms of each 100 ms on an A100), or W unknown (then taken as 0): only the windows were seen. The least is
  what they hold; the most adds Pmax for all time unseen.
* The 95 % interval, from MANY_READINGS readings on: what was not seen is taken to be like its neighbours, with the
  error of a sample. Neighbouring readings differ by d: sd = (T - W) sqrt(sum d^2), plus the ramps' range W / 2 (W = 1 s
  where unknown) and Pmax for gaps. It holds for loads that are not in step with the sensor's ticks.

A model's watts are a definition, not an observation: their joules are the trapezoid integral, and the interval is the
model's own uncertainty, at least half of the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattvlm.attribution.curve import ASSUMED_RATE, TWO_SIDED_95, limit_of
from wattvlm.attribution.ticks import Counts, Floats, Times, seconds_since
from wattvlm.recording import Readings
from wattvlm.sensing import Channel
from wattvlm.units import NS_PER_S, S_PER_NS

MANY_READINGS = 32
"""Below this many readings in a window a sample's error is not trusted (good practice of arXiv 2312.02741)."""

LONGEST_WINDOW_NS = NS_PER_S
"""The longest averaging window in the field: NVML's one-second mean on Ampere and later."""

GAP_PERIODS = 2.5
"""Readings further apart than this many periods have a gap between them."""

LEAST_MODEL_FRACTION = 0.5
"""A model of power is never claimed to be better than this: CPU models are 15-58 % off (facts on estimators)."""


def model_error_fraction(channel: Channel) -> float:
    """95 % half-width of a model as a fraction of its value."""
    return max(LEAST_MODEL_FRACTION, TWO_SIDED_95 * channel.gain_std_fraction)


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """The Curve of a sensor that reports watts."""

    channel: Channel
    origin_ns: int
    time_s: Floats
    power_w: Floats
    knot_s: Floats
    summed_j: Floats
    limit_w: float
    notes: tuple[str, ...] = ()

    @property
    def span_ns(self) -> tuple[int, int]:
        return self.origin_ns + round(self.time_s[0] / S_PER_NS), self.origin_ns + round(self.time_s[-1] / S_PER_NS)

    @property
    def step_ns(self) -> Times:
        return _between_ns(self.origin_ns, self.knot_s)

    @property
    def period_s(self) -> float:
        return float(np.median(np.diff(self.time_s)))

    @property
    def seen_s(self) -> float:
        """The stretch of each period that a reading is known to have seen; 0 where the window is unknown."""
        return (self.channel.window_ns or 0) * S_PER_NS

    def _seconds(self, time_ns: Times) -> Floats:
        return seconds_since(self.origin_ns, time_ns)

    def middle_j(self, time_ns: Times) -> Floats:
        return _middle_j(self._seconds(time_ns), self.knot_s, self.summed_j, self.power_w)

    def least_j(self, start_ns: Times, end_ns: Times) -> Floats:
        start_s, end_s = self._seconds(start_ns), self._seconds(end_ns)
        if self._sees_everything:
            inside_j, _ = self._inside(start_s, end_s)
            return np.maximum(inside_j - self._ramp_j - self._stamp_error_j(start_s, end_s), 0.0)
        return self._whole_windows(start_s, end_s)[0]

    def most_j(self, start_ns: Times, end_ns: Times) -> Floats:
        start_s, end_s = self._seconds(start_ns), self._seconds(end_ns)
        length_s = np.maximum(end_s - start_s, 0.0)
        if self._sees_everything:
            inside_j, outside_s = self._inside(start_s, end_s)
            most_j = inside_j + self._ramp_j + self.limit_w * outside_s + self._stamp_error_j(start_s, end_s)
        else:
            seen_j, seen_s = self._whole_windows(start_s, end_s)
            most_j = seen_j + self.limit_w * (length_s - seen_s)
        return np.minimum(most_j, self.limit_w * length_s)

    def low_j(self, start_ns: Times, end_ns: Times) -> Floats:
        middle_j, half_j = self._sampled(start_ns, end_ns)
        return np.maximum(self.least_j(start_ns, end_ns), middle_j - half_j)

    def high_j(self, start_ns: Times, end_ns: Times) -> Floats:
        middle_j, half_j = self._sampled(start_ns, end_ns)
        return np.minimum(self.most_j(start_ns, end_ns), middle_j + half_j)

    def ticks(self, start_ns: Times, end_ns: Times) -> Counts:
        first, end = self._readings(self._seconds(start_ns), self._seconds(end_ns))
        return end - first

    @property
    def _sees_everything(self) -> bool:
        return self.seen_s >= 0.95 * self.period_s

    @property
    def _ramp_j(self) -> float:
        return self.limit_w * self.seen_s / 2

    def _readings(self, start_s: Floats, end_s: Floats) -> tuple[Counts, Counts]:
        first = np.searchsorted(self.time_s, start_s, "left")
        return first, np.maximum(np.searchsorted(self.time_s, end_s, "right"), first)

    def _inside(self, start_s: Floats, end_s: Floats) -> tuple[Floats, Floats]:
        """(sum of p dt between the first and last reading inside, time of the window outside these or in gaps)."""
        first, end = self._readings(start_s, end_s)
        spacing_s = np.concatenate([[0.0], np.diff(self.time_s)])
        is_gap = spacing_s > GAP_PERIODS * max(self.period_s, self.seen_s)
        energy_j = np.cumsum(np.where(is_gap, 0.0, spacing_s * self.power_w))
        covered_s = np.cumsum(np.where(is_gap, 0.0, spacing_s))
        several = end - first >= 2
        low, high = np.minimum(first, len(energy_j) - 1), np.maximum(end - 1, 0)
        inside_j = np.where(several, energy_j[high] - energy_j[low], 0.0)
        inside_s = np.where(several, covered_s[high] - covered_s[low], 0.0)
        return inside_j, np.maximum(end_s - start_s - inside_s, 0.0)

    def _stamp_error_j(self, start_s: Floats, end_s: Floats) -> Floats:
        """Readings that are not evenly spaced weigh moments unevenly; and a value is rounded to its resolution."""
        first, end = self._readings(start_s, end_s)
        jitter_s = float(np.std(np.diff(self.time_s)))
        rounding_j = (self.channel.resolution_w or 0.0) * np.maximum(end_s - start_s, 0.0)
        weighed_s = 2.0 * jitter_s * np.sqrt(np.asarray(end - first, dtype=np.float64))
        return weighed_s * float(np.max(self.power_w)) + rounding_j

    def _whole_windows(self, start_s: Floats, end_s: Floats) -> tuple[Floats, Floats]:
        """(joules, seconds) of the averaging windows that lie wholly inside."""
        first, end = self._readings(start_s + self.seen_s, end_s)
        summed_w = np.concatenate([[0.0], np.cumsum(self.power_w)])
        seen_s = np.asarray(end - first, dtype=np.float64) * self.seen_s
        return (summed_w[end] - summed_w[first]) * self.seen_s, seen_s

    def _sampled(self, start_ns: Times, end_ns: Times) -> tuple[Floats, Floats]:
        """(middle, half-width) of the sample's 95 % interval; infinite below MANY_READINGS readings."""
        start_s, end_s = self._seconds(start_ns), self._seconds(end_ns)
        first, end = self._readings(start_s, end_s)
        unseen_s = max(self.period_s - self.seen_s, 0.0)
        squares = np.concatenate([[0.0, 0.0], np.cumsum(np.diff(self.power_w) ** 2)])
        sampling_j = TWO_SIDED_95 * unseen_s * np.sqrt(np.maximum(squares[end] - squares[first], 0.0))
        window_s = self.seen_s if self.channel.window_ns is not None else LONGEST_WINDOW_NS * S_PER_NS
        ramp_j = float(np.ptp(self.power_w)) * max(window_s, self.period_s) / 2
        _, outside_s = self._inside(start_s, end_s)
        outside_j = self.limit_w * np.maximum(outside_s - 2 * self.period_s, 0.0)
        half_j = sampling_j + ramp_j + outside_j + self._stamp_error_j(start_s, end_s)
        middle_j = self.middle_j(end_ns) - self.middle_j(start_ns)
        return middle_j, np.where(end - first >= MANY_READINGS, half_j, np.inf)


@dataclass(frozen=True, slots=True)
class ModelCurve:
    """The Curve of a model of power: its joules are what it says, and its interval is how wrong it may be."""

    channel: Channel
    origin_ns: int
    time_s: Floats
    power_w: Floats
    summed_j: Floats
    notes: tuple[str, ...] = ()

    @property
    def span_ns(self) -> tuple[int, int]:
        return self.origin_ns + round(self.time_s[0] / S_PER_NS), self.origin_ns + round(self.time_s[-1] / S_PER_NS)

    @property
    def step_ns(self) -> Times:
        return _between_ns(self.origin_ns, self.time_s)

    def middle_j(self, time_ns: Times) -> Floats:
        return _middle_j(seconds_since(self.origin_ns, time_ns), self.time_s, self.summed_j, self.power_w)

    def least_j(self, start_ns: Times, end_ns: Times) -> Floats:
        return self._said_j(start_ns, end_ns) * max(1.0 - model_error_fraction(self.channel), 0.0)

    def most_j(self, start_ns: Times, end_ns: Times) -> Floats:
        return self._said_j(start_ns, end_ns) * (1.0 + model_error_fraction(self.channel))

    def low_j(self, start_ns: Times, end_ns: Times) -> Floats:
        return self.least_j(start_ns, end_ns)

    def high_j(self, start_ns: Times, end_ns: Times) -> Floats:
        return self.most_j(start_ns, end_ns)

    def ticks(self, start_ns: Times, end_ns: Times) -> None:
        """A model has no ticks."""

    def _said_j(self, start_ns: Times, end_ns: Times) -> Floats:
        return np.maximum(self.middle_j(end_ns) - self.middle_j(start_ns), 0.0)


def power_curve(channel: Channel, readings: Readings, origin_ns: int) -> PowerCurve | None:
    """The curve of a power sensor's readings, or None for fewer than two."""
    columns = _columns(readings, origin_ns)
    if columns is None:
        return None
    time_s, power_w = columns
    stated_w = limit_of(channel)
    limit_w = max(stated_w or 0.0, float(np.max(power_w)))
    if stated_w is None:
        limit_w *= ASSUMED_RATE
    centre_s = time_s - (channel.window_ns or 0) * S_PER_NS / 2
    return PowerCurve(channel, origin_ns, time_s, power_w, centre_s, _trapezoid_j(centre_s, power_w), limit_w)


def model_curve(channel: Channel, readings: Readings, origin_ns: int) -> ModelCurve | None:
    """The curve of a model's readings, or None without any."""
    columns = _columns(readings, origin_ns, least=1)
    if columns is None:
        return None
    time_s, power_w = columns
    return ModelCurve(channel, origin_ns, time_s, power_w, _trapezoid_j(time_s, power_w))


def _columns(readings: Readings, origin_ns: int, least: int = 2) -> tuple[Floats, Floats] | None:
    """Times in seconds and watts, each time once; None for fewer than `least` readings."""
    time_ns, first = np.unique(readings.time_ns, return_index=True)
    if len(time_ns) < least:
        return None
    return seconds_since(origin_ns, time_ns), np.maximum(readings.value[first], 0.0)


def _trapezoid_j(time_s: Floats, power_w: Floats) -> Floats:
    steps_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(time_s)
    return np.concatenate([[0.0], np.cumsum(steps_j)])


def _middle_j(time_s: Floats, knot_s: Floats, summed_j: Floats, power_w: Floats) -> Floats:
    """The trapezoid sum between its knots, the end readings' power before and after them."""
    before_j = np.minimum(time_s - knot_s[0], 0.0) * power_w[0]
    after_j = np.maximum(time_s - knot_s[-1], 0.0) * power_w[-1]
    summed: Floats = np.interp(time_s, knot_s, summed_j) + before_j + after_j
    return summed


def _between_ns(origin_ns: int, knot_s: Floats) -> Times:
    """The moments half-way between readings: from one to the next, the mean power is a reading's own."""
    return origin_ns + np.round((knot_s[1:] + knot_s[:-1]) / 2 / S_PER_NS).astype(np.int64)

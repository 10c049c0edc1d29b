"""A counter's clusters with the readings of a power field that lie wholly inside them: rows of both, stacked.

A reading of the field is one row more, over the same segments and boundaries. By how much the field differs (its gain,
its offset, how late it is beside the counter, how long its window is) are unknowns that all clusters share: kinds
without time, in the form of slopes, whose joules are none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.countprofile import left_over
from wattvlm.attribution.mixed import SLOPE_STD_FRACTION
from wattvlm.attribution.powerviews import PowerView
from wattvlm.attribution.responses import Response
from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import (
    LEVEL,
    RAMP_LEFT_S,
    RAMP_REACH_S,
    Blur,
    Chain,
    Clusters,
    CounterView,
    Segments,
    Which,
)

EXTRA = 4
"""Unknowns of a field: gain, offset, how late it is, and the scale of its window."""

LEAST_OVER_S = 0.2e-3
"""A reading's slope over a boundary is a mean over this to either side."""


@dataclass(frozen=True, slots=True)
class JointView:
    """Rows of a counter, then those of a field."""

    counter: CounterView
    power: PowerView

    @property
    def counted(self) -> int:
        """How many rows, the first ones, are the counter's."""
        return self.counter.counted

    def up_to(self, time_s: Floats) -> Floats:
        return np.concatenate([self.counter.up_to(time_s), self.power.up_to(time_s)], axis=1)

    def summed_up_to(self, time_s: Floats) -> Floats:
        return np.concatenate([self.counter.summed_up_to(time_s), self.power.summed_up_to(time_s)], axis=1)

    def chosen(self, which: Which) -> JointView:
        return JointView(self.counter.chosen(which), self.power.chosen(which))

    def bent_s2(self, time_s: Floats, over_s: Floats) -> Floats:
        """As the counter's, and of each row of the field: what boundaries beside the ends of its window leave over."""
        age_s = self.power.tick_s[:, :, None] - time_s[:, None, :]
        half_s = over_s[:, None, :]
        beside = np.zeros(age_s.shape)
        for at_s, jump in self.power.response.jumps:
            side = np.minimum(np.maximum((age_s - at_s) / half_s, -1.0), 1.0)
            beside += jump**2 * half_s**2 * left_over(side)
        return np.concatenate([self.counter.bent_s2(time_s, over_s), beside], axis=1)

    def ramp_s2(self, time_s: Floats) -> Floats:
        """As the counter's, and of each row of the field, for both ends of its window."""
        age_s = self.power.tick_s[:, :, None] - time_s[:, None, :]
        left = np.zeros(age_s.shape)
        for at_s, jump in self.power.response.jumps:
            left += (jump * RAMP_LEFT_S * np.exp(-np.abs(age_s - at_s) / RAMP_REACH_S)) ** 2
        return np.concatenate([self.counter.ramp_s2(time_s), left], axis=1)


@dataclass(frozen=True, slots=True)
class JointClusters(Clusters):
    """Clusters whose last EXTRA columns are what a field differs by; differs (J, M, EXTRA): what rows show of these."""

    differs: Floats

    def weights(self, lag_s: float, blur: Blur | None = None) -> Floats:
        found = Clusters.weights(self, lag_s, blur)
        found[:, :, -EXTRA:] = self.differs
        return found

    def chosen(self, which: Which) -> JointClusters:
        own = Clusters.chosen(self, which)
        return _joined(own, self.differs[which])


def _joined(own: Clusters, differs: Floats) -> JointClusters:
    return JointClusters(
        own.segments, own.view, own.values, own.own_noise, own.shared_noise, own.real, own.from_s, own.to_s,
        own.first_row, own.last_row, differs,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """A field's readings: tick_s on the counter's clock but for how late it is; and what is taken of them.

    later_s: how late its ticks are beside the counter's; gain, offset_w: what it shows more. noise_w, jitter_s: one
    sigma of readings and of ticks. whole_s: readings are taken so long after a cluster's start, or when they reach no
    further back. std: one sigma of what is left of gain, offset, lateness (s) and scale.
    """

    tick_s: Floats
    value_w: Floats
    response: Response
    later_s: float = 0.0
    gain: float = 0.0
    offset_w: float = 0.0
    noise_w: float = 0.0
    jitter_s: float = 0.0
    whole_s: float = 0.0
    std: tuple[float, float, float, float] = (0.02, 3.0, 0.001, 0.05)

    @property
    def power_w(self) -> Floats:
        """As the counter would show it."""
        return np.asarray((self.value_w - self.offset_w) / (1.0 + self.gain), np.float64)


def stacked(chain: Chain, field: Field, usual_w: Floats, lag_s: float, limit_w: float) -> Chain:
    """A counter's chain with the field's rows, linear around usual powers (kinds,) and a lag of the marks."""
    clusters = tuple(_stacked(own, field, usual_w, lag_s, limit_w, chain.kinds) for own in chain.clusters)
    none, slope = np.full(EXTRA, -1, dtype=np.int64), np.ones(EXTRA, dtype=bool)
    return replace(
        chain, clusters=clusters, of_row=np.concatenate([chain.of_row, none]),
        is_slope=np.concatenate([chain.is_slope, slope]),
    )  # fmt: skip


def _stacked(own: Clusters, field: Field, usual_w: Floats, lag_s: float, limit_w: float, kinds: int) -> Clusters:
    if not isinstance(own.view, CounterView):
        raise TypeError("a field is stacked beside a counter")
    at_s, response = field.tick_s - field.later_s, field.response
    first = np.searchsorted(at_s, own.from_s + max(response.reach_s, field.whole_s), "left")
    count = np.maximum(np.searchsorted(at_s, own.to_s, "right") - first, 0)
    row = np.arange(max(int(np.max(count)), 1))
    real = row < count[:, None]
    tick = np.minimum(np.minimum(first[:, None] + row, np.maximum(first + count - 1, 0)[:, None]), len(at_s) - 1)
    view = PowerView(at_s[tick], response)
    power_w = field.power_w[tick]
    differs, by_lag = _differs(own.segments, view, power_w, usual_w, lag_s, field)
    noise_w2 = field.noise_w**2 + field.jitter_s**2 * by_lag**2
    unit = SLOPE_STD_FRACTION * limit_w
    shown = np.concatenate([np.zeros((*own.values.shape, EXTRA)), differs * real[:, :, None]], axis=1) / unit
    widened = replace(
        own, segments=_with_extra(own.segments, kinds), view=JointView(own.view, view),
        values=np.concatenate([own.values, power_w * real], axis=1),
        own_noise=np.concatenate([own.own_noise, np.where(real, noise_w2, 1.0)], axis=1),
        real=np.concatenate([own.real, real], axis=1),
    )  # fmt: skip
    return _joined(widened, shown)


def _differs(
    own: Segments, view: PowerView, power_w: Floats, usual_w: Floats, lag_s: float, field: Field
) -> tuple[Floats, Floats]:
    """(what rows show of one sigma of each of the EXTRA (J, M, EXTRA), watts for each second of lateness)."""
    time_s = own.start_s + lag_s
    weight = (view.up_to(time_s + LEAST_OVER_S) - view.up_to(time_s - LEAST_OVER_S)) / (2 * LEAST_OVER_S)
    left_w = usual_w[np.take_along_axis(own.kind, np.maximum(own.before, 0), axis=1)]
    step_w = np.where(own.before >= 0, left_w - usual_w[own.kind], 0.0)
    later = weight * step_w[:, None, :]
    age_s = view.tick_s[:, :, None] - time_s[:, None, :]
    by_lag, by_scale = np.sum(later, axis=2), np.sum(later * age_s, axis=2)
    found = np.stack([power_w, np.ones(power_w.shape), by_lag, by_scale], axis=2) * np.array(field.std)
    return np.asarray(found, np.float64), np.asarray(by_lag, np.float64)


def _with_extra(own: Segments, kinds: int) -> Segments:
    """The segments with EXTRA columns of no time, of kinds of their own."""
    shape = len(own.kind), EXTRA
    none_s, minus = np.zeros(shape), np.full(shape, -1, dtype=np.int64)
    kind = np.broadcast_to(kinds + np.arange(EXTRA), shape)
    level = np.full(shape, LEVEL)
    extra = Segments(
        none_s, none_s, kind, minus, level, minus, minus, none_s, none_s, np.full(shape, np.inf), none_s, none_s
    )
    return own.beside(extra)

"""A power sensor's readings as a view of the power curve, for the mixed model.

Each reading is a row of its own: watts weighed over the time before its tick (see `responses`). Rows are put into
clusters that end in pauses between calls, where there are any; a cluster accounts for the joules of its own stretch of
time, and its rows see as far back as the response reaches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.clusters import LARGEST_LAG_S, Spans, joined_chain, segments_of
from wattvlm.attribution.responses import Response
from wattvlm.attribution.ticks import Floats, seconds_since
from wattvlm.attribution.timeline import Timeline
from wattvlm.attribution.updates import Updates
from wattvlm.attribution.views import Chain, Clusters, Which
from wattvlm.units import NS_PER_S

ROWS_A_CLUSTER = 64
"""About so many readings lie in a cluster: what a cluster's first readings see of the one before counts for little."""

EARLIER_NS = 100 * NS_PER_S
"""Before the recording, power is taken to be what it is in the recording's first segment."""


@dataclass(frozen=True, slots=True)
class PowerView:
    """Readings of a power sensor: k of each row is the response, ending at its tick. tick_s (J, M); values in watts."""

    tick_s: Floats
    response: Response

    @property
    def counted(self) -> int:
        return int(self.tick_s.shape[1])

    def up_to(self, time_s: Floats) -> Floats:
        return 1.0 - self.response.reached(self._age_s(time_s))

    def summed_up_to(self, time_s: Floats) -> Floats:
        age_s = self._age_s(time_s)
        return self.response.mean_age_s - age_s + self.response.reached_s(age_s)

    def _age_s(self, time_s: Floats) -> Floats:
        return self.tick_s[:, :, None] - time_s[:, None, :]

    def chosen(self, which: Which) -> PowerView:
        return PowerView(self.tick_s[which], self.response)

    def bent_s2(self, time_s: Floats, over_s: Floats) -> Floats:
        return np.zeros((len(self.tick_s), self.tick_s.shape[1] + 1, time_s.shape[1]))

    def ramp_s2(self, time_s: Floats) -> Floats:
        return np.zeros((len(self.tick_s), self.tick_s.shape[1] + 1, time_s.shape[1]))


def power_chain(
    timeline: Timeline, updates: Updates, origin_ns: int, response: Response, lag_s: float, noise_w2: Floats
) -> Chain:
    """The clusters of a power sensor's readings. lag_s: by how much all ticks are stamped late; noise_w2: of each.

    Clusters have the same readings whatever the lag is, so that lags can be told apart by some of the clusters.
    """
    tick_s = updates.time_s - lag_s
    border_s = _borders(timeline, updates.time_s, origin_ns)
    group = np.searchsorted(border_s, updates.time_s, "left") - 1
    count = np.bincount(group, minlength=len(border_s) - 1)
    first = np.cumsum(count) - count
    row = np.arange(int(np.max(count)))
    real = row < count[:, None]
    tick = np.minimum(first[:, None] + row, np.maximum(first + count - 1, 0)[:, None])
    from_s, to_s = border_s[:-1], border_s[1:]
    spans = Spans(
        np.minimum(from_s, tick_s[tick[:, 0]] - response.reach_s) - LARGEST_LAG_S,
        np.maximum(to_s, tick_s[tick[:, -1]]) + LARGEST_LAG_S,
        np.full(len(first), -1),
        np.full(len(first), -1),
    )
    start_ns = np.concatenate([timeline.start_ns[:1] - EARLIER_NS, timeline.start_ns[1:]])
    segments = segments_of(replace(timeline, start_ns=start_ns), spans, origin_ns)
    clusters = Clusters(
        segments,
        PowerView(tick_s[tick], response),
        updates.value[tick] * real,
        np.where(real, noise_w2[tick], 1.0),
        np.zeros(len(first)),
        real,
        from_s,
        to_s,
        np.full(len(first), -1),
        np.full(len(first), -1),
    )
    return joined_chain([clusters], np.zeros(timeline.rows + 1), timeline, float(np.mean(updates.value)))


def _borders(timeline: Timeline, tick_s: Floats, origin_ns: int) -> Floats:
    """Where clusters begin and end: in the middle of pauses, or where segments meet, once there are rows enough."""
    start_s = seconds_since(origin_ns, timeline.start_ns)
    end_s = seconds_since(origin_ns, timeline.end_ns)
    is_pause = timeline.row < 0
    usable_s = (start_s + end_s)[is_pause] / 2 if np.sum(is_pause) > 2 else start_s[1:]
    rows = np.searchsorted(tick_s, usable_s)
    borders = [min(float(start_s[0]), float(tick_s[0])) - 1.0]
    begun = 0
    for at_s, row in zip(usable_s, rows):
        if row - begun >= ROWS_A_CLUSTER and len(tick_s) - row >= ROWS_A_CLUSTER // 2:
            borders.append(float(at_s))
            begun = int(row)
    return np.array([*borders, max(float(end_s[-1]), float(tick_s[-1])) + 1.0])

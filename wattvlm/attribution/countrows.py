"""A counter's ticks around one call, or a few: when each value was taken, how unsure that is, and joules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattvlm.attribution.clusters import known_ticks
from wattvlm.attribution.counter import CounterCurve
from wattvlm.attribution.evenpowers import Columns
from wattvlm.attribution.ticks import Counts, Floats, is_free_running, seconds_since
from wattvlm.attribution.timeline import Timeline
from wattvlm.recording import Recording
from wattvlm.units import S_PER_NS

FEWEST_TICKS = 8
"""With fewer ticks than this nothing is tried; how many more than unknowns are needed is another matter."""

BESIDE_S = 1.0
"""Of a counter, ticks this long before the first call and after the last are used."""

EDGE_S = 0.008
"""Power is even so far from boundaries, wherever marks are."""

LEAST_PLACE_S = 20e-6
"""When a counter took a value is known no better than this, one sigma."""


@dataclass(frozen=True, slots=True)
class CountRows:
    """A counter's ticks (R,): when, the variance of that (s^2), and joules above the first."""

    tick_s: Floats
    place_s2: Floats
    energy_j: Floats


def count_rows(
    curve: CounterCurve, timeline: Timeline, columns: Columns, recording: Recording, lag_s: float
) -> CountRows | None:
    """The ticks around the calls; None where a call is not wholly between two of them."""
    ticks = next(piece.stretch.ticks for piece in curve.pieces if piece.stretch is not None)
    took_s = float(np.median(recording.readings[curve.channel.name].took_ns)) * S_PER_NS
    resolution_j = curve.channel.resolution_j or 0.0
    known = known_ticks(ticks, resolution_j, took_s, is_free_running(curve.channel))
    start_s, end_s = seconds_since(curve.origin_ns, np.array(timeline.in_calls_ns))
    near = np.flatnonzero((known.late_s > start_s - BESIDE_S) & (known.early_s < end_s + BESIDE_S))
    if len(near) < FEWEST_TICKS or known.late_s[near[0]] > start_s - lag_s or known.early_s[near[-1]] < end_s + lag_s:
        return None
    tick_s, energy_j = known.middle_s[near], known.energy_j[near] - known.energy_j[near[0]]
    unsteady_s2 = _unsteady_s2(tick_s, energy_j, columns, resolution_j)
    return CountRows(tick_s, np.maximum(known.place_s2[near], max(unsteady_s2, LEAST_PLACE_S**2)), energy_j)


def _unsteady_s2(tick_s: Floats, energy_j: Floats, columns: Columns, resolution_j: float) -> float:
    """How much later or earlier than its neighbours say a value was taken, in the mean of squares over even power."""
    edge_s = np.concatenate([columns.start_s[1:] - EDGE_S, columns.start_s[1:] + EDGE_S])
    place: Counts = np.searchsorted(np.sort(edge_s), tick_s)
    even: Counts = np.flatnonzero((place[:-2] == place[2:]) & (place[1:-1] % 2 == 0)) + 1
    if not len(even):
        return 0.0
    before, after = even - 1, even + 1
    level_w = (energy_j[after] - energy_j[before]) / np.maximum(tick_s[after] - tick_s[before], S_PER_NS)
    line_j = energy_j[before] + level_w * (tick_s[even] - tick_s[before])
    unsteady_j2 = (energy_j[even] - line_j) ** 2 / 1.5 - resolution_j**2 / 12
    return max(float(np.mean(unsteady_j2 / np.maximum(level_w, 1e-3) ** 2)), 0.0)

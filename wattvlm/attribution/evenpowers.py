"""The unknown powers of one call, or a few: what readings of a power sensor show of them, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.responses import Response
from wattvlm.attribution.ticks import Floats, seconds_since
from wattvlm.attribution.timeline import Indices, Timeline
from wattvlm.attribution.views import SLOPE_S
from wattvlm.units import S_PER_NS

UNSTATED_STD_S, LARGEST_OFF_S = 0.001, 0.004
"""Each boundary is taken to be off on its own, by this beside what is stated of it (one sigma), and by this at most."""

SLOPED_FROM_S = 0.008
"""What a shorter segment draws has no slope that counts."""

LARGEST_DRIFT_FRACTION, DRIFT_STD_FRACTION = 0.25, 0.06
"""A segment may drift from end to end by this part of the largest power at most, and by this (one sigma) if short."""

FREE_FROM_S = 0.25
"""A segment this long may drift as far as it can: of its power, only the largest drift is known."""

USUAL_IDLE_FRACTION, USUAL_DRIFT = 0.1, 0.2
"""Of what fits about as well, the middle takes times without phases to be alike to 0.1 of the largest power (one
sigma), and drifts to be 0.2 of the largest. Bounds know nothing of this."""

EARLIER_S = 100.0
"""Before the first segment and after the last, power is what it is in these."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Segments (M,), how unsure the M - 1 boundaries between them are, and the unknown power of each segment.

    sloped: which have a slope, the unknowns after the powers. low_w, high_w: of powers, then of slopes (watts in
    SLOPE_S). usual (rows, unknowns): sums that are usually about 0, in their usual sizes: slopes, and what differs
    between times in which no phase runs. drifts: the same for slopes of short segments, which bounds go by as well.
    """

    start_s: Floats
    end_s: Floats
    boundary_std_s: Floats
    owner: Indices
    sloped: Indices
    powers: int
    low_w: Floats
    high_w: Floats
    usual: Floats
    drifts: Floats

    def moved(self, response: Response, tick_s: Floats, unknown_w: Floats) -> Floats:
        """What readings show of each boundary's being later by a second, at these powers, (ticks, boundaries)."""
        age_s = tick_s[:, None] - self.start_s[1:]
        half_s = UNSTATED_STD_S
        weight = (response.reached(age_s + half_s) - response.reached(age_s - half_s)) / (2 * half_s)
        power_w = unknown_w[self.owner]
        return np.asarray(weight * (power_w[:-1] - power_w[1:]), np.float64)

    def joules(self, inside_s: Floats, unknown_w: Floats) -> tuple[Floats, Floats]:
        """Joules of a watt of each unknown, and of each boundary's being later, within seconds of each segment."""
        of_powers = np.zeros(len(self.low_w))
        of_powers[: self.powers] = np.bincount(self.owner, inside_s, self.powers)
        part = np.asarray(inside_s / np.maximum(self.end_s - self.start_s, S_PER_NS), np.float64)
        drawn_w = part * unknown_w[self.owner]
        return of_powers, np.asarray(drawn_w[:-1] - drawn_w[1:], np.float64)

    def weights(self, response: Response, tick_s: Floats) -> Floats:
        """What readings whose windows end at ticks show of a watt of each unknown, (ticks, unknowns)."""
        start_age_s = tick_s[:, None] - self.start_s
        end_age_s = tick_s[:, None] - self.end_s
        levels = response.reached(start_age_s) - response.reached(end_age_s)
        found: Floats = levels @ np.asarray(self.owner[:, None] == np.arange(self.powers), np.float64)
        start_age_s, end_age_s = start_age_s[:, self.sloped], end_age_s[:, self.sloped]
        half_s = (self.end_s - self.start_s)[self.sloped] / 2
        both = response.reached(start_age_s) + response.reached(end_age_s)
        moments = response.reached_s(start_age_s) - response.reached_s(end_age_s) - half_s * both
        return np.concatenate([found, moments / SLOPE_S], axis=1)


def columns_of(
    timeline: Timeline, between: str, limit_w: float, origin_ns: int, unstated_std_s: float = UNSTATED_STD_S
) -> Columns:
    """The unknowns of a timeline. between: the name of the time between phases, which has one power throughout."""
    start_s, end_s = seconds_since(origin_ns, timeline.start_ns), seconds_since(origin_ns, timeline.end_ns)
    shared = timeline.kinds.index(between) if between in timeline.kinds else -1
    is_shared = timeline.kind == shared
    keys = np.where(is_shared, -1, np.arange(len(start_s)))
    _, owner = np.unique(keys, return_inverse=True)
    sloped = np.flatnonzero((timeline.row >= 0) & ~is_shared & (end_s - start_s >= SLOPED_FROM_S))
    steepest_w = LARGEST_DRIFT_FRACTION * limit_w * SLOPE_S / (end_s - start_s)[sloped]
    powers = int(np.max(owner)) + 1
    is_short = (end_s - start_s)[sloped] < FREE_FROM_S
    start_s[0] -= EARLIER_S
    end_s[-1] += EARLIER_S
    idle = np.unique(owner[(timeline.row < 0) | is_shared])
    boundary_std_s = np.hypot(unstated_std_s, timeline.start_std_ns[1:] * S_PER_NS)
    return Columns(
        start_s, end_s, boundary_std_s, owner.astype(np.int64), sloped.astype(np.int64), powers,
        np.concatenate([np.zeros(powers), -steepest_w]), np.concatenate([np.full(powers, limit_w), steepest_w]),
        _usual(idle, powers, limit_w, steepest_w), _drifts(powers, steepest_w, is_short),
    )  # fmt: skip


def _drifts(powers: int, steepest_w: Floats, is_short: NDArray[np.bool_]) -> Floats:
    """Slopes of short segments in sigmas, (short segments, unknowns)."""
    found = np.zeros((int(np.sum(is_short)), powers + len(steepest_w)))
    std_w = DRIFT_STD_FRACTION / LARGEST_DRIFT_FRACTION * steepest_w[is_short]
    found[np.arange(len(found)), powers + np.flatnonzero(is_short)] = 1.0 / std_w
    return found


def _usual(idle: Indices, powers: int, limit_w: float, steepest_w: Floats) -> Floats:
    from_mean = np.eye(len(idle)) - 1.0 / len(idle)
    of_idle = np.zeros((len(idle), powers + len(steepest_w)))
    of_idle[:, idle] = from_mean / (USUAL_IDLE_FRACTION * limit_w)
    of_slopes = np.zeros((len(steepest_w), powers + len(steepest_w)))
    of_slopes[:, powers:] = np.eye(len(steepest_w)) / (USUAL_DRIFT * steepest_w)
    return np.concatenate([of_idle, of_slopes])


def seconds_in(columns: Columns, windows_ns: Sequence[tuple[int, int]], origin_ns: int) -> Floats:
    """Seconds of each segment within windows of time (starts and ends)."""
    seconds = np.zeros(len(columns.owner))
    for start_ns, end_ns in windows_ns:
        start_s, end_s = (start_ns - origin_ns) * S_PER_NS, (end_ns - origin_ns) * S_PER_NS
        seconds += np.maximum(np.minimum(columns.end_s, end_s) - np.maximum(columns.start_s, start_s), 0.0)
    return seconds

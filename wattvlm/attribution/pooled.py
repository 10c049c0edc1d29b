"""Pooled rows of a domain as joint draws, where several calls and counters with visible ticks allow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from wattvlm.attribution.calls import CallWindows
from wattvlm.attribution.clusters import LARGEST_LAG_S, chain_of
from wattvlm.attribution.counter import CounterCurve
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.joules import gain_error_j
from wattvlm.attribution.pooling import PooledDraws, pooled_draws
from wattvlm.attribution.ticks import Floats, is_free_running
from wattvlm.attribution.timeline import Timeline, timeline_of
from wattvlm.attribution.windows import Stretches
from wattvlm.energy import DRAWS
from wattvlm.recording import Readings, Recording
from wattvlm.units import NS_PER_MS, S_PER_NS, format_ns

FEWEST_CALLS = 5
"""Below this many calls with the same phases a mean and a variation cannot both be told; bounds are given."""

FASTEST_PERIOD_S = 0.010
MOST_BOUNDARY_STD_NS = NS_PER_MS / 10
"""Boundaries that are each off on their own by more than this are not what a common lag describes."""

UNKNOWN_LIMIT_RATE = 2.0
"""Without a stated largest power, powers up to this many times what is assumed elsewhere are considered."""

WIDEST_OF_PRIOR = 0.7
"""A power whose standard deviation is above this part of the prior's was not measured."""

DOMAIN_WORDS = {"gpu": "GPU", "cpu": "CPU", "ram": "RAM", "soc": "SoC"}


@dataclass(frozen=True, slots=True)
class PooledRows:
    """Joules a call by name of a part, (DRAWS,) each; gain joules by board and name.

    seconds, boundaries: of each part a call. limit_w: the largest power of the domain. variation_fraction: one sigma of
    powers from call to call. line: the method, in words.
    """

    draws_j: Mapping[str, Floats]
    seconds: Mapping[str, float]
    boundaries: Mapping[str, float]
    gains_j: Mapping[str, Mapping[str, float]]
    limit_w: float
    variation_fraction: float
    line: str

    def sum_of(self, names: Sequence[str]) -> Floats | None:
        """Draws of several parts together; None where one has none, or where the calls say too little of the sum."""
        if not names or any(name not in self.draws_j for name in names):
            return None
        summed_j = np.asarray(np.sum([self.draws_j[name] for name in names], axis=0), np.float64)
        seconds = sum(self.seconds[name] for name in names)
        prior_j = self.limit_w * seconds / 12**0.5
        return summed_j if float(np.std(summed_j)) <= WIDEST_OF_PRIOR * prior_j else None

    def within(self, bounds_j: Mapping[str, tuple[float, float]]) -> PooledRows | None:
        """The draws that bounds of the parts allow (moved by the largest lag), repeated; None where they forbid most.

        Most are forbidden where the powers are not what the model takes them for.
        """
        allowed = np.ones(DRAWS, dtype=bool)
        for name, own_j in self.draws_j.items():
            slack_j = self.limit_w * LARGEST_LAG_S * self.boundaries[name]
            allowed &= (own_j >= bounds_j[name][0] - slack_j) & (own_j <= bounds_j[name][1] + slack_j)
        kept = np.flatnonzero(allowed)
        if 2 * len(kept) < DRAWS:
            return None
        return replace(self, draws_j={name: own_j[np.resize(kept, DRAWS)] for name, own_j in self.draws_j.items()})

    def gains_of(self, names: Sequence[str]) -> dict[str, float]:
        """Joules of the 95 % half-width of each board's gain."""
        return {board: sum(own[name] for name in names) for board, own in self.gains_j.items()}


def pooled_rows(
    found: DomainCurves, calls: Sequence[CallWindows], between: str, block: Stretches, recording: Recording
) -> PooledRows | None:
    """The pooled rows of a domain, or None where bounds are all that can be said."""
    counters = [curve for curve in found.curves if isinstance(curve, CounterCurve) and has_ticks(curve)]
    if len(counters) < len(found.curves) or found.method != "measured" or not _are_alike(calls):
        return None
    parts = [{**call.phases, between: call.between} for call in calls]
    timeline = timeline_of(parts, block, recording.start_ns, recording.end_ns, between)
    if timeline is None:
        return None
    solved: list[tuple[CounterCurve, PooledDraws]] = []
    for curve in counters:
        own = _solved(curve, timeline, between, recording)
        if own is None:
            return None
        solved.append((curve, own))
    return _rows(found, timeline, solved)


def has_ticks(curve: CounterCurve) -> bool:
    """True for a counter of exact joules with one unbroken stretch of ticks that are far enough apart to be seen."""
    if curve.channel.window_ns or is_free_running(curve.channel):
        return False
    stretches = [piece.stretch for piece in curve.pieces if piece.stretch is not None]
    if len(stretches) != 1 or len(stretches[0].ticks.late_s) < 3:
        return False
    return float(np.median(np.diff(stretches[0].ticks.late_s))) >= FASTEST_PERIOD_S * 0.9


def _are_alike(calls: Sequence[CallWindows]) -> bool:
    """True for enough calls with the same phases, whose boundaries are sure and which have their time to themselves."""
    kinds = Counter(tuple(sorted(name for name, windows in call.phases.items() if windows)) for call in calls)
    if max(kinds.values(), default=0) < FEWEST_CALLS:
        return False
    windows = [window for call in calls for own in call.phases.values() for window in own]
    return all(window.share == 1.0 and window.start_slack_ns <= 2 * MOST_BOUNDARY_STD_NS for window in windows)


def _solved(curve: CounterCurve, timeline: Timeline, between: str, recording: Recording) -> PooledDraws | None:
    stretch = next(piece.stretch for piece in curve.pieces if piece.stretch is not None)
    readings = recording.readings[curve.channel.name]
    took_s = float(np.median(readings.took_ns)) * S_PER_NS
    chain = chain_of(timeline, stretch.ticks, curve.origin_ns, curve.channel.resolution_j or 0.0, took_s)
    if chain is None:
        return None
    idle = [timeline.kinds.index(between)] if between in timeline.kinds else []
    try:
        return pooled_draws(chain, considered_limit_w(curve), idle, _seed(curve.channel.name, readings))
    except np.linalg.LinAlgError:  # readings so odd that no covariance describes them: bounds hold all the same
        return None


def _with_unsure_boundaries(joules: Floats, timeline: Timeline) -> Floats:
    """Draws with joules moved across each boundary that is unsure on its own: its error times the larger power.

    The errors of different boundaries are independent; what one part gains, its neighbour loses.
    """
    if not np.any(timeline.start_std_ns):
        return joules
    moved = np.array(joules, dtype=np.float64)
    seconds = np.bincount(timeline.kind, (timeline.end_ns - timeline.start_ns) * S_PER_NS, len(timeline.kinds))
    power_w = [float(np.mean(joules[:, row])) / float(seconds[row]) for row in range(timeline.rows)]
    pairs: dict[tuple[int, int], float] = {}
    for index in range(1, len(timeline.row)):
        pair = int(timeline.row[index - 1]), int(timeline.row[index])
        pairs[pair] = pairs.get(pair, 0.0) + (float(timeline.start_std_ns[index]) * S_PER_NS) ** 2
    chance = np.random.default_rng(crc32(joules.tobytes()))
    for pair, variance_s2 in pairs.items():
        members = [row for row in pair if row >= 0]
        largest_w = max((power_w[row] for row in members), default=0.0)
        shift_j = largest_w * variance_s2**0.5 * chance.standard_normal(DRAWS)
        for row, sign in zip(pair, (1.0, -1.0)):
            if row >= 0:
                moved[:, row] += sign * shift_j
    return moved


def considered_limit_w(curve: CounterCurve) -> float:
    """The largest power in watts that is considered, in the counter's own joules."""
    return UNKNOWN_LIMIT_RATE * curve.outside_w if curve.limit_w is None else curve.limit_w


def _seed(name: str, readings: Readings) -> int:
    """The same draws for the same readings, and others for every other sensor and run."""
    return crc32(readings.value.tobytes(), crc32(name.encode()))


def _rows(found: DomainCurves, timeline: Timeline, solved: Sequence[tuple[CounterCurve, PooledDraws]]) -> PooledRows:
    names = timeline.kinds[: timeline.rows]
    joules = np.sum([own.joules for _, own in solved], axis=0) / timeline.calls
    lengths_s = (timeline.end_ns - timeline.start_ns) * S_PER_NS
    seconds = np.bincount(timeline.kind, lengths_s, len(timeline.kinds)) / timeline.calls
    gains_j: dict[str, dict[str, float]] = {}
    for curve, own in solved:
        board = gains_j.setdefault(curve.channel.board, dict.fromkeys(names, 0.0))
        found_j = np.mean(own.joules, axis=0) / timeline.calls
        for name, gain_j in zip(names, gain_error_j(curve.channel, found_j, seconds[: timeline.rows])):
            board[name] += float(gain_j)
    words = DOMAIN_WORDS.get(found.domain, found.domain)
    ends = min(own.lag_s for _, own in solved), max(own.lag_s for _, own in solved)
    lags = " to ".join(dict.fromkeys(format_ns(lag_s / S_PER_NS) for lag_s in ends))
    variation = float(np.mean([own.variation_fraction for _, own in solved]))
    line = (
        f"{words} phases: pooled over {timeline.calls} calls (95 %, for the calls that ran; boundaries "
        f"off by {np.mean([own.jitter_s for _, own in solved]) * 1e3:.2f} ms, kinds by {np.mean([own.offset_s for _, own in solved]) * 1e3:.2f}); the sensor's clock is off by {lags}; powers vary by {variation * 100:.2g} % from "
        "call to call"
    )
    return PooledRows(
        {name: joules[:, index] for index, name in enumerate(names)},
        {name: float(seconds[index]) for index, name in enumerate(names)},
        {name: 2.0 * float(timeline.instances[index]) / timeline.calls for index, name in enumerate(names)},
        gains_j,
        sum(considered_limit_w(curve) for curve, _ in solved),
        variation,
        line,
    )

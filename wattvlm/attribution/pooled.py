"""Pooled rows of a domain as joint draws, where several calls and counters with visible ticks allow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard
from zlib import crc32

import numpy as np

from wattvlm.attribution.calls import CallWindows
from wattvlm.attribution.clusters import LARGEST_LAG_S, chain_of
from wattvlm.attribution.counter import CounterCurve
from wattvlm.attribution.curve import Curve
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.jointpooled import JointPool
from wattvlm.attribution.joules import gain_error_j
from wattvlm.attribution.pooledpower import FEWEST_ROWS, is_in_step, power_draws, responses_of, usable_updates
from wattvlm.attribution.pooling import PooledDraws, pooled_draws
from wattvlm.attribution.power import PowerCurve
from wattvlm.attribution.ticks import Floats, is_free_running
from wattvlm.attribution.timeline import PAUSE, Timeline, timeline_of
from wattvlm.attribution.updates import is_rare
from wattvlm.attribution.views import Chain
from wattvlm.attribution.windows import SLACK_SIGMAS, Stretches
from wattvlm.energy import DRAWS
from wattvlm.recording import Readings, Recording
from wattvlm.units import S_PER_NS, format_ns

FEWEST_CALLS = 5
"""Below this many calls with the same phases a mean and a variation cannot both be told; bounds are given."""

MOST_JOINT_CALLS = 100
"""A power field beside a counter adds little to more calls than these, and takes its time."""

FASTEST_PERIOD_S = 0.010
MOST_BOUNDARY_STD_NS = LARGEST_LAG_S / S_PER_NS / 2
"""A boundary that is said to be off by more may have ticks on its other side that are taken as inside."""

UNKNOWN_LIMIT_RATE = 2.0
"""Without a stated largest power, powers up to this many times what is assumed elsewhere are considered."""

LEAST_SAID_S = 50e-6
"""What boundaries are off by less than this is not told from nothing."""

WIDEST_OF_PRIOR = 0.7
"""A power whose standard deviation is above this part of the prior's was not measured."""

DOMAIN_WORDS = {"gpu": "GPU", "cpu": "CPU", "ram": "RAM", "soc": "SoC"}


@dataclass(frozen=True, slots=True)
class OutsideRow:
    """Joules of the block's time outside of calls: draws (DRAWS,), and gain joules by board."""

    draws_j: Floats
    gains_j: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PooledRows:
    """Joules a call by name of a part, (DRAWS,) each; gain joules by board and name.

    seconds, boundaries: of each part a call. limit_w: the largest power of the domain. variation_fraction: one sigma of
    powers from call to call. line: the method, in words. outside: of the block's time between all calls, where known.
    """

    draws_j: Mapping[str, Floats]
    seconds: Mapping[str, float]
    boundaries: Mapping[str, float]
    gains_j: Mapping[str, Mapping[str, float]]
    limit_w: float
    variation_fraction: float
    line: str
    calls: int
    outside: OutsideRow | None = None

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
        which = np.resize(kept, DRAWS)
        outside = None if self.outside is None else replace(self.outside, draws_j=self.outside.draws_j[which])
        return replace(self, draws_j={name: own_j[which] for name, own_j in self.draws_j.items()}, outside=outside)

    @property
    def block(self) -> OutsideRow | None:
        """The same of the whole block: all calls and what is between them."""
        if self.outside is None:
            return None
        names = list(self.draws_j)
        in_calls_j = self.calls * np.sum([self.draws_j[name] for name in names], axis=0)
        gains_j = {board: self.calls * gain_j for board, gain_j in self.gains_of(names).items()}
        both = {board: gain_j + self.outside.gains_j[board] for board, gain_j in gains_j.items()}
        return OutsideRow(np.asarray(in_calls_j + self.outside.draws_j, np.float64), both)

    def gains_of(self, names: Sequence[str]) -> dict[str, float]:
        """Joules of the 95 % half-width of each board's gain."""
        return {board: sum(own[name] for name in names) for board, own in self.gains_j.items()}


def pooled_rows(
    found: DomainCurves, calls: Sequence[CallWindows], between: str, block: Stretches, recording: Recording
) -> PooledRows | None:
    """The pooled rows of a domain, or None where bounds are all that can be said."""
    curves = [curve for curve in found.curves if isinstance(curve, PowerCurve) or _is_followed(curve)]
    if len(curves) < len(found.curves) or found.method != "measured" or not _are_alike(calls):
        return None
    parts = [{**call.phases, between: call.between} for call in calls]
    timeline = timeline_of(parts, block, recording.start_ns, recording.end_ns, between)
    if timeline is None:
        return None
    solved: list[tuple[CounterCurve | PowerCurve, PooledDraws]] = []
    lines: list[str] = []
    for curve in curves:
        own = _solved(curve, timeline, between, recording, lines)
        if own is None:
            return None
        beside = [field for field in found.beside if field.channel.contained_in == curve.channel.name]
        if isinstance(curve, CounterCurve) and beside and len(calls) <= MOST_JOINT_CALLS:
            own = _joined(curve, own, beside, timeline, between, recording, lines)
        solved.append((curve, own))
    rows = _rows(found, timeline, solved)
    return replace(rows, line="; ".join([rows.line, *lines]))


def _is_followed(curve: Curve) -> TypeGuard[CounterCurve]:
    return isinstance(curve, CounterCurve) and has_ticks(curve)


def has_ticks(curve: CounterCurve) -> bool:
    """True for a counter of exact joules with one unbroken stretch of ticks, or of reads of one that ticks faster."""
    if curve.channel.window_ns:
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
    most_ns = SLACK_SIGMAS * MOST_BOUNDARY_STD_NS
    return all(window.share == 1.0 and window.start_slack_ns <= most_ns for window in windows)


def _solved(
    curve: CounterCurve | PowerCurve, timeline: Timeline, between: str, recording: Recording, lines: list[str]
) -> PooledDraws | None:
    """Joint draws from one channel; how a power was read is added to the lines."""
    readings = recording.readings[curve.channel.name]
    idle = [timeline.kinds.index(between)] if between in timeline.kinds else []
    seed = _seed(curve.channel.name, readings)
    try:
        if isinstance(curve, CounterCurve):
            return _counted(curve, timeline, readings, idle, seed)
        power = power_draws(curve, timeline, readings, idle, seed)
    except np.linalg.LinAlgError:  # readings so odd that no covariance describes them: bounds hold all the same
        return None
    if power is None:
        return None
    lines.append(power.words)
    return power.draws


def _joined(
    curve: CounterCurve,
    alone: PooledDraws,
    beside: Sequence[PowerCurve],
    timeline: Timeline,
    between: str,
    recording: Recording,
    lines: list[str],
) -> PooledDraws:
    """A counter's draws with the first of the power fields beside it that shows the same powers; lines tell of both."""
    readings = recording.readings[curve.channel.name]
    idle = [timeline.kinds.index(between)] if between in timeline.kinds else []
    chain = _chain(curve, timeline, readings)
    for field in beside:
        own = recording.readings[field.channel.name]
        updates = usable_updates(field, timeline, own, FEWEST_ROWS)
        if chain is None or updates is None or is_rare(updates):
            continue
        is_known = field.channel.window_ns is not None
        if not is_known and is_in_step(updates, timeline, curve.origin_ns):
            continue
        pool = JointPool(chain, updates, considered_limit_w(curve), idle, _seed(curve.channel.name, readings))
        try:
            joint = pool.draws(alone, responses_of(field), is_known)
        except np.linalg.LinAlgError:  # readings so odd that no covariance describes them
            continue
        if joint is None:
            continue
        lines.append(joint.words(field.channel.name, curve.channel.name, is_known))
        if joint.draws is not None:
            return joint.draws
    return alone


def _chain(curve: CounterCurve, timeline: Timeline, readings: Readings) -> Chain | None:
    stretch = next(piece.stretch for piece in curve.pieces if piece.stretch is not None)
    took_s = float(np.median(readings.took_ns)) * S_PER_NS
    resolution_j, is_fast = curve.channel.resolution_j or 0.0, is_free_running(curve.channel)
    return chain_of(timeline, stretch.ticks, curve.origin_ns, resolution_j, took_s, is_fast)


def _counted(
    curve: CounterCurve, timeline: Timeline, readings: Readings, idle: Sequence[int], seed: int
) -> PooledDraws | None:
    chain = _chain(curve, timeline, readings)
    return None if chain is None else pooled_draws(chain, considered_limit_w(curve), idle, seed)


def considered_limit_w(curve: CounterCurve | PowerCurve) -> float:
    """The largest power in watts that is considered, as the sensor shows it."""
    if isinstance(curve, PowerCurve):
        return curve.limit_w
    return UNKNOWN_LIMIT_RATE * curve.outside_w if curve.limit_w is None else curve.limit_w


def _seed(name: str, readings: Readings) -> int:
    """The same draws for the same readings, and others for every other sensor and run."""
    return crc32(readings.value.tobytes(), crc32(name.encode()))


def _rows(
    found: DomainCurves, timeline: Timeline, solved: Sequence[tuple[CounterCurve | PowerCurve, PooledDraws]]
) -> PooledRows:
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
    return PooledRows(
        {name: joules[:, index] for index, name in enumerate(names)},
        {name: float(seconds[index]) for index, name in enumerate(names)},
        {name: 2.0 * float(timeline.instances[index]) / timeline.calls for index, name in enumerate(names)},
        gains_j,
        sum(considered_limit_w(curve) for curve, _ in solved),
        float(np.mean([own.variation_fraction for _, own in solved])),
        _line(words, timeline.calls, [own for _, own in solved]),
        timeline.calls,
        _outside(timeline, solved),
    )


def _outside(timeline: Timeline, solved: Sequence[tuple[CounterCurve | PowerCurve, PooledDraws]]) -> OutsideRow | None:
    """Of the time between calls; a counter's own difference says more of it, and is not asked."""
    is_pause = timeline.kind == timeline.kinds.index(PAUSE)
    seconds = np.array([float(np.sum((timeline.end_ns - timeline.start_ns)[is_pause])) * S_PER_NS])
    found_j: list[Floats] = []
    gains_j: dict[str, float] = {}
    for curve, own in solved:
        if own.outside_j is None:
            return None
        found_j.append(own.outside_j)
        gain_j = gain_error_j(curve.channel, np.array([float(np.mean(own.outside_j))]), seconds)
        gains_j[curve.channel.board] = gains_j.get(curve.channel.board, 0.0) + float(gain_j[0])
    return OutsideRow(np.asarray(np.sum(found_j, axis=0), np.float64), gains_j)


def _line(words: str, calls: int, solved: Sequence[PooledDraws]) -> str:
    """What the rows of a domain rest on, in words."""
    ends = min(own.lag_s for own in solved), max(own.lag_s for own in solved)
    lags = " to ".join(dict.fromkeys(format_ns(lag_s / S_PER_NS) for lag_s in ends))
    variation = float(np.mean([own.variation_fraction for own in solved]))
    jitter_s, offset_s = (max(found) for found in zip(*((own.jitter_s, own.offset_s) for own in solved)))
    sigmas = _one_sigma(jitter_s), _one_sigma(offset_s)
    return (
        f"{words} phases: pooled over {calls} calls (95 %, for the calls that ran, between their true boundaries); "
        f"found with them: the sensor's clock is off by {lags}; each boundary by {sigmas[0]} on its own, and "
        f"each kind of boundary by {sigmas[1]} in all calls (one sigma); powers vary by "
        f"{variation * 100:.2g} % from call to call"
    )


def _one_sigma(std_s: float) -> str:
    if std_s < LEAST_SAID_S:
        return f"under {format_ns(LEAST_SAID_S / S_PER_NS)}"
    return format_ns(round(std_s / S_PER_NS, -4))

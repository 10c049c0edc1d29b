"""What more calls would do for each part: how its joules scatter from call to call, and what stays whatever is done.

Of pooled rows the draws say what the readings leave unknown. Before there are calls enough to pool, or where these did
not resolve a part, the same mixed model is asked what PLANNED_CALLS calls like them would leave unknown: its
covariances need no readings, only the places of ticks and boundaries (here: boundaries spread evenly over a tick), the
noise of a tick, and how much powers vary, for which ASSUMED_VARIATION stands in. With the powers around a phase known,
one sigma of its power falls to s sqrt(T / (n G)), G = (tau / W)^2 (W - tau / 3) for a phase of length tau in windows of
length W (arXiv 2312.02741 has W by board); neighbours that vary as well make it several times worse, and no formula of
tau and W shows that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from wattvlm.attribution.calls import CallWindows
from wattvlm.attribution.clusters import LARGEST_LAG_S, chain_of
from wattvlm.attribution.counter import CounterCurve
from wattvlm.attribution.curve import TWO_SIDED_95, Curve
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.mixed import Model, Prior, Setting, posterior
from wattvlm.attribution.pooled import FEWEST_CALLS, PooledRows, considered_limit_w, has_ticks
from wattvlm.attribution.ticks import Floats, Ticks, seconds_since
from wattvlm.attribution.timeline import Indices, Timeline, timeline_of
from wattvlm.attribution.views import Chain
from wattvlm.attribution.windows import Stretches, duration_ns
from wattvlm.recording import Recording
from wattvlm.repeating import CallScatter
from wattvlm.units import NS_PER_S, S_PER_NS

PLANNED_CALLS = 64
"""Enough that no part's information hangs on where a few boundaries happen to lie in a tick."""

MOST_TEMPLATES = 16
"""So many of the calls that ran are repeated in a plan."""

ASSUMED_VARIATION = 0.03
ASSUMED_IDLE_VARIATION = 0.02
"""One sigma of powers from call to call, inside phases and where nothing runs, where too few calls tell it."""

LASTING_OFFSET_S = 0.1e-3
"""By this much each kind of boundary may be off in all calls alike (a mark beside the work, power that rises late).

What boundaries are off each on its own averages out, and larger offsets are found by the model; this much no number of
calls shows."""

SHARP_OFFSET_STD_S = 1e-6
"""One sigma of the offsets of kinds of boundaries in a plan."""

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, are spread evenly however many there are."""


@dataclass(frozen=True, slots=True)
class _Calls:
    """Calls that ran: their segments, the watts of each kind, and the seconds of each part in each call."""

    timeline: Timeline
    power_w: Floats
    seconds: Floats

    @property
    def names(self) -> tuple[str, ...]:
        return self.timeline.kinds[: self.timeline.rows]

    @property
    def part_w(self) -> Floats:
        return self.power_w[: self.timeline.rows]


def scatters(
    found: DomainCurves,
    calls: Sequence[CallWindows],
    names: tuple[str, str],
    block: Stretches,
    recording: Recording,
    drawn: PooledRows | None,
    resolved: Collection[str],
) -> dict[str, CallScatter]:
    """How the joules of each part and of the whole call scatter; empty where more calls would narrow nothing.

    names: of the time between phases and of the whole call. resolved: the parts that draws resolved. What was pooled
    scatters as its draws say; only of counters whose ticks are seen is it foretold. Sensors that are not pooled keep
    their bounds however many calls there are, and a model its error.
    """
    between, whole = names
    counters = [curve for curve in found.curves if isinstance(curve, CounterCurve) and has_ticks(curve)]
    parts = [{**call.phases, between: call.between} for call in calls]
    alone = all(window.share == 1.0 for call in parts for windows in call.values() for window in windows)
    can_plan = len(counters) == len(found.curves)
    if not calls or found.method != "measured" or not alone or not (can_plan or drawn is not None):
        return {}
    timeline = timeline_of(parts, block, recording.start_ns, recording.end_ns)
    if timeline is None:
        return {}
    ran = _ran(timeline, found.curves, parts, drawn)
    readings_j = _drawn_std_j(ran, drawn, resolved, whole)
    wanted = [*ran.names, whole]
    planned: dict[str, float] = {}
    if can_plan and any(name not in readings_j for name in wanted):
        planned = _planned_std_j(ran, counters, recording, parts, whole)
    variation = ASSUMED_VARIATION if drawn is None else drawn.variation_fraction
    calls_j, lasting_j, mean_j = _between_calls_j(ran, variation), _lasting_j(ran), _mean_j(ran)
    return {
        name: CallScatter(
            mean_j[index], calls_j[index], readings_j.get(name, planned.get(name, 0.0)), lasting_j[index],
            FEWEST_CALLS, name not in readings_j,
        )
        for index, name in enumerate(wanted)
        if name in readings_j or name in planned
    }  # fmt: skip


def _ran(
    timeline: Timeline,
    curves: Sequence[Curve],
    parts: Sequence[Mapping[str, Stretches]],
    drawn: PooledRows | None,
) -> _Calls:
    """Powers are those that were drawn; where none were, those of the curves' middles."""
    names = timeline.kinds[: timeline.rows]
    joules = sum((_kind_j(timeline, curve) for curve in curves), np.zeros(len(timeline.kinds)))
    if drawn is not None:
        joules[: len(names)] = [float(np.mean(drawn.draws_j[name])) * timeline.calls for name in names]
    power_w = np.maximum(joules, 0.0) / np.maximum(_kind_seconds(timeline), S_PER_NS)
    each = [[duration_ns(call.get(name, ())) / NS_PER_S for name in names] for call in parts]
    return _Calls(timeline, np.asarray(power_w, np.float64), np.array(each, dtype=np.float64))


def _kind_j(timeline: Timeline, curve: Curve) -> Floats:
    joules = curve.middle_j(timeline.end_ns) - curve.middle_j(timeline.start_ns)
    return np.asarray(np.bincount(timeline.kind, joules, len(timeline.kinds)), np.float64)


def _mean_j(ran: _Calls) -> list[float]:
    """Joules a call of each part, and of the whole."""
    parts_j = np.mean(ran.seconds, axis=0) * ran.part_w
    return [*map(float, parts_j), float(np.sum(parts_j))]


def _between_calls_j(ran: _Calls, variation: float) -> list[float]:
    """One sigma of a call's own joules: powers vary independently from part to part, durations as they did."""
    power_j = variation * np.mean(ran.seconds, axis=0) * ran.part_w
    each_j = ran.seconds * ran.part_w
    degrees = 1 if len(each_j) > 1 else 0
    parts_j2 = power_j**2 + np.var(each_j, axis=0, ddof=degrees)
    whole_j2 = np.sum(power_j**2) + np.var(np.sum(each_j, axis=1), ddof=degrees)
    return [*map(float, np.sqrt(parts_j2)), sqrt(float(whole_j2))]


def _lasting_j(ran: _Calls) -> list[float]:
    """What kinds of boundaries that are off by LASTING_OFFSET_S leave in each part: that times the steps of power."""
    timeline, calls = ran.timeline, ran.timeline.calls
    before, after = timeline.kind[:-1], timeline.kind[1:]
    moved_j = np.abs(ran.power_w[before] - ran.power_w[after]) * LASTING_OFFSET_S / calls
    parts_j = np.bincount(before, moved_j, len(timeline.kinds)) + np.bincount(after, moved_j, len(timeline.kinds))
    ends = (timeline.row[:-1] < 0) != (timeline.row[1:] < 0)
    return [*map(float, parts_j[: timeline.rows]), float(np.sum(moved_j[ends]))]


def _drawn_std_j(ran: _Calls, drawn: PooledRows | None, resolved: Collection[str], whole: str) -> dict[str, float]:
    """What the readings left unknown of the mean of the calls that ran, one sigma a call, by part."""
    if drawn is None:
        return {}
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in ran.names if name in resolved}
    if whole in resolved:
        groups[whole] = ran.names
    found: dict[str, float] = {}
    for name, members in groups.items():
        low_j, high_j = np.percentile(np.sum([drawn.draws_j[each] for each in members], axis=0), (2.5, 97.5))
        found[name] = float(high_j - low_j) / (2.0 * TWO_SIDED_95) * sqrt(ran.timeline.calls)
    return found


def _planned_std_j(
    ran: _Calls,
    counters: Sequence[CounterCurve],
    recording: Recording,
    parts: Sequence[Mapping[str, Stretches]],
    whole: str,
) -> dict[str, float]:
    """What the readings of PLANNED_CALLS calls would leave unknown, one sigma a call; independent counters add up."""
    variance_j2 = np.zeros(len(ran.names) + 1)
    for curve in counters:
        power_w = _kind_j(ran.timeline, curve) / np.maximum(_kind_seconds(ran.timeline), S_PER_NS)
        took_s = float(np.median(recording.readings[curve.channel.name].took_ns)) * S_PER_NS
        own_j2 = _planned_j2(curve, ran.timeline.kinds, np.maximum(power_w, 0.0), parts, took_s)
        if own_j2 is None:
            return {}
        variance_j2 += own_j2
    return dict(zip((*ran.names, whole), map(float, np.sqrt(variance_j2))))


def _kind_seconds(timeline: Timeline) -> Floats:
    lengths_s = (timeline.end_ns - timeline.start_ns) * S_PER_NS
    return np.asarray(np.bincount(timeline.kind, lengths_s, len(timeline.kinds)), np.float64)


def _planned_j2(
    curve: CounterCurve,
    kinds: tuple[str, ...],
    power_w: Floats,
    parts: Sequence[Mapping[str, Stretches]],
    took_s: float,
) -> Floats | None:
    """Variances a call of each part and of the whole call; None where not even these calls would be between ticks."""
    stretch = next(piece.stretch for piece in curve.pieces if piece.stretch is not None)
    period_s = float(np.median(np.diff(stretch.ticks.late_s)))
    bracket_s = float(np.median(stretch.ticks.late_s[1:] - stretch.ticks.early_s[1:]))
    timeline = _planned_timeline(kinds, parts, period_s)
    ticks = _planned_ticks(timeline, power_w, period_s, bracket_s)
    chain = chain_of(timeline, ticks, 0, curve.channel.resolution_j or 0.0, took_s)
    if chain is None:
        return None
    try:
        covariance_j2 = _covariance_j2(chain, considered_limit_w(curve), power_w)
    except np.linalg.LinAlgError:
        return None
    return np.append(np.diagonal(covariance_j2), np.sum(covariance_j2)) / PLANNED_CALLS


def _planned_timeline(kinds: tuple[str, ...], parts: Sequence[Mapping[str, Stretches]], period_s: float) -> Timeline:
    """PLANNED_CALLS calls like those that ran, one after another, with pauses of half a tick to one and a half."""
    period_ns, rows = period_s * NS_PER_S, len(kinds) - 2
    pause, quiet = rows, rows + 1
    templates = [_template(kinds, call, pause) for call in parts[:MOST_TEMPLATES]]
    segments = [(quiet, 5.0 * period_ns)]
    for number in range(PLANNED_CALLS):
        segments += [(pause, (0.5 + number * GOLDEN_RATIO % 1.0) * period_ns), *templates[number % len(templates)]]
    segments += [(pause, period_ns), (quiet, 5.0 * period_ns)]
    kind: Indices = np.array([kind for kind, _ in segments], dtype=np.int64)
    end_ns: Indices = np.rint(np.cumsum([length_ns for _, length_ns in segments])).astype(np.int64)
    start_ns: Indices = np.concatenate([np.zeros(1, dtype=np.int64), end_ns[:-1]])
    row = np.where(kind < rows, kind, -1)
    return Timeline(start_ns, end_ns, kind, row, kinds, rows, PLANNED_CALLS, np.zeros(len(kind)))


def _template(kinds: tuple[str, ...], call: Mapping[str, Stretches], pause: int) -> list[tuple[int, float]]:
    """(kind, length in ns) of each segment of a call; time inside it that is none of its parts is a pause."""
    windows = sorted((window, kinds.index(name)) for name, own in call.items() for window in own)
    segments: list[tuple[int, float]] = []
    end_ns = windows[0][0].start_ns if windows else 0
    for window, kind in windows:
        if window.start_ns > end_ns:
            segments.append((pause, float(window.start_ns - end_ns)))
        segments.append((kind, float(window.end_ns - window.start_ns)))
        end_ns = window.end_ns
    return [(kind, length_ns) for kind, length_ns in segments if length_ns > 0]


def _planned_ticks(timeline: Timeline, power_w: Floats, period_s: float, bracket_s: float) -> Ticks:
    """Where a counter would tick, and its joules if each kind of segment drew its mean power."""
    end_s = seconds_since(0, timeline.end_ns)
    joules = np.cumsum(power_w[timeline.kind] * np.diff(end_s, prepend=0.0))
    late_s = np.arange(period_s, float(end_s[-1]), period_s)
    energy_j = np.interp(late_s - bracket_s / 2, np.append(0.0, end_s), np.append(0.0, joules))
    return Ticks(late_s - bracket_s, late_s, np.asarray(energy_j, np.float64))


def _covariance_j2(chain: Chain, limit_w: float, power_w: Floats) -> Floats:
    """Covariance of the joules of all rows, summed over the planned calls; an unknown lag is in it."""
    flat_w = np.full(chain.kinds, float(np.mean(power_w)))
    sharp_s = np.full(chain.offsets, SHARP_OFFSET_STD_S)
    prior = Prior(
        limit_w, chain.is_slope, LARGEST_LAG_S / sqrt(3.0), 0.0, SHARP_OFFSET_STD_S, sharp_s, chain.is_slope, None
    )
    spread = np.where(chain.is_slope, 0.0, np.where(chain.of_row < 0, ASSUMED_IDLE_VARIATION, ASSUMED_VARIATION))
    model = Model(chain, flat_w, tuple(np.ones(len(own)) for own in chain.clusters))
    first_w = posterior(model.evidence(Setting(0.0, spread * flat_w)), prior).mean[: chain.kinds]
    model = replace(model, power_w=np.minimum(np.maximum(first_w, 0.0), limit_w))
    setting = Setting(0.0, np.asarray(spread * np.maximum(model.power_w, 0.2 * flat_w), np.float64))
    inverse: Floats = np.asarray(np.linalg.inv(posterior(model.evidence(setting), prior).precision), np.float64)
    own = model.sums(setting)
    return np.asarray(own.covariance_j2 + own.per_unknown @ inverse @ np.transpose(own.per_unknown), np.float64)

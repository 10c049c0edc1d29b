"""The joules of requests that ran together, in one domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wattvlm.attribution.counter import CounterCurve
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.joules import PartJoules, gain_error_j
from wattvlm.attribution.pooled import DOMAIN_WORDS
from wattvlm.attribution.serving.chunks import with_chunks
from wattvlm.attribution.serving.rates import rates_of
from wattvlm.attribution.serving.rules import RULE_WORDS, Rule
from wattvlm.attribution.serving.shares import idle_joules, piece_joules
from wattvlm.attribution.serving.work import Pieces, flow_of, pieces_of
from wattvlm.attribution.ticks import Floats, Ticks, Times, seconds_since
from wattvlm.attribution.windows import Stretches, Window, difference, union
from wattvlm.energy import DRAWS
from wattvlm.trace import CallTrace
from wattvlm.units import NS_PER_S

FEWEST_CALLS = 20
"""Fewer requests than this hardly differ enough in what they do."""

LEAST_WAITING_NS = 1_000
"""What is shorter lies between two rounded times."""

DEVICES = ("gpu", "soc")
"""Where the work is that counts of tokens stand for; a host's CPU does other things."""


@dataclass(frozen=True, slots=True)
class ServedRows:
    """Joules by call and phase, (DRAWS,) each, and gains: board -> joules by call and phase. line: the method.

    most_j: all joules of the time in which the phase ran, which it has at most. waiting: time in which requests waited
    and none was at work; waiting_j: its joules, (DRAWS,), and waiting_gains_j: board -> what its gain may be off.
    """

    draws_j: Mapping[tuple[int, str], Floats]
    most_j: Mapping[tuple[int, str], float]
    gains_j: Mapping[str, Mapping[tuple[int, str], float]]
    line: str
    waiting: Stretches
    waiting_j: Floats
    waiting_gains_j: Mapping[str, float]

    def waited(self, joules: PartJoules) -> PartJoules:
        """The joules of time in which requests wait, in place of what the readings allow there by themselves."""
        return joules.with_draws(self.waiting_j, self.waiting_gains_j)

    def part(self, joules: PartJoules, number: int, calls: Sequence[int], names: Sequence[str]) -> PartJoules:
        """A part of one call, or the mean of several calls, in place of its joules by shares of time."""
        keys = [(call, name) for call in calls for name in names if (call, name) in self.draws_j]
        draws_j = np.asarray(np.sum([self.draws_j[key] for key in keys], axis=0) / len(calls) + np.zeros(DRAWS))
        gains_j = {board: sum(own[key] for key in keys) / len(calls) for board, own in self.gains_j.items()}
        least_j, most_j = np.array([0.0]), np.array([sum(self.most_j[key] for key in keys) / len(calls)])
        ticks = None if joules.ticks is None else joules.ticks[[number]]
        own = PartJoules(joules.method, least_j, least_j, most_j, least_j, most_j, ticks, {})
        return own.with_draws(draws_j, gains_j)


def served_rows(
    found: DomainCurves,
    calls: Sequence[CallTrace],
    wholes: Sequence[Stretches],
    block: Window,
    on_devices: bool,
    rule: Rule,
) -> ServedRows | None:
    """Each request's joules in a domain, or None where calls, counts or sensors do not tell.

    wholes: each call's time. block: the block's. rule: how they share what none of them causes alone.
    """
    curves = [curve for curve in found.curves if isinstance(curve, CounterCurve) and _is_whole(curve)]
    if found.domain not in DEVICES or len(calls) < FEWEST_CALLS or len(curves) < len(found.curves):
        return None
    draws_j: dict[tuple[int, str], Floats] = {}
    most_j: dict[tuple[int, str], float] = {}
    gains_j: dict[str, dict[tuple[int, str], float]] = {}
    misfits: list[float] = []
    waiting: Stretches = ()
    waiting_j, waiting_gains_j = np.zeros(DRAWS), dict[str, float]()
    for number, curve in enumerate(curves):
        pieces = pieces_of(calls, on_devices, curve.origin_ns)
        pieces = None if pieces is None else with_chunks(pieces)
        stretch = next(piece.stretch for piece in curve.pieces if piece.stretch is not None)
        flow = None if pieces is None else flow_of(pieces)
        ticks = _told(stretch.ticks, calls, block, curve)
        rates = None if flow is None else rates_of(flow, ticks, curve.channel.resolution_j or 0.0, number)
        if pieces is None or flow is None or rates is None:
            return None
        misfits.append(rates.misfit_fraction)
        board = gains_j.setdefault(curve.channel.board, {})
        most = curve.most_j(*(_ns(each, curve) for each in (pieces.start_s, pieces.end_s)))
        for key, own_j, seconds, all_j in _by_phase(pieces, piece_joules(pieces, flow, rates, rule), most):
            most_j[key] = most_j.get(key, 0.0) + all_j
            draws_j[key] = own_j if key not in draws_j else draws_j[key] + own_j
            gain_j = gain_error_j(curve.channel, np.array([float(np.mean(own_j))]), np.array([seconds]))
            board[key] = board.get(key, 0.0) + float(gain_j[0])
        waiting = _waiting(pieces, wholes, curve)
        start_s, end_s = (seconds_since(curve.origin_ns, _times(waiting, field)) for field in (0, 1))
        idle_j = idle_joules(flow, rates, start_s, end_s)
        waiting_j = waiting_j + idle_j
        gain_j = gain_error_j(
            curve.channel, np.array([float(np.mean(idle_j))]), np.array([float(np.sum(end_s - start_s))])
        )
        name = curve.channel.board
        waiting_gains_j[name] = waiting_gains_j.get(name, 0.0) + float(gain_j[0])
    line = _line(found, len(calls), max(misfits), rule)
    return ServedRows(draws_j, most_j, gains_j, line, waiting, waiting_j, waiting_gains_j)


def _waiting(pieces: Pieces, wholes: Sequence[Stretches], curve: CounterCurve) -> Stretches:
    """Time in which calls were open and none of them was at work."""
    start_ns, end_ns = (_ns(each, curve).tolist() for each in (pieces.start_s, pieces.end_s))
    worked = union(Window(start, end) for start, end in zip(start_ns, end_ns, strict=True))
    open_ = union(Window(window.start_ns, window.end_ns) for whole in wholes for window in whole)
    return tuple(window for window in difference(open_, worked) if window.end_ns - window.start_ns > LEAST_WAITING_NS)


def _times(windows: Stretches, field: int) -> Times:
    return np.array([window[field] for window in windows], np.int64)


def _told(ticks: Ticks, calls: Sequence[CallTrace], block: Window, curve: CounterCurve) -> Ticks:
    """The ticks of time whose work is told: where a call was cut at the block's very end, not those beyond it.

    A server's session is looked at in blocks that follow on each other, and a request that goes on is a call in each.
    """
    from_s, to_s = seconds_since(curve.origin_ns, np.array([block.start_ns, block.end_ns], np.int64)).tolist()
    inside = np.ones(len(ticks.early_s), np.bool_)
    if any(call.start_ns == block.start_ns for call in calls):
        inside &= ticks.early_s >= from_s
    if any(call.end_ns == block.end_ns for call in calls):
        inside &= ticks.late_s <= to_s
    return Ticks(ticks.early_s[inside], ticks.late_s[inside], ticks.energy_j[inside])


def _is_whole(curve: CounterCurve) -> bool:
    return sum(piece.stretch is not None for piece in curve.pieces) == 1 and not curve.channel.window_ns


def _ns(time_s: Floats, curve: CounterCurve) -> Times:
    return np.asarray(curve.origin_ns + np.round(time_s * NS_PER_S), np.int64)


def _by_phase(pieces: Pieces, joules: Floats, most_j: Floats) -> list[tuple[tuple[int, str], Floats, float, float]]:
    """((call, phase), draws, seconds, all joules of its time) of each phase of each call."""
    group = pieces.call * len(pieces.names) + pieces.phase
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    summed = np.add.reduceat(joules[:, order], starts, axis=1)
    seconds = np.add.reduceat((pieces.end_s - pieces.start_s)[order], starts)
    most = np.add.reduceat(most_j[order], starts)
    keys = [(int(key) // len(pieces.names), pieces.names[int(key) % len(pieces.names)]) for key in group[order][starts]]
    return [(key, summed[:, number], float(seconds[number]), float(most[number])) for number, key in enumerate(keys)]


def _line(found: DomainCurves, calls: int, misfit: float, rule: Rule) -> str:
    return (
        f"shared: {calls} calls ran together; {DOMAIN_WORDS[found.domain]} joules between ticks are split by what each "
        "did (visual tokens encoded, prompt tokens computed, tokens decoded and their context), at rates found from "
        f"all; {RULE_WORDS[rule]}; waiting and preparing cost nothing. "
        f"The rates miss the joules between two ticks by {misfit * 100:.1f} % (one sigma). Which request a joule is "
        "given to is this rule's, its sum the counter's"
    )

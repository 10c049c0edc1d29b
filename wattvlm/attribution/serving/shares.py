"""Each request's joules: what its own work caused, and its part of what the batch needed as a whole.

The rates say how the joules between two ticks fall to the work done between them; the counter says how many they are.
So requests and idle time add up to the counter, whatever the rates. What no request causes alone is split by a rule:

time     an iteration's fixed cost (the weights, read once for all) equally over the requests in it, and the watts of a
         device that is on and busy by whose work the time went to. How long each kind of work takes is found from the
         times alone, as the rates are from the joules; so a request whose token waited for a neighbour's prompt does
         not pay for that time
tokens   both by the tokens that the iteration computed for each request
shapley  the fixed cost equally, the watts by the Shapley value of the time that each request adds (see `shapley`)
"""

from __future__ import annotations

import numpy as np

from wattvlm.attribution.boundedfit import minimum_in_box
from wattvlm.attribution.serving.rates import Rates
from wattvlm.attribution.serving.rules import Rule
from wattvlm.attribution.serving.shapley import TimeShares, time_shares
from wattvlm.attribution.serving.work import BUSY, DECODED, IDLE, OWN_KINDS, PROMPT, STEPS, Flow, Pieces
from wattvlm.attribution.ticks import Floats
from wattvlm.energy import DRAWS

DRAWS_AT_ONCE = 50
"""So many curves of a long recording are held in memory at a time."""

PIECE_MISFITS = 2.0
"""What the rates miss of a piece, in what they miss of the joules between ticks, where several pieces cancel."""

LARGEST_SCALE = 10.0
"""Joules between two ticks are not taken for more than this many times what the rates explain."""

_RIDGE = 1e-9


def times_of(flow: Flow) -> Floats:
    """Seconds that a unit of each kind of work takes, (BUSY,), from how long the device was busy with how much."""
    amounts, lasted = np.diff(flow.total[:, :BUSY], axis=0), np.diff(flow.total[:, BUSY])
    total = np.sum(amounts, axis=0)
    done = np.flatnonzero(total > 0)
    scale = np.sum(lasted) / total[done]
    design, weight = amounts[:, done] * scale, 1.0 / np.maximum(lasted, np.median(lasted))
    weighted = np.transpose(design * weight[:, None])
    curvature = np.asarray(weighted @ design, np.float64)
    curvature += _RIDGE * np.trace(curvature) * np.eye(len(done))
    low, high = np.zeros(len(done)), np.ones(len(done))
    seconds = np.zeros(BUSY)
    seconds[done] = (
        minimum_in_box(curvature, np.asarray(weighted @ lasted, np.float64), low, high, high / len(done)) * scale
    )
    return seconds


def piece_joules(pieces: Pieces, flow: Flow, rates: Rates, rule: Rule = "time") -> Floats:
    """Joules of each piece, (DRAWS, pieces)."""
    seconds = times_of(flow) * rates.misses[:, :BUSY]
    shares = time_shares(pieces, flow) if rule == "shapley" else None
    joules = np.concatenate([
        _joules(pieces, flow, rates, seconds, slice(first, first + DRAWS_AT_ONCE), rule, shares)
        for first in range(0, DRAWS, DRAWS_AT_ONCE)
    ])  # fmt: skip
    return _missed(pieces, rates, joules)


def idle_joules(flow: Flow, rates: Rates, start_s: Floats, end_s: Floats) -> Floats:
    """Joules of an idle device in stretches of time in which no request is at work, (DRAWS,)."""
    found = np.zeros(DRAWS)
    for number, (own, time_s) in enumerate(zip(rates.rates, rates.time_s, strict=True)):
        lasted_s = _scaled_seconds(flow, rates.joules, own, time_s)
        inside = np.interp(end_s, flow.edge_s, lasted_s) - np.interp(start_s, flow.edge_s, lasted_s)
        beyond = np.maximum(flow.edge_s[0] - start_s, 0.0) - np.maximum(flow.edge_s[0] - end_s, 0.0)
        found[number] = own[IDLE] * float(np.sum(inside + beyond))
    return found


def _missed(pieces: Pieces, rates: Rates, joules: Floats) -> Floats:
    """What the rates miss of the joules between ticks, they miss of a piece: less of one that is longer than that."""
    apart_s = float(np.median(np.diff(rates.time_s[0])))
    std_fraction = PIECE_MISFITS * rates.misfit_fraction * np.sqrt(apart_s / (apart_s + pieces.end_s - pieces.start_s))
    chance = np.random.default_rng(len(pieces.call))
    missed = joules * np.maximum(1.0 + std_fraction * chance.standard_normal(joules.shape), 0.0)
    kept = np.sum(joules, axis=1) / np.maximum(np.sum(missed, axis=1), 1e-12)
    return np.asarray(missed * kept[:, None], np.float64)


def _joules(
    pieces: Pieces, flow: Flow, rates: Rates, seconds: Floats, draws: slice, rule: Rule, shares: TimeShares | None
) -> Floats:
    own, busy_w = rates.rates[draws], (rates.rates[draws, BUSY] + rates.rates[draws, IDLE])[:, None]
    lasted = np.diff([
        _scaled_seconds(flow, rates.joules, each, time_s)
        for each, time_s in zip(own, rates.time_s[draws], strict=True)
    ], axis=1)  # fmt: skip
    found = _work_joules(pieces, flow, own[:, :OWN_KINDS], lasted)
    steps_j = own[:, STEPS, None] * np.diff(flow.total[:, STEPS]) / np.diff(flow.edge_s) * lasted
    is_active, active = flow.active[:-1] > 0, np.maximum(flow.active[:-1], 1.0)
    if rule == "tokens":
        return found + _by_tokens(pieces, flow, steps_j + busy_w * is_active * lasted)
    found += _between(_running(steps_j / active), flow)
    if shares is not None:
        return found + shares.joules(busy_w * lasted, len(pieces.call))
    amounts, busy_s = np.diff(flow.total[:, :BUSY], axis=0), np.diff(flow.total[:, BUSY])
    explained: Floats = np.asarray(seconds[draws] @ np.transpose(amounts), np.float64)
    stretched = np.where(explained > 0, busy_s / np.maximum(explained, 1e-12), 0.0) * lasted
    found += busy_w * _work_joules(pieces, flow, seconds[draws, :OWN_KINDS], stretched)
    each_hz = np.diff(flow.total[:, STEPS]) / np.diff(flow.edge_s) / active
    common_j = each_hz * busy_w * seconds[draws, STEPS, None] * stretched
    common_j += busy_w * (is_active & (explained == 0.0)) / active * lasted
    return found + _between(_running(common_j), flow)


def _by_tokens(pieces: Pieces, flow: Flow, common_j: Floats) -> Floats:
    """Joules between edges by the tokens computed meanwhile for each request; equally where there were none."""
    tokens = np.diff(flow.total[:, PROMPT] + flow.total[:, DECODED])
    of_token = np.zeros((len(common_j), OWN_KINDS))
    of_token[:, [PROMPT, DECODED]] = 1.0
    apart_s = np.diff(flow.edge_s)
    each_j = np.where(tokens > 0, common_j * apart_s / np.maximum(tokens, 1e-12), 0.0)
    equal_j = np.where(tokens > 0, 0.0, common_j / np.maximum(flow.active[:-1], 1.0))
    return _work_joules(pieces, flow, of_token, each_j) + _between(_running(equal_j), flow)


def _work_joules(pieces: Pieces, flow: Flow, rates: Floats, lasted: Floats) -> Floats:
    """Each piece's own work at rates of its kinds, (draws, pieces), in edges' time that counts as `lasted`."""
    evenly = _between(_running(lasted), flow)
    stepped = _between(_running(flow.iteration_hz[:-1] * lasted), flow)
    stepped += _between(_running(flow.step_hz[:-1] * lasted), flow) * flow.step_part
    found = (rates @ np.transpose(pieces.rate)) * evenly + (rates @ np.transpose(pieces.a_step)) * stepped
    return np.asarray(found, np.float64)


def _between(running: Floats, flow: Flow) -> Floats:
    return np.asarray(running[:, flow.last] - running[:, flow.first], np.float64)


def _running(joules: Floats) -> Floats:
    return np.concatenate([np.zeros((len(joules), 1)), np.cumsum(joules, axis=1)], axis=1)


def _scaled_seconds(flow: Flow, joules: Floats, rates: Floats, time_s: Floats) -> Floats:
    """Seconds up to each edge, each counting as much as the counter grew against what the rates explain."""
    explained_j = np.diff(flow.up_to(time_s) @ rates)
    scale = np.minimum(joules / np.maximum(explained_j, joules / LARGEST_SCALE), LARGEST_SCALE)
    inside = np.interp(flow.edge_s, time_s, np.concatenate([[0.0], np.cumsum(scale * np.diff(time_s))]))
    beyond = np.minimum(flow.edge_s - time_s[0], 0.0) + np.maximum(flow.edge_s - time_s[-1], 0.0)
    return np.asarray(inside + beyond, np.float64)

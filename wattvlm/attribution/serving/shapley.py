"""Whose work the time of a batch went to, by Shapley value: what each request adds, in the mean over orders of joining.

An iteration takes as long as reading memory (weights, context) or as computing its tokens, whichever is longer, and the
vision encoder's time besides. What it takes once is shared alike and what is each request's own is its own; only of
time beyond memory's does it matter who is thought to have come first (Han et al., ISCA 2025, on shared hardware).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.boundedfit import minimum_in_box
from wattvlm.attribution.serving.work import BUSY, CONTEXT, DECODED, PROMPT, STEPS, VISUAL, Flow, Pieces
from wattvlm.attribution.ticks import Floats

ORDERS = 6
"""Random orders, each with its reverse."""

_ROUNDS = 10
_RIDGE = 1e-9
_CLEARLY = 1.05
"""So many times memory's time and more is bound by computing."""


@dataclass(frozen=True, slots=True)
class TimeShares:
    """Which part of the time between two edges is which piece's; pairs in order of their piece."""

    piece: NDArray[np.int64]
    edge: NDArray[np.int64]
    part: Floats

    def joules(self, edge_j: Floats, pieces: int) -> Floats:
        """Each piece's joules, (draws, pieces), of joules between edges, (draws, edges)."""
        found = np.zeros((len(edge_j), pieces))
        if len(self.piece):
            starts = np.flatnonzero(np.diff(self.piece, prepend=-1))
            found[:, self.piece[starts]] = np.add.reduceat(edge_j[:, self.edge] * self.part, starts, axis=1)
        return found


@dataclass(frozen=True, slots=True)
class _IterationTimes:
    """Seconds of an iteration: once_s, or where computing takes longer base_s and token_s each; context_s, visual_s."""

    once_s: float
    base_s: float
    token_s: float
    context_s: float
    visual_s: float


def time_shares(pieces: Pieces, flow: Flow, seed: int = 0) -> TimeShares:
    """The shares of all pieces in the time in which any ran."""
    lengths = flow.last - flow.first
    piece = np.repeat(np.arange(len(lengths)), lengths)
    edge = np.arange(len(piece)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(flow.first, lengths)
    apart_s = np.diff(flow.edge_s)
    hz = np.diff(flow.total[:, STEPS]) / apart_s
    each_s = 1.0 / np.maximum(hz, 1e-9)
    step_part = (flow.iteration_hz[edge] + flow.step_hz[edge] * flow.step_part[piece]) * each_s[edge]
    work = pieces.rate[piece] * each_s[edge, None] + pieces.a_step[piece] * step_part[:, None]
    tokens, context, visual = work[:, PROMPT] + work[:, DECODED], work[:, CONTEXT], work[:, VISUAL]
    has_steps = hz > 0
    times = _times(flow, np.where(has_steps, each_s, 0.0))
    active = np.bincount(edge, minlength=len(apart_s))
    own_s = times.once_s / active[edge] + times.context_s * context + times.visual_s * visual
    own_s += _beyond(times, edge, tokens, context, np.random.default_rng(seed))
    own_s = np.where(has_steps[edge], own_s, 1.0)
    whole_s = np.bincount(edge, own_s, len(apart_s))
    return TimeShares(piece, edge, own_s / np.maximum(whole_s[edge], 1e-12))


def _beyond(
    times: _IterationTimes, edge: NDArray[np.int64], tokens: Floats, context: Floats, chance: np.random.Generator
) -> Floats:
    """Seconds that each adds beyond memory's time, a mean over orders of joining."""
    room_s = times.once_s - times.base_s
    adds_s = times.token_s * tokens - times.context_s * context
    found = np.zeros(len(edge))
    if not len(edge):
        return found
    for _ in range(ORDERS):
        keys = chance.random(len(edge))
        for key in (keys, -keys):
            order = np.lexsort((key, edge))
            sums = np.cumsum(adds_s[order])
            starts = np.flatnonzero(np.diff(edge[order], prepend=-1))
            before = np.repeat((sums - adds_s[order])[starts], np.diff(np.append(starts, len(order))))
            upto = sums - before
            found[order] += np.maximum(upto - room_s, 0.0) - np.maximum(upto - adds_s[order] - room_s, 0.0)
    return np.maximum(found / (2 * ORDERS), 0.0)


def _times(flow: Flow, each_s: Floats) -> _IterationTimes:
    """What iterations take, from how long they took with what in them, by turns of which are bound by computing."""
    amounts = np.diff(flow.total[:, :BUSY], axis=0)
    per_step = amounts / np.maximum(amounts[:, [STEPS]], 1e-12)
    weight = amounts[:, STEPS]
    tokens = per_step[:, PROMPT] + per_step[:, DECODED]
    plain = (each_s > 0) & (per_step[:, PROMPT] <= 0) & (per_step[:, VISUAL] <= 0)
    full = (each_s > 0) & ~plain
    if not np.any(plain):
        return _IterationTimes(0.0, 0.0, *_fit((tokens, per_step[:, CONTEXT], per_step[:, VISUAL]), each_s, weight))
    once_s, context_s = _fit((np.ones(len(tokens)), per_step[:, CONTEXT]), each_s, weight * plain)
    memory_s = once_s + context_s * per_step[:, CONTEXT]
    base_s = token_s = visual_s = 0.0
    for _ in range(_ROUNDS):
        columns = (np.ones(len(tokens)), tokens, per_step[:, VISUAL])
        base_s, token_s, visual_s = _fit(columns, each_s, weight * full)
        is_bound = base_s + token_s * tokens > _CLEARLY * memory_s
        full = (each_s > 0) & ~plain & is_bound
        if np.count_nonzero(full) <= len(columns):
            break
    return _IterationTimes(once_s, min(base_s, once_s), token_s, context_s, visual_s)


def _fit(columns: tuple[Floats, ...], lasted_s: Floats, weight: Floats) -> tuple[float, ...]:
    """Seconds a unit of each, none negative."""
    design = np.stack(columns, axis=1)
    total = weight @ design
    done = np.flatnonzero(total > 0)
    seconds = np.zeros(len(columns))
    if len(done):
        scale = float(weight @ lasted_s) / total[done]
        scaled = design[:, done] * scale
        weighted = np.transpose(scaled * weight[:, None])
        curvature = np.asarray(weighted @ scaled, np.float64)
        curvature += _RIDGE * np.trace(curvature) * np.eye(len(done))
        low, high = np.zeros(len(done)), np.ones(len(done))
        moment = np.asarray(weighted @ lasted_s, np.float64)
        seconds[done] = minimum_in_box(curvature, moment, low, high, high / len(done)) * scale
    return tuple(float(each) for each in seconds)

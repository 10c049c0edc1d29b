"""How many tokens of a prompt each of its chunks computed, where the engine tells only when.

An engine cuts a prompt where its iteration is full, and full is the same number of tokens each time. So the last chunk
of a prompt has what its others left, and one that was cut has what the decodes and the other prompts of its iteration
left. The number is found by trying those that engines are set to: a wrong one soon leaves a prompt with too few or too
many tokens, and of several that fit, the one that explains best how long iterations took is right. Where none fits, a
chunk has the time that the rest of its iteration leaves it: what the images encoded in
it, the other prompts and the step itself take, at the times a unit that all iterations show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.serving.shares import times_of
from wattvlm.attribution.serving.work import PROMPT, STEPS, VISUAL, Pieces, flow_of
from wattvlm.attribution.ticks import Floats

FULL_AT = tuple(sorted(factor * 2**power for factor in (2, 3) for power in range(5, 16)))
"""Tokens of a full iteration that are tried: 64 to 98,304."""

MOST_MISFITS_FRACTION = 0.1
"""Of the prompts in several chunks, as many may not fit: one that lost its cache before it was done, say."""

SLACK_FRACTION = 0.01
"""Of a full iteration's tokens: how many a prompt computes again after it lost its cache is known about so well."""

_ROUNDS = 4
_TURNS = 3
_LEAST_PART = 0.02
"""Of its iteration's time a chunk has this much at least."""


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Stretches of prompts in order of time: of which prompt, in which iteration, how long, how many tokens.

    whole: tokens of each prompt over its chunks. decoding: tokens that each iteration decodes beside them.
    """

    order: NDArray[np.intp]
    prompt: NDArray[np.intp]
    iteration: NDArray[np.intp]
    lasted_s: Floats
    tokens: Floats
    is_told: NDArray[np.bool_]
    whole: Floats
    decoding: Floats


def with_chunks(pieces: Pieces) -> Pieces:
    """The same pieces with the prompt tokens of each call divided anew over those of its chunks that are not told."""
    chunks = _chunks(pieces)
    in_several = np.bincount(chunks.prompt[~chunks.is_told]) > 1
    if not np.any(in_several):
        return pieces
    filled = [tokens for full_at in FULL_AT if (tokens := _filled(chunks, full_at)) is not None]
    if not filled:
        return _by_time(pieces, chunks)
    visual = _summed(chunks.iteration, pieces.rate[chunks.order, VISUAL] * chunks.lasted_s)
    return _with_tokens(pieces, chunks, min(filled, key=lambda tokens: _time_misfit(chunks, visual, tokens)))


def _summed(number: NDArray[np.intp], value: Floats) -> Floats:
    return np.asarray(np.bincount(number, value), np.float64)


def _time_misfit(chunks: _Chunks, visual: Floats, tokens: Floats) -> float:
    """How badly tokens explain the times of the iterations that held them: a robust sum of what is left, in s."""
    lasted_s = np.zeros(len(visual))
    np.maximum.at(lasted_s, chunks.iteration, chunks.lasted_s)
    computed = np.bincount(chunks.iteration, tokens) + chunks.decoding
    design = np.stack([np.ones(len(visual)), visual, computed], axis=1)
    weight = np.ones(len(visual))
    left_s = lasted_s
    for _ in range(_ROUNDS):
        found = np.linalg.lstsq(design * weight[:, None], lasted_s * weight, rcond=None)[0]
        left_s = np.abs(lasted_s - design @ found)
        weight = 1.0 / np.sqrt(np.maximum(left_s, 1e-6))
    return float(np.sum(left_s))


def _chunks(pieces: Pieces) -> _Chunks:
    prompts = np.flatnonzero((pieces.steps == 0) & (pieces.rate[:, PROMPT] > 0))
    order = prompts[np.argsort(pieces.start_s[prompts], kind="stable")]
    whose = pieces.call[order] * (int(np.max(pieces.turn)) + 1) + pieces.turn[order]
    _, prompt = np.unique(whose, return_inverse=True)
    starts, iteration = np.unique(pieces.start_s[order], return_inverse=True)
    lasted_s = (pieces.end_s - pieces.start_s)[order]
    tokens = pieces.rate[order, PROMPT] * lasted_s
    begun, ended = (np.sort(each[pieces.steps > 0]) for each in (pieces.start_s, pieces.end_s))
    decoding = np.searchsorted(begun, starts, "right") - np.searchsorted(ended, starts, "right")
    return _Chunks(
        order, prompt, iteration, lasted_s, tokens, pieces.is_told[order], _summed(prompt, tokens),
        decoding.astype(np.float64),
    )  # fmt: skip


def _filled(chunks: _Chunks, full_at: int) -> Floats | None:
    """Tokens of each chunk where a full iteration has so many; None where that does not fit."""
    left, tokens = np.array(chunks.whole), np.array(chunks.tokens)
    last = np.zeros(len(tokens), np.bool_)
    last[len(tokens) - 1 - np.unique(chunks.prompt[::-1], return_index=True)[1]] = True
    bounds = np.append(np.flatnonzero(np.diff(chunks.iteration, prepend=-1)), len(tokens))
    misfits, most = 0, MOST_MISFITS_FRACTION * float(np.count_nonzero(np.bincount(chunks.prompt) > 1))
    for number, (first, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        here = list(range(first, end))
        cut = [each for each in here if not last[each] and not chunks.is_told[each]]
        for each in here:
            if last[each] and not chunks.is_told[each]:
                tokens[each] = left[chunks.prompt[each]]
        used = float(chunks.decoding[number]) + sum(tokens[each] for each in here if each not in cut)
        misfits += _is_misfit(used, cut, full_at)
        for each in cut:
            tokens[each] = max(min((full_at - used) / len(cut), left[chunks.prompt[each]] - 1.0), 1.0)
            misfits += len(cut) == 1 and tokens[each] < (1 - SLACK_FRACTION) * full_at - used - 1.0
        for each in here:
            left[chunks.prompt[each]] -= tokens[each]
        if misfits > most:
            return None
    return tokens


def _is_misfit(used: float, cut: Sequence[int], full_at: int) -> bool:
    return used - len(cut) > (1 + SLACK_FRACTION) * full_at


def _by_time(pieces: Pieces, chunks: _Chunks) -> Pieces:
    """The tokens of each prompt divided by the time that the rest of each iteration leaves its chunks."""
    own = ~chunks.is_told
    tokens, iteration, prompt = np.array(chunks.tokens), chunks.iteration, chunks.prompt
    visual = np.bincount(iteration, pieces.rate[chunks.order, VISUAL] * chunks.lasted_s)
    for _ in range(_ROUNDS):
        seconds = times_of(flow_of(pieces))
        rest_s = chunks.lasted_s - seconds[STEPS] - seconds[VISUAL] * visual[iteration]
        for _ in range(_TURNS):
            others = np.bincount(iteration, tokens)[iteration] - tokens
            room_s = np.maximum(rest_s - seconds[PROMPT] * others, _LEAST_PART * chunks.lasted_s) * own
            of_prompt = np.maximum(np.bincount(prompt, room_s), 1e-12)[prompt]
            tokens = np.where(own, (tokens + chunks.whole[prompt] * room_s / of_prompt) / 2, tokens)
        pieces = _with_tokens(pieces, chunks, tokens)
    return pieces


def _with_tokens(pieces: Pieces, chunks: _Chunks, tokens: Floats) -> Pieces:
    changed = np.array(pieces.rate, np.float64)
    changed[chunks.order, PROMPT] = tokens / chunks.lasted_s
    return replace(pieces, rate=changed)

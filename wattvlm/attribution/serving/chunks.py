"""How many tokens of a prompt each of its chunks computed, where an iteration held chunks of several prompts.

An engine tells when a request was in which iteration, not how many of its tokens. A chunk has the time that the rest of
its iteration leaves it: what the images encoded in it, the other prompts and the step itself take, at the times a unit
that all iterations show.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.serving.shares import times_of
from wattvlm.attribution.serving.work import PROMPT, STEPS, VISUAL, Pieces, flow_of
from wattvlm.attribution.ticks import Floats

_ROUNDS = 4
_TURNS = 3
_LEAST_PART = 0.02
"""Of its iteration's time a chunk has this much at least."""


def with_chunks(pieces: Pieces) -> Pieces:
    """The same pieces with the prompt tokens of each call divided anew over its chunks."""
    prompts = np.flatnonzero((pieces.steps == 0) & (pieces.rate[:, PROMPT] > 0))
    owner = pieces.call[prompts]
    if len(prompts) < 2 or not np.any(np.bincount(owner) > 1):
        return pieces
    starts, iteration = np.unique(pieces.start_s[prompts], return_inverse=True)
    lasted = (pieces.end_s - pieces.start_s)[prompts]
    tokens = pieces.rate[prompts, PROMPT] * lasted
    whole = np.bincount(owner, tokens)
    visual = np.bincount(iteration, pieces.rate[prompts, VISUAL] * lasted, len(starts))
    for _ in range(_ROUNDS):
        seconds = times_of(flow_of(pieces))
        rest_s = lasted - seconds[STEPS] - seconds[VISUAL] * visual[iteration]
        for _ in range(_TURNS):
            others = np.bincount(iteration, tokens, len(starts))[iteration] - tokens
            room_s = np.maximum(rest_s - seconds[PROMPT] * others, _LEAST_PART * lasted)
            tokens = (tokens + whole[owner] * room_s / np.bincount(owner, room_s)[owner]) / 2
        pieces = replace(pieces, rate=_with_prompt_rates(pieces.rate, prompts, tokens / lasted))
    return pieces


def _with_prompt_rates(rate: Floats, prompts: NDArray[np.intp], prompt_hz: Floats) -> Floats:
    changed = np.array(rate, np.float64)
    changed[prompts, PROMPT] = prompt_hz
    return changed

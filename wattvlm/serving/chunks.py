"""In which iterations a prompt was computed, and how many of its tokens in each.

A scheduler that serves in order of arrival fills each iteration: decodes first, then prompts, and cuts a prompt only
where the iteration is full. A prompt that gives its first token has all that is left of it in that iteration; one that
does not has what the others leave. A scheduler that plans ahead puts a prompt into the iteration after the one that
runs meanwhile.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration: when it ended, tokens that it gave, and tokens of preempted requests that it computed again."""

    end_ns: int
    tokens: int
    computed_again: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: whose, when it was scheduled, when its first token came, and tokens that had to be computed."""

    number: int
    scheduled_ns: int
    first_ns: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a prompt; tokens None where they are not known."""

    number: int
    start_ns: int
    end_ns: int
    tokens: int | None


def step_of(steps: Sequence[Step], time_ns: int) -> int:
    """The iteration that a token's time belongs to: the first that ended then or later."""
    return bisect_left(steps, time_ns, key=_end_ns)


def _end_ns(step: Step) -> int:
    return step.end_ns


def chunks_of(prompts: Sequence[Prompt], steps: Sequence[Step], full_at: int, ahead: bool = False) -> list[Chunk]:
    """The chunks of prompts over the iterations known.

    full_at: tokens of a full iteration, 0 where not known. ahead: whether the scheduler plans while an iteration runs.
    """
    placed = [(each, step_of(steps, each.first_ns)) for each in prompts]
    found = [
        Chunk(each.number, each.scheduled_ns, each.first_ns, None)
        for each, end in placed
        if not full_at or end == len(steps)
    ]
    ends = {each.number: end for each, end in placed if full_at and end < len(steps)}
    room = [float(full_at - step.tokens) for step in steps]
    for end in ends.values():
        room[end] += 1  # its first token is not decoded
    waiting: dict[int, list[Prompt]] = {}
    for each, end in placed:
        if each.number in ends:
            waiting.setdefault(_begin(each, end, steps, room, ahead), []).append(each)
    left = {each.number: each.tokens for each, _ in placed}
    begun: list[Prompt] = []
    for index in range(min(waiting, default=0), max(ends.values(), default=-1) + 1):
        begun = sorted([*begun, *waiting.get(index, [])], key=_scheduled_ns)
        spare = room[index] - sum(left[each.number] for each in begun if ends[each.number] == index)
        for each in begun:
            is_last = ends[each.number] == index
            tokens = left[each.number] if is_last else int(max(min(spare, left[each.number] - 1), 0))
            spare -= 0 if is_last else tokens
            left[each.number] -= tokens
            if tokens:
                found.append(_chunk(each, steps, index, tokens, is_last))
        begun = [each for each in begun if ends[each.number] > index]
    return found


def _begin(prompt: Prompt, end: int, steps: Sequence[Step], room: Sequence[float], ahead: bool) -> int:
    """The iteration in which a prompt began."""
    scheduled = min(step_of(steps, prompt.scheduled_ns + 1), end)
    begin = min(scheduled + ahead, end)
    while begin > scheduled and prompt.tokens > sum(room[begin : end + 1]):
        begin -= 1
    return begin


def _chunk(prompt: Prompt, steps: Sequence[Step], index: int, tokens: int, is_last: bool) -> Chunk:
    end_ns = prompt.first_ns if is_last else steps[index].end_ns
    before_ns = steps[index - 1].end_ns if index else prompt.scheduled_ns
    return Chunk(prompt.number, min(max(before_ns, prompt.scheduled_ns), end_ns), end_ns, tokens)


def _scheduled_ns(prompt: Prompt) -> int:
    return prompt.scheduled_ns

"""What requests do at each time, as running sums: so much of each kind of work up to a time.

A piece is one stretch of one phase of one call. A prompt's work is spread evenly over its pieces. Decoding keeps the
engine's own time: an iteration that computes prompts makes one step in all of its time, and the other steps of a
request lie in the time that is left. (Spread evenly over seconds, a token that waited for a neighbour's prompt would
be taken for one that costs as much as the prompt.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.calls import spans_of
from wattvlm.attribution.ticks import Counts, Floats, seconds_since
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, CallTrace, Phase, Span
from wattvlm.units import NS_PER_S

VISUAL, PROMPT, DECODED, CONTEXT, STEPS, BUSY, IDLE = range(7)
"""Kinds of work. A request's own: visual tokens encoded, prompt tokens computed, tokens decoded, and tokens that
decoding reads (each reads all before it). In common: iterations of the batch, seconds with any work, all seconds."""

OWN_KINDS = 4
KINDS = 7

_ROUNDS = 10
_LEAST_S = 1e-12


@dataclass(frozen=True, slots=True)
class Pieces:
    """Stretches of phases: of which call and phase, from when to when in seconds.

    rate: own work a second, (P, OWN_KINDS), of what is spread evenly. a_step: own work a decode step, (P, OWN_KINDS).
    steps: how many decode steps the piece has, 0 where it is no decode. is_told: whether the engine told its tokens.
    turn: how often its request had decoded before it: a prompt's stretch after that computes all anew.
    """

    call: Counts
    phase: Counts
    start_s: Floats
    end_s: Floats
    rate: Floats
    a_step: Floats
    steps: Floats
    is_told: NDArray[np.bool_]
    turn: Counts
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """All work over time: constant rates between edges.

    edge_s: (E,). total: work of each kind but idle seconds up to an edge, (E, KINDS - 1). active: requests at work from
    an edge on. iteration_hz, step_hz: iterations a second in time with prompts, and in the time without. first, last:
    the edges at which each piece begins and ends; step_part: its decode steps in time without prompts, of all.
    """

    edge_s: Floats
    total: Floats
    active: Floats
    iteration_hz: Floats
    step_hz: Floats
    first: Counts
    last: Counts
    step_part: Floats

    def up_to(self, time_s: Floats) -> Floats:
        """Work of each kind up to times, (T, KINDS)."""
        columns = [np.interp(time_s, self.edge_s, self.total[:, kind]) for kind in range(IDLE)]
        return np.stack([*columns, time_s], axis=1)


def pieces_of(calls: Sequence[CallTrace], on_devices: bool, origin_ns: int) -> Pieces | None:
    """The pieces of all calls, on the host's or the devices' clock; None where a call does not say what it did."""
    names = tuple(dict.fromkeys(phase.name for call in calls for phase in call.phases))
    found: list[_Piece] = []
    for index, call in enumerate(calls):
        for phase in call.phases:
            amount = _amount(call, phase)
            if amount is None:
                return None
            if np.any(amount):  # else it prepares inputs on the host, say: nothing of it is in the device's batch
                found += _of_phase(call, phase, amount, (index, names.index(phase.name)), on_devices)
    if not found:
        return None
    call_number, phase_number, start_ns, end_ns, turn = (
        np.array(column, np.int64)
        for column in zip(*((*each.numbers, each.start_ns, each.end_ns, each.turn) for each in found), strict=True)
    )
    rate, a_step = (np.array(column) for column in zip(*((each.rate, each.a_step) for each in found), strict=True))
    return Pieces(
        call_number, phase_number, seconds_since(origin_ns, start_ns), seconds_since(origin_ns, end_ns), rate, a_step,
        np.array([each.steps for each in found]), np.array([each.is_told for each in found]), turn, names,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Piece:
    """One stretch: numbers of its call and phase, its time, and its work as in Pieces."""

    numbers: tuple[int, int]
    start_ns: int
    end_ns: int
    rate: Floats
    a_step: Floats
    steps: float
    is_told: bool
    turn: int


def _of_phase(
    call: CallTrace, phase: Phase, amount: Floats, numbers: tuple[int, int], on_devices: bool
) -> list[_Piece]:
    """The pieces of one phase with so much work of its own."""
    spans = [span for span in spans_of(phase, on_devices) if span.duration_ns > 0]
    if phase.name == DECODE and _steps(call):
        whole_ns, steps = sum(span.duration_ns for span in spans), _steps(call)
        return [
            _Piece(
                numbers, span.start_ns, span.end_ns, 0.0 * amount, amount / steps,
                steps * span.duration_ns / whole_ns, False, 0,
            )
            for span in spans
        ]  # fmt: skip
    decodes = call.phase(DECODE) if phase.name == PREFILL else None
    before = () if decodes is None else spans_of(decodes, on_devices)
    turns = [sum(each.start_ns < span.start_ns for each in before) for span in spans]
    found: list[_Piece] = []
    for number, (span, turn) in enumerate(zip(spans, turns, strict=True)):
        same_ns = sum(each.duration_ns for each, own in zip(spans, turns, strict=True) if own == turn)
        here = amount * span.duration_ns / same_ns
        if phase.name == PREFILL:
            here[VISUAL] = amount[VISUAL] if number == 0 else 0.0  # images are encoded before a prompt's first chunk
            again = amount[PROMPT] if turn == 0 else _computed_again(call, before, span.start_ns)
            here[PROMPT] = again * span.duration_ns / same_ns if span.tokens is None else span.tokens
        per_s = here * NS_PER_S / span.duration_ns
        found.append(
            _Piece(numbers, span.start_ns, span.end_ns, per_s, 0.0 * amount, 0.0, span.tokens is not None, turn)
        )
    return found


def _computed_again(call: CallTrace, decodes: Sequence[Span], time_ns: int) -> float:
    """Tokens of a request that lost its cache before a time: its prompt and what it had answered, as far as known."""
    whole_ns = sum(span.duration_ns for span in decodes)
    done_ns = sum(span.duration_ns for span in decodes if span.start_ns < time_ns)
    return (call.tokens.prompt or 0) + (call.tokens.output or 0) / call.batch_size * done_ns / max(whole_ns, 1)


def _amount(call: CallTrace, phase: Phase) -> Floats | None:
    """The own work of one phase; None where the counts that it takes are not known."""
    tokens = call.tokens
    amount = np.zeros(OWN_KINDS)
    if phase.name == VISION_ENCODE or VISION_ENCODE in phase.holds:
        visual = tokens.visual_encoded if tokens.visual_encoded is not None else tokens.visual_input
        if visual is None:
            return None
        amount[VISUAL] = visual
    if phase.name == PREFILL:
        if tokens.prompt is None:
            return None
        amount[PROMPT] = max(tokens.prompt - (tokens.cached_input or 0), 0)
    if phase.name == DECODE:
        if tokens.output is None or tokens.prompt is None:
            return None
        amount[DECODED] = max(tokens.output - call.batch_size, 0)
        amount[CONTEXT] = amount[DECODED] * (tokens.prompt + tokens.output / 2) / call.batch_size
    return amount


def _steps(call: CallTrace) -> int:
    if call.decode_steps is not None:
        return call.decode_steps
    return max((call.tokens.output or 0) // call.batch_size - 1, 0)


def flow_of(pieces: Pieces) -> Flow:
    """The running sums of all work."""
    decodes = pieces.steps > 0
    edge_s, place = np.unique(np.concatenate([pieces.start_s, pieces.end_s]), return_inverse=True)
    first, last = place[: len(pieces.call)].astype(np.int64), place[len(pieces.call) :].astype(np.int64)
    seconds = np.append(np.diff(edge_s), 0.0)

    def running(value: Floats | NDArray[np.bool_]) -> Floats:
        change = np.bincount(first, value, len(edge_s)) - np.bincount(last, value, len(edge_s))
        return np.asarray(np.cumsum(change), np.float64)

    active, prompts, decoding = (np.rint(running(each)) for each in (np.ones(len(first)), ~decodes, decodes))
    iteration_hz, free, free_part = _iterations(pieces, seconds, prompts > 0, running, first, last)
    rates = [
        running(pieces.rate[:, kind])
        + running(pieces.a_step[:, kind]) * iteration_hz
        + running(pieces.a_step[:, kind] * free_part) * free
        for kind in range(OWN_KINDS)
    ]
    # One iteration decodes a token of each request: all have the same rate, and their mean is that of the batch.
    rates.append(iteration_hz + running(decodes * free_part) / np.maximum(decoding, 1.0) * free)
    rates.append((active > 0).astype(np.float64))
    total = np.stack([np.concatenate([[0.0], np.cumsum((rate * seconds)[:-1])]) for rate in rates], axis=1)
    return Flow(edge_s, total, active, iteration_hz, free, first, last, free_part)


def _iterations(
    pieces: Pieces,
    seconds: Floats,
    has_prompt: NDArray[np.bool_],
    running: Callable[[Floats | NDArray[np.bool_]], Floats],
    first: Counts,
    last: Counts,
) -> tuple[Floats, Floats, Floats]:
    """(iterations a second in time with prompts, those in the time that is free of them, each piece's part of these).

    Without prompts all that decode make the same steps at the same times, so the rate of steps is one that gives each
    request its own number of them; it is found by turns, and the parts come out close to 1.

    A prompt's stretch that begins while others run begins an iteration. Where a request has fewer steps than there
    were such iterations in its time, prompts and steps do not take turns, and steps are spread over all of it.
    """
    decodes = pieces.steps > 0
    decoding = np.rint(running(decodes))
    begun = np.zeros(len(seconds))
    begun[np.unique(first[pieces.steps == 0])] = 1.0
    iteration = np.cumsum(begun).astype(np.int64) * has_prompt
    iteration_hz = np.where(has_prompt, 1.0 / np.maximum(np.bincount(iteration, seconds)[iteration], 1e-12), 0.0)
    free = (~has_prompt).astype(np.float64)

    def within(rate: Floats) -> Floats:
        summed = np.concatenate([[0.0], np.cumsum((rate * seconds)[:-1])])
        return np.asarray(summed[last] - summed[first], np.float64)

    left = pieces.steps - within(iteration_hz)
    if np.any((left < -0.5) & decodes):
        iteration_hz, free, left = np.zeros(len(seconds)), np.ones(len(seconds)), pieces.steps
    left = np.maximum(left, 0.0)
    for _ in range(_ROUNDS):
        of_each = running(np.where(decodes, left / np.maximum(within(free), _LEAST_S), 0.0))
        free = free * np.where(decoding > 0, of_each / np.maximum(decoding, 1.0), 1.0)
    free_part = left / np.maximum(within(free), _LEAST_S)
    return iteration_hz, free, np.asarray(free_part, np.float64)

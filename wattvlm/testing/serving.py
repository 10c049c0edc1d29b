"""A simulated server with continuous batching: known joules of every iteration, and each request's true share of them.

What an iteration costs is a known function of what is in it, with the economies of a batch: the weights are read once
for all, and prompt tokens ride along free of time while memory is the bottleneck.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wattvlm.probes._virtual_sensors import VirtualSensor
from wattvlm.recording import Recording
from wattvlm.testing.iterations import Floats, IterationCost
from wattvlm.testing.machine import VirtualMachine
from wattvlm.testing.power import PowerCurve
from wattvlm.testing.traffic import ServedRequest
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark, MarkKind
from wattvlm.units import NS_PER_S

SERVED_CALL_START_NS = 1_000 * NS_PER_S
QUIET_NS = 2 * NS_PER_S


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the scheduler allows: running requests, tokens of an iteration (chunked prefill), and cached tokens."""

    running: int = 64
    tokens: int = 2_048
    cache_tokens: int = 400_000


_USUAL_COST = IterationCost()
_USUAL_LIMITS = ServerLimits()


@dataclass(frozen=True, slots=True)
class ServedStep:
    """One iteration: when it ended, numbers of the requests that got a token, and of those that lost their cache then.

    computed_again: tokens of requests that had lost their cache before.
    """

    end_ns: int
    given: tuple[int, ...]
    lost: tuple[int, ...]
    computed_again: int


@dataclass(frozen=True, slots=True)
class Served:
    """A simulated Recording of a server, and what really happened.

    requests: in order of arrival, as their calls are in the report. shapley_j: joules of each by Shapley value on the
    known cost of each iteration, estimated from random orders. busy_j: joules of all iterations. block_j: of the whole
    block. preemptions: how often a request lost its cache to others. steps: the iterations, as an engine tells them.
    """

    recording: Recording
    requests: tuple[ServedRequest, ...]
    shapley_j: Floats
    phases_j: Mapping[str, Floats]
    busy_j: float
    block_j: float
    preemptions: int
    most_running: int
    steps: tuple[ServedStep, ...]


@dataclass(slots=True)
class _Running:
    """A request in the server: what is computed and cached of it, and what it has answered."""

    number: int
    request: ServedRequest
    to_prefill: int
    context: int
    is_encoded: bool
    answered: int = 0
    decoding_since_ns: int | None = None


@dataclass(slots=True)
class _Work:
    """What one request does in one iteration."""

    running: _Running
    tokens: int
    context: int = 0
    visual: int = 0


def serve(
    requests: Sequence[ServedRequest],
    sensors: Sequence[VirtualSensor],
    seed: int = 0,
    *,
    cost: IterationCost = _USUAL_COST,
    limits: ServerLimits = _USUAL_LIMITS,
    variation_fraction: float = 0.02,
    orders: int = 6,
    tells_tokens: bool = False,
) -> Served:
    """Play requests to a server and its power to sensors; arrivals count from the block's start.

    variation_fraction: one sigma of an iteration's joules about the known function. orders: random orders in which an
    iteration's requests join it, each with its reverse, for the Shapley value. tells_tokens: whether its marks say how
    many tokens of a prompt each iteration computed; else only when, and nothing of a prompt that is computed again.
    """
    play = _Server(requests, cost, limits, random.Random(seed), variation_fraction, orders, tells_tokens)
    play.run()
    machine = VirtualMachine({sensor.domain: play.curve for sensor in sensors}, sensors)
    recording = machine.record(SERVED_CALL_START_NS, play.now_ns, play.marks)
    phases_j = {name: np.array(own) for name, own in play.phases_j.items()}
    return Served(
        recording, tuple(play.requests), np.sum(list(phases_j.values()), axis=0), phases_j, play.busy_j,
        play.curve.energy_j(*play.block_ns), play.preemptions, play.most_running,
        tuple(play.steps),
    )  # fmt: skip


class _Server:
    """Continuous batching with chunked prefill: decodes first, then prompts in order of arrival."""

    def __init__(
        self, requests: Sequence[ServedRequest], cost: IterationCost, limits: ServerLimits, chance: random.Random,
        variation_fraction: float, orders: int, tells_tokens: bool,
    ) -> None:  # fmt: skip
        self.requests = sorted(requests, key=lambda request: request.arrival_ns)
        self.marks: list[Mark] = []
        self.now_ns = SERVED_CALL_START_NS
        self.block_ns = (self.now_ns, self.now_ns)
        self.curve = PowerCurve(before_w=cost.idle_w)
        self.phases_j = {name: [0.0] * len(requests) for name in (VISION_ENCODE, PREFILL, DECODE)}
        self.busy_j = 0.0
        self.preemptions = 0
        self.steps: list[ServedStep] = []
        self.most_running = 0
        self._cost = cost
        self._limits = limits
        self._chance = chance
        self._orders = np.random.default_rng(chance.randrange(2**31))
        self._variation_fraction = variation_fraction
        self._number_of_orders = orders
        self._tells_tokens = tells_tokens
        self._waiting: list[_Running] = []
        self._running: list[_Running] = []
        self._next = 0

    def run(self) -> None:
        """The whole session: quiet, the requests, quiet again."""
        self.now_ns += QUIET_NS
        begin_ns = self.now_ns
        self._mark("block_start", 1, "served")
        while self._next < len(self.requests) or self._waiting or self._running:
            self._arrive(begin_ns)
            if not (self._waiting or self._running):
                self.now_ns = begin_ns + self.requests[self._next].arrival_ns
                continue
            self._iterate(self._scheduled())
        self._mark("block_end", 1)
        self.block_ns = (begin_ns, self.now_ns)
        self.now_ns += QUIET_NS

    def _arrive(self, begin_ns: int) -> None:
        while self._next < len(self.requests) and begin_ns + self.requests[self._next].arrival_ns <= self.now_ns:
            request = self.requests[self._next]
            self._call_begins(self._next + 1, request, begin_ns + request.arrival_ns)
            computed = request.prompt_tokens - request.cached_tokens
            self._waiting.append(
                _Running(self._next, request, computed, request.cached_tokens, not request.visual_tokens)
            )
            self._next += 1

    def _call_begins(self, call_id: int, request: ServedRequest, at_ns: int) -> None:
        self.marks.append(Mark(at_ns, "call_start", call_id, "simulated", text=request.name))
        counts = {
            "text_input": request.text_tokens, "visual_input": request.visual_tokens, "images": request.images,
            "visual_encoded": request.visual_tokens, "cached_input": request.cached_tokens,
            "output": request.output_tokens, "decode_steps": request.output_tokens - 1,
        }  # fmt: skip
        for name, count in counts.items():
            self.marks.append(Mark(at_ns, "count", call_id, name, value=count, text="simulated"))

    def _scheduled(self) -> list[_Work]:
        work = [_Work(each, 1, each.context) for each in self._running if each.to_prefill == 0]
        budget = self._limits.tokens - len(work)
        for each in [one for one in self._running if one.to_prefill > 0]:
            budget -= self._chunk(each, budget, work)
        while self._waiting and budget > 0 and len(self._running) < self._limits.running and self._fits():
            joined = self._waiting.pop(0)
            self._running.append(joined)
            budget -= self._chunk(joined, budget, work)
        self.most_running = max(self.most_running, len(self._running))
        return work

    def _chunk(self, each: _Running, budget: int, work: list[_Work]) -> int:
        tokens = min(each.to_prefill, budget)
        if tokens > 0:
            work.append(_Work(each, tokens, 0, 0 if each.is_encoded else each.request.visual_tokens))
            each.is_encoded = True
        return max(tokens, 0)

    def _fits(self) -> bool:
        used = sum(each.context + each.to_prefill for each in self._running)
        first = self._waiting[0]
        return not self._running or used + first.context + first.to_prefill <= self._limits.cache_tokens

    def _iterate(self, work: list[_Work]) -> None:
        tokens, context, visual = (
            np.array([float(getattr(each, name)) for each in work]) for name in ("tokens", "context", "visual")
        )
        sums = [np.array([float(np.sum(column))]) for column in (tokens, context, visual)]
        time_ns = round(float(self._cost.time_ns(*sums)[0]))
        factor = max(self._chance.gauss(1.0, self._variation_fraction), 0.5)
        joules = float(self._cost.joules(*sums)[0]) * factor
        self._share(work, (tokens, context, visual), factor)
        self.busy_j += joules
        self.curve.append(self.now_ns, joules * NS_PER_S / time_ns)
        begin_ns, self.now_ns = self.now_ns, self.now_ns + time_ns
        self.curve.append(self.now_ns, self._cost.idle_w)
        again = sum(each.tokens for each in work if each.running.to_prefill and each.running.answered)
        given = [each.running.number for each in work if self._advance(each, begin_ns)]
        self.steps.append(ServedStep(self.now_ns, tuple(given), tuple(self._preempt()), again))

    def _share(self, work: Sequence[_Work], columns: tuple[Floats, Floats, Floats], factor: float) -> None:
        """Each request's Shapley value in this iteration: what it adds, in the mean over orders of joining."""
        orders = [self._orders.permutation(len(work)) for _ in range(self._number_of_orders)]
        language_j, vision_j = self._cost.shapley_j(*columns, [each for one in orders for each in (one, one[::-1])])
        for each, own_j, encoded_j in zip(work, language_j, vision_j, strict=True):
            number = each.running.number
            self.phases_j[VISION_ENCODE][number] += factor * float(encoded_j)
            phase = DECODE if each.running.to_prefill == 0 else PREFILL
            self.phases_j[phase][number] += factor * float(own_j)

    def _advance(self, work: _Work, begin_ns: int) -> bool:
        """Whether the request got a token."""
        each, call_id = work.running, work.running.number + 1
        if each.to_prefill:
            holds = VISION_ENCODE if each.request.visual_tokens else ""
            self.marks.append(Mark(begin_ns, "phase_start", call_id, PREFILL, text=holds))
            self._mark("phase_end", call_id, PREFILL, str(work.tokens) if self._tells_tokens else "")
            each.to_prefill -= work.tokens
            each.context += work.tokens
            if each.to_prefill:
                return False
            gave = each.answered == 0
            if gave:
                each.answered = 1
                self._mark("first_token", call_id)
        else:
            gave = True
            each.answered += 1
            each.context += 1
        if each.decoding_since_ns is None:
            each.decoding_since_ns = self.now_ns
        if each.answered >= each.request.output_tokens:
            self._decode_ends(each)
            self._mark("call_end", call_id, text="returned")
            self._running.remove(each)
        return gave

    def _decode_ends(self, each: _Running) -> None:
        if each.decoding_since_ns is not None and each.decoding_since_ns < self.now_ns:
            self.marks.append(Mark(each.decoding_since_ns, "phase_start", each.number + 1, DECODE))
            self._mark("phase_end", each.number + 1, DECODE)
        each.decoding_since_ns = None

    def _preempt(self) -> list[int]:
        """The last to have joined give their cache back, and compute it again later; their numbers."""
        lost: list[int] = []
        while len(self._running) > 1 and sum(each.context for each in self._running) > self._limits.cache_tokens:
            last = self._running.pop()
            self._decode_ends(last)
            last.to_prefill, last.context = last.to_prefill + last.context, 0
            self._waiting.insert(0, last)
            self.preemptions += 1
            lost.append(last.number)
        return lost

    def _mark(self, kind: MarkKind, call_id: int, name: str = "", text: str = "") -> None:
        self.marks.append(Mark(self.now_ns, kind, call_id, name, text=text))

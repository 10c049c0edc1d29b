"""A simulated server with continuous batching: known joules of every iteration, and each request's true share of them.

What an iteration costs is a known function of what is in it, with the economies of a batch: the weights are read once
for all, and prompt tokens ride along free of time while memory is the bottleneck.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wattvlm.probes._virtual_sensors import VirtualSensor
from wattvlm.recording import Recording
from wattvlm.testing.machine import VirtualMachine
from wattvlm.testing.power import PowerCurve
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark, MarkKind
from wattvlm.units import NS_PER_S

Floats = NDArray[np.float64]

SERVED_CALL_START_NS = 1_000 * NS_PER_S
QUIET_NS = 2 * NS_PER_S


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """One request: a class name for tables, when it arrives, and its tokens.

    cached_tokens: of its prompt (text and visual), found in the prefix cache; they are not computed again.
    """

    name: str
    arrival_ns: int
    text_tokens: int
    output_tokens: int
    visual_tokens: int = 0
    cached_tokens: int = 0
    images: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.text_tokens + self.visual_tokens


@dataclass(frozen=True, slots=True)
class IterationCost:
    """What an iteration takes: by default about a 7 B model on a data-centre GPU.

    Time: an overhead, the larger of memory time (weights, and each cached token that decode reads) and compute time
    (each token), and the vision encoder's. Joules: idle power all the time, and so much for each thing done.
    """

    idle_w: float = 70.0
    overhead_ns: float = 1.5e6
    weights_ns: float = 5.0e6
    context_ns: float = 50.0
    token_ns: float = 25e3
    visual_ns: float = 40e3
    weights_j: float = 1.1
    context_j: float = 10e-6
    token_j: float = 10e-3
    visual_j: float = 14e-3

    def time_ns(self, tokens: Floats, context: Floats, visual: Floats) -> Floats:
        """Time of iterations with so many tokens computed, tokens of context read, and visual tokens encoded."""
        memory_ns = (tokens > 0) * self.weights_ns + context * self.context_ns
        runs = (tokens > 0) | (visual > 0)
        beyond_ns = self.beyond_memory_ns(tokens, context)
        return np.asarray(runs * self.overhead_ns + memory_ns + beyond_ns + visual * self.visual_ns, np.float64)

    def beyond_memory_ns(self, tokens: Floats, context: Floats) -> Floats:
        """By how much computing takes longer than reading memory."""
        memory_ns = (tokens > 0) * self.weights_ns + context * self.context_ns
        return np.asarray(np.maximum(tokens * self.token_ns - memory_ns, 0.0), np.float64)

    def joules(self, tokens: Floats, context: Floats, visual: Floats) -> Floats:
        """Joules of the same iterations, idle power included."""
        idle_j = self.time_ns(tokens, context, visual) / NS_PER_S * self.idle_w
        work_j = (tokens > 0) * self.weights_j + tokens * self.token_j + context * self.context_j
        return np.asarray(idle_j + work_j + visual * self.visual_j, np.float64)

    def shapley_j(
        self, tokens: Floats, context: Floats, visual: Floats, orders: Sequence[NDArray[np.int64]]
    ) -> tuple[Floats, Floats]:
        """(language model, vision encoder): Shapley values of the requests of one iteration.

        Exact for what is each request's own, and for what is needed once, which all share alike. Only time beyond
        memory's, to which requests add more the later they join, is a mean over orders of joining.
        """
        each_w = self.idle_w / NS_PER_S
        vision_j = visual * (self.visual_j + self.visual_ns * each_w)
        own_j = tokens * self.token_j + context * (self.context_j + self.context_ns * each_w)
        once_j = self.weights_j + (self.weights_ns + self.overhead_ns) * each_w
        beyond_ns = np.zeros(len(tokens))
        if float(np.sum(tokens)) * self.token_ns > self.weights_ns:
            for order in orders:
                upto = (np.concatenate([[0.0], np.cumsum(column[order])]) for column in (tokens, context))
                beyond_ns[order] += np.diff(self.beyond_memory_ns(*upto))
        return own_j + once_j / len(tokens) + beyond_ns * each_w / len(orders), vision_j


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the scheduler allows: running requests, tokens of an iteration (chunked prefill), and cached tokens."""

    running: int = 64
    tokens: int = 2_048
    cache_tokens: int = 400_000


@dataclass(frozen=True, slots=True)
class Served:
    """A simulated Recording of a server, and what really happened.

    requests: in order of arrival, as their calls are in the report. shapley_j: joules of each by Shapley value on the
    known cost of each iteration, estimated from random orders. busy_j: joules of all iterations. block_j: of the whole
    block. preemptions: how often a request lost its cache to others.
    """

    recording: Recording
    requests: tuple[ServedRequest, ...]
    shapley_j: Floats
    phases_j: Mapping[str, Floats]
    busy_j: float
    block_j: float
    preemptions: int
    most_running: int


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
    cost: IterationCost = IterationCost(),
    limits: ServerLimits = ServerLimits(),
    variation_fraction: float = 0.02,
    orders: int = 6,
) -> Served:
    """Play requests to a server and its power to sensors; arrivals count from the block's start.

    variation_fraction: one sigma of an iteration's joules about the known function. orders: random orders in which an
    iteration's requests join it, each with its reverse, for the Shapley value.
    """
    play = _Server(requests, cost, limits, random.Random(seed), variation_fraction, orders)
    play.run()
    machine = VirtualMachine({sensor.domain: play.curve for sensor in sensors}, sensors)
    recording = machine.record(SERVED_CALL_START_NS, play.now_ns, play.marks)
    phases_j = {name: np.array(own) for name, own in play.phases_j.items()}
    return Served(
        recording, tuple(play.requests), np.sum(list(phases_j.values()), axis=0), phases_j, play.busy_j,
        play.curve.energy_j(*play.block_ns), play.preemptions, play.most_running,
    )  # fmt: skip


class _Server:
    """Continuous batching with chunked prefill: decodes first, then prompts in order of arrival."""

    def __init__(
        self, requests: Sequence[ServedRequest], cost: IterationCost, limits: ServerLimits, chance: random.Random,
        variation_fraction: float, orders: int,
    ) -> None:  # fmt: skip
        self.requests = sorted(requests, key=lambda request: request.arrival_ns)
        self.marks: list[Mark] = []
        self.now_ns = SERVED_CALL_START_NS
        self.block_ns = (self.now_ns, self.now_ns)
        self.curve = PowerCurve(before_w=cost.idle_w)
        self.phases_j = {name: [0.0] * len(requests) for name in (VISION_ENCODE, PREFILL, DECODE)}
        self.busy_j = 0.0
        self.preemptions = 0
        self.most_running = 0
        self._cost = cost
        self._limits = limits
        self._chance = chance
        self._orders = np.random.default_rng(chance.randrange(2**31))
        self._variation_fraction = variation_fraction
        self._number_of_orders = orders
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
        for each in work:
            self._advance(each, begin_ns)
        self._preempt()

    def _share(self, work: Sequence[_Work], columns: tuple[Floats, Floats, Floats], factor: float) -> None:
        """Each request's Shapley value in this iteration: what it adds, in the mean over orders of joining."""
        orders = [self._orders.permutation(len(work)) for _ in range(self._number_of_orders)]
        language_j, vision_j = self._cost.shapley_j(*columns, [each for one in orders for each in (one, one[::-1])])
        for each, own_j, encoded_j in zip(work, language_j, vision_j, strict=True):
            number = each.running.number
            self.phases_j[VISION_ENCODE][number] += factor * float(encoded_j)
            phase = DECODE if each.running.to_prefill == 0 else PREFILL
            self.phases_j[phase][number] += factor * float(own_j)

    def _advance(self, work: _Work, begin_ns: int) -> None:
        each, call_id = work.running, work.running.number + 1
        if each.to_prefill:
            holds = VISION_ENCODE if each.request.visual_tokens else ""
            self.marks.append(Mark(begin_ns, "phase_start", call_id, PREFILL, text=holds))
            self._mark("phase_end", call_id, PREFILL)
            each.to_prefill -= work.tokens
            each.context += work.tokens
            if each.to_prefill:
                return
            if each.answered == 0:
                each.answered = 1
                self._mark("first_token", call_id)
        else:
            each.answered += 1
            each.context += 1
        if each.decoding_since_ns is None:
            each.decoding_since_ns = self.now_ns
        if each.answered >= each.request.output_tokens:
            self._decode_ends(each)
            self._mark("call_end", call_id, text="returned")
            self._running.remove(each)

    def _decode_ends(self, each: _Running) -> None:
        if each.decoding_since_ns is not None and each.decoding_since_ns < self.now_ns:
            self.marks.append(Mark(each.decoding_since_ns, "phase_start", each.number + 1, DECODE))
            self._mark("phase_end", each.number + 1, DECODE)
        each.decoding_since_ns = None

    def _preempt(self) -> None:
        """The last to have joined give their cache back, and compute it again later."""
        while len(self._running) > 1 and sum(each.context for each in self._running) > self._limits.cache_tokens:
            last = self._running.pop()
            self._decode_ends(last)
            last.to_prefill, last.context = last.to_prefill + last.context, 0
            self._waiting.insert(0, last)
            self.preemptions += 1

    def _mark(self, kind: MarkKind, call_id: int, name: str = "", text: str = "") -> None:
        self.marks.append(Mark(self.now_ns, kind, call_id, name, text=text))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Arrivals of mixed requests: Poisson, or in bursts of several at once.

    rate_hz: requests a second. mix: (class, weight, text tokens, visual tokens, images, output tokens at most);
    lengths vary by a half to either side. cached_fraction: of requests, whose prompt is half in the prefix cache.
    """

    rate_hz: float
    requests: int
    burst: int = 1
    cached_fraction: float = 0.2
    mix: tuple[tuple[str, float, int, int, int, int], ...] = field(
        default=(("text", 0.4, 400, 0, 0, 200), ("image", 0.45, 60, 576, 1, 120), ("video", 0.15, 80, 2_304, 8, 160))
    )

    def drawn(self, seed: int) -> tuple[ServedRequest, ...]:
        """The requests of one session; the same seed gives the same."""
        chance = random.Random(seed)
        at_s = 0.0
        found: list[ServedRequest] = []
        while len(found) < self.requests:
            at_s += chance.expovariate(self.rate_hz / self.burst)
            found += [self._request(chance, at_s) for _ in range(min(self.burst, self.requests - len(found)))]
        return tuple(found)

    def _request(self, chance: random.Random, at_s: float) -> ServedRequest:
        name, _, text, visual, images, output = chance.choices(self.mix, [each[1] for each in self.mix])[0]
        text = round(text * chance.uniform(0.5, 1.5))
        cached = (text + visual) // 2 if chance.random() < self.cached_fraction else 0
        return ServedRequest(
            name, round(at_s * NS_PER_S), text, max(2, round(output * chance.uniform(0.5, 1.5))), visual, cached, images
        )

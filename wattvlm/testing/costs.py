"""A stated cost model: how long each phase of a call lasts and what it draws, by what is asked for.

Calls of any kind are then played on the virtual machine, so that what a study finds can be held against the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wattvlm.attribution import analyze
from wattvlm.probes._virtual_sensors import VirtualSensor
from wattvlm.report import Report
from wattvlm.testing.sessions import Script, ScriptedPhase, simulate
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, ModelFacts, TokenCounts
from wattvlm.units import NS_PER_MS, NS_PER_S, NS_PER_US


@dataclass(frozen=True, slots=True)
class Request:
    """What one call is asked for: prompts in a batch, and of each its images, its tokens, and its answer's length.

    cached: of the prompt's tokens, those that a prefix cache holds. is_encoded: False where pictures are among them.
    """

    images: int = 1
    visual: int = 576
    text: int = 32
    output: int = 32
    batch_size: int = 1
    cached: int = 0
    is_encoded: bool = True

    @property
    def tokens(self) -> TokenCounts:
        """The counts of the whole batch."""
        batch = self.batch_size
        return TokenCounts(
            text_input=batch * self.text, visual_encoded=batch * self.visual * self.is_encoded,
            visual_input=batch * self.visual, output=batch * self.output,
            cached_input=batch * self.cached if self.cached else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CostModel:
    """What calls cost: times of each phase as a sum over what it works on, and its watts.

    encode: of a batch's pictures, per encoded token. prefill: once, per prompt token, and per prompt token
    squared, of which those of a prefix cache cost none.
    decode: per step, per sequence of the batch in a step, and per token of its context. idle_w: outside of calls;
    between_w: between phases. variation_fraction: one sigma of the powers from call to call.
    """

    encode_ns: float = 10 * NS_PER_MS
    encode_ns_per_token: float = 60 * NS_PER_US
    encode_w: float = 420.0
    prefill_ns: float = 12 * NS_PER_MS
    prefill_ns_per_token: float = 90 * NS_PER_US
    prefill_ns_per_token2: float = 0.0
    prefill_w: float = 600.0
    decode_ns: float = 18 * NS_PER_MS
    decode_ns_per_sequence: float = 0.3 * NS_PER_MS
    decode_ns_per_context: float = 500.0
    decode_w: float = 360.0
    idle_w: float = 70.0
    between_w: float = 110.0
    variation_fraction: float = 0.03
    max_power_w: float = 1100.0
    facts: ModelFacts = field(default_factory=ModelFacts)

    def durations_ns(self, request: Request) -> dict[str, float]:
        """How long each phase of a call lasts; a phase without work is not there."""
        batch = request.batch_size
        visual, prompt = batch * request.visual, request.visual + request.text
        steps = request.output - 1
        context = steps * (prompt + request.output / 2)
        encodes, cached = request.images and request.is_encoded, request.cached
        found = {
            VISION_ENCODE: (self.encode_ns + self.encode_ns_per_token * visual) if encodes else 0.0,
            PREFILL: self.prefill_ns
            + batch * self.prefill_ns_per_token * (prompt - cached)
            + batch * self.prefill_ns_per_token2 * (prompt**2 - cached**2),
            DECODE: steps * (self.decode_ns + self.decode_ns_per_sequence * batch)
            + batch * self.decode_ns_per_context * context,
        }
        return {name: duration_ns for name, duration_ns in found.items() if duration_ns > 0}

    def truth_j(self, request: Request) -> dict[str, float]:
        """Joules of each phase of an expected call, and of "call", with the time between its phases."""
        watts = {VISION_ENCODE: self.encode_w, PREFILL: self.prefill_w, DECODE: self.decode_w}
        parts = {name: watts[name] * duration_ns / NS_PER_S for name, duration_ns in self.durations_ns(request).items()}
        between_j = (len(parts) + 1) * Script(()).gap_ns / NS_PER_S * self.between_w
        return {**parts, "call": sum(parts.values()) + between_j}

    def script(self, request: Request, calls: int) -> Script:
        """The session of so many like calls."""
        watts = {VISION_ENCODE: self.encode_w, PREFILL: self.prefill_w, DECODE: self.decode_w}
        phases = tuple(
            ScriptedPhase(name, round(duration_ns), {"gpu": watts[name]})
            for name, duration_ns in self.durations_ns(request).items()
        )
        return Script(
            phases, calls=calls, idle_w={"gpu": self.idle_w}, between_w={"gpu": self.between_w},
            power_variation_fraction=self.variation_fraction, duration_variation_fraction=0.01, tokens=request.tokens,
            images=request.images * request.batch_size, batch_size=request.batch_size,
            decode_steps=request.output - 1, model=self.facts,
        )  # fmt: skip

    def report(
        self, request: Request, calls: int = 20, seed: int = 0, period_ns: int = 20 * NS_PER_MS, gain: float = 1.02,
        board: str = "gpu-0",
    ) -> Report:  # fmt: skip
        """What wattvlm says of such a session, seen through a counter with so long a tick and an unknown gain."""
        counter = VirtualSensor(
            f"{board}/board", "gpu", period_ns=period_ns, phase_ns=seed * 7_919_417 % period_ns,
            jitter_ns=period_ns // 50, gain=gain, gain_std_fraction=0.025, max_power_w=self.max_power_w, seed=seed,
        )  # fmt: skip
        return analyze(simulate(self.script(request, calls), [counter], seed).recording)

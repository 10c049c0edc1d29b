"""What the model was doing: the marks that are written during the run, and the calls and phases made of them after.

The measured process only writes marks; `wattvlm.assembly` makes the Trace of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, cast, get_args

PREPROCESS = "preprocess"
VISION_ENCODE = "vision_encode"
PROJECTOR = "projector"
PREFILL = "prefill"
DECODE = "decode"

MODEL_PHASES = (PREPROCESS, VISION_ENCODE, PROJECTOR, PREFILL, DECODE)
"""The phases of one call in their order; any other name is a phase of the user's own."""

HOST = "host"
"""Device name of spans that were timed on the host clock; device spans carry torch's name, such as "cuda:0"."""

MarkKind = Literal[
    "block_start", "block_end", "call_start", "call_end", "phase_start", "phase_end", "first_token", "count", "facts",
    "note",
]  # fmt: skip

Fusion = Literal["early", "late", "deep", "cross-attention", "unknown"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One boundary or fact, as written during the run.

    time_ns: monotonic. kind: see below. call_id: the call it belongs to; 0 is none; for block marks the meter's id.
    lane: the thread. device: HOST, or the device whose own clock timed the boundary (mapped to the host clock).
    value: a count, or for phase marks the boundary's standard deviation in ns.

    block_start, block_end   name = the meter's label
    call_start, call_end     name = the runtime; call_end's text = how it ended ("returned", "raised ValueError")
    phase_start, phase_end   name = the phase; phase_start's text = phases that it holds, "preprocess,vision_encode";
                             phase_end's text = how many tokens it computed since its start, "512", where that is known
    first_token              the first logits are ready: prefill ends, decode begins
    count                    name = a field of TokenCounts, or batch_size, images, decode_steps, peak_memory_bytes,
                             prefill_flops, visual_prefill_flops;
                             text = how it was counted
    facts                    text = the model's facts as JSON
    note                     text = a line for the report
    """

    time_ns: int
    kind: MarkKind
    call_id: int = 0
    name: str = ""
    lane: int = 0
    device: str = HOST
    value: float = 0.0
    text: str = ""


class MarkSink(Protocol):
    """Where runtimes write marks: never raises, takes microseconds, may be called from any thread.

    Marks that are given together are written in one piece, which costs as much as one.
    """

    def __call__(self, /, *marks: Mark) -> None: ...


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time on one device; the boundaries are off by `boundary_std_ns` (one sigma).

    tokens: how many tokens its phase computed in it, where the engine tells (a chunk of a prompt, or a prompt computed
    again after it had lost its cache); None where it does not.
    """

    device: str
    start_ns: int
    end_ns: int
    boundary_std_ns: int = 0
    clock: Literal["host", "device"] = "host"
    tokens: int | None = None

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class Phase:
    """What one call did in its spans: preprocess, vision_encode, projector, prefill, decode, or the user's own name.

    lane: thread or stream. work_fraction: 1.0 alone; this call's share of the work where calls are packed in a batch.
    holds: names of other phases that the call has too, in this one or beside it, and that could not be told apart.
    """

    call_id: int
    name: str
    spans: tuple[Span, ...]
    lane: int = 0
    work_fraction: float = 1.0
    holds: tuple[str, ...] = ()

    @property
    def host_spans(self) -> tuple[Span, ...]:
        return tuple(span for span in self.spans if span.device == HOST)

    @property
    def duration_ns(self) -> int:
        """Time on the host clock (device spans of the same phase are the same work seen by the device)."""
        return sum(span.duration_ns for span in self.host_spans or self.spans)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of one call over its whole batch; None where the count is not known.

    text_input, visual_input, audio_input: the prompt's tokens by what they stand for, computed or not; None of audio
    where no model for it was seen. visual_encoded: rows out of the vision encoder. visual_kept: visual tokens alive
    after pruning inside the language model. cached_input: those of the prompt's tokens, of any kind, that a prefix
    cache held and that were not computed. output: generated tokens, the end token included. reasoning_output: those
    of them that are reasoning, its tags included. how: field name -> how it was counted.
    """

    text_input: int | None = None
    visual_encoded: int | None = None
    visual_input: int | None = None
    visual_kept: int | None = None
    cached_input: int | None = None
    output: int | None = None
    reasoning_output: int | None = None
    audio_input: int | None = None
    how: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def prompt(self) -> int | None:
        """Text, visual and audio tokens that enter the language model."""
        if self.text_input is None or self.visual_input is None:
            return None
        return self.text_input + self.visual_input + (self.audio_input or 0)

    @property
    def answer(self) -> int | None:
        """Generated tokens that are not reasoning; None where either is not known."""
        if self.output is None or self.reasoning_output is None:
            return None
        return self.output - self.reasoning_output


COUNTED = tuple(each.name for each in fields(TokenCounts) if each.name != "how")
"""The names of the counts in TokenCounts."""


def sum_tokens(counts: Sequence[TokenCounts]) -> TokenCounts:
    """Tokens over several calls; a count that one call does not know is not known for the sum."""
    how: dict[str, str] = {}
    for each in counts:
        for name, words in each.how.items():
            how[name] = words if how.get(name, words) == words else f"{how[name]}; {words}"
    return TokenCounts(**{name: sum_known(getattr(each, name) for each in counts) for name in COUNTED}, how=how)


def sum_known(counts: Iterable[int | None]) -> int | None:
    """The sum, or None where there is nothing to add or one of them is not known."""
    numbers = list(counts)
    known = [number for number in numbers if number is not None]
    return sum(known) if numbers and len(known) == len(numbers) else None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What model ran; None or "" where it could not be found out. Parameter counts are plain numbers of parameters."""

    name: str = ""
    class_name: str = ""
    parameters: int | None = None
    active_parameters: int | None = None
    vision_parameters: int | None = None
    projector_parameters: int | None = None
    dtype: str = ""
    quantisation: str = ""
    device: str = ""
    fusion: Fusion = "unknown"

    def to_json(self) -> str:
        """The facts as one line of JSON, the text of a `facts` mark."""
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> ModelFacts:
        """The facts of a `facts` mark; unknown or ill-typed entries are left at their defaults."""
        try:
            loaded: object = json.loads(text)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(loaded, dict):
            return cls()
        entries = cast("dict[str, object]", loaded)
        numbers = ("parameters", "active_parameters", "vision_parameters", "projector_parameters")
        known: dict[str, Any] = {}
        for each in fields(cls):
            value = entries.get(each.name)
            wanted = int if each.name in numbers else str
            if isinstance(value, wanted) and not isinstance(value, bool):
                known[each.name] = value
        if known.get("fusion") not in get_args(Fusion):
            known.pop("fusion", None)
        return cls(**known)


@dataclass(frozen=True, slots=True)
class PrefillWork:
    """Operations of one call's prefill over its whole batch, and of its visual tokens; see `wattvlm.flops`."""

    flops: int
    visual_flops: int
    how: str = ""


@dataclass(frozen=True, slots=True)
class CallTrace:
    """One call of a model: its phases and counts.

    start_ns, end_ns: the call itself; a preprocess phase seen before it lies outside. decode_steps: forward passes
    after the prefill. work: operations of the prefill, where they are known. ended: "returned", "raised NAME", or
    "not ended" (the process was killed inside it).
    """

    call_id: int
    start_ns: int
    end_ns: int
    phases: tuple[Phase, ...] = ()
    tokens: TokenCounts = field(default_factory=TokenCounts)
    batch_size: int = 1
    images: int | None = None
    decode_steps: int | None = None
    first_token_ns: int | None = None
    peak_memory_bytes: int | None = None
    work: PrefillWork | None = None
    runtime: str = "manual"
    model: ModelFacts = field(default_factory=ModelFacts)
    label: str = ""
    lane: int = 0
    ended: str = "returned"

    def phase(self, name: str) -> Phase | None:
        """The call's phase of that name, or None."""
        return next((phase for phase in self.phases if phase.name == name), None)


@dataclass(frozen=True, slots=True)
class Block:
    """One metered block: the life of one meter."""

    meter_id: int
    start_ns: int
    end_ns: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """All calls of a recording, the metered blocks, the user's own phases, and lines for the report."""

    calls: tuple[CallTrace, ...] = ()
    blocks: tuple[Block, ...] = ()
    own_phases: tuple[Phase, ...] = ()
    notes: tuple[str, ...] = ()

"""What the model was doing: marks as they are written during the run, and the calls and phases made from them after.

The measured process only writes marks. `assemble` makes the Trace afterwards, the same way for a run that ended well
and for one that was killed and left nothing but its journal.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isfinite
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
    phase_start, phase_end   name = the phase; phase_start's text = phases that it holds, "preprocess,vision_encode"
    first_token              the first logits are ready: prefill ends, decode begins
    count                    name = a field of TokenCounts, or batch_size, images, decode_steps, peak_memory_bytes;
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
    """Where runtimes write marks: never raises, takes about a microsecond, may be called from any thread."""

    def __call__(self, mark: Mark, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time on one device; the boundaries are off by `boundary_std_ns` (one sigma)."""

    device: str
    start_ns: int
    end_ns: int
    boundary_std_ns: int = 0
    clock: Literal["host", "device"] = "host"

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

    text_input: prompt tokens that are not visual. visual_encoded: rows out of the vision encoder.
    visual_input: visual tokens entering the language model. visual_kept: alive after pruning inside it.
    cached_input: prompt tokens taken from a prefix cache. output: generated tokens, the end token included.
    reasoning_output: those of them that are reasoning. how: field name -> how it was counted.
    """

    text_input: int | None = None
    visual_encoded: int | None = None
    visual_input: int | None = None
    visual_kept: int | None = None
    cached_input: int | None = None
    output: int | None = None
    reasoning_output: int | None = None
    how: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def prompt(self) -> int | None:
        """Text and visual tokens that enter the language model."""
        if self.text_input is None or self.visual_input is None:
            return None
        return self.text_input + self.visual_input


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
class CallTrace:
    """One call of a model: its phases and counts.

    start_ns, end_ns: the call itself; a preprocess phase seen before it lies outside. decode_steps: forward passes
    after the prefill. ended: "returned", "raised NAME", or "not ended" (the process was killed inside it).
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


def assemble(marks: Iterable[Mark]) -> Trace:
    """The Trace of a run's marks, in any order; what was never ended ends at the last mark.

    Phases with a name of MODEL_PHASES that were marked outside every call join one: a preprocess the next call (of
    calls that overlap, its own thread's), anything else a call of the user's own making (runtime "manual", one
    thread), which begins anew when the order of phases goes back. Other names are the user's own phases, with joules
    of their own and in no call.
    """
    ordered = sorted(marks, key=lambda mark: mark.time_ns)
    if not ordered:
        return Trace()
    last_ns = ordered[-1].time_ns
    by_call: dict[int, list[Mark]] = {}
    for mark in ordered:
        if mark.kind not in ("block_start", "block_end") and mark.call_id:
            by_call.setdefault(mark.call_id, []).append(mark)
    loose = [mark for mark in ordered if mark.call_id == 0]
    observed = [_call(call_id, own, last_ns) for call_id, own in by_call.items()]
    loose_phases = _phases(0, loose, last_ns)
    own_phases = [phase for phase in loose_phases if phase.name not in MODEL_PHASES]
    notes = [mark.text for mark in ordered if mark.kind == "note"]
    model_phases = [phase for phase in loose_phases if phase.name in MODEL_PHASES]
    joined, left = _join_preprocess(observed, model_phases)
    followed = _Timeline(call for call in observed if call.phase(PREFILL) is not None)
    notes += [_AROUND.format(name=phase.name) for phase in left if followed.lies_within(phase)]
    manual = _manual_calls([each for each in left if not followed.lies_within(each)], first_id=max([0, *by_call]) + 1)
    calls = sorted([*joined, *manual], key=_start_ns)
    calls, unplaced = _place_counts(calls, [mark for mark in loose if mark.kind == "count"])
    notes += [f"{mark.name}={mark.value:g} was given outside any call and is not used" for mark in unplaced]
    return Trace(tuple(calls), _blocks(ordered, last_ns), tuple(own_phases), tuple(dict.fromkeys(notes)))


_AROUND = "Phase {name!r} by hand lay around a call whose own phases were seen; those count. Cure: leave the mark out"


def _call(call_id: int, marks: Sequence[Mark], last_ns: int) -> CallTrace:
    starts = [mark for mark in marks if mark.kind == "call_start"]
    ends = [mark for mark in marks if mark.kind == "call_end"]
    first = next((mark.time_ns for mark in marks if mark.kind == "first_token"), None)
    facts = [mark.text for mark in marks if mark.kind == "facts"]
    start_ns = starts[0].time_ns if starts else marks[0].time_ns
    end_ns = ends[-1].time_ns if ends else last_ns
    call = CallTrace(
        call_id=call_id,
        start_ns=start_ns,
        end_ns=max(start_ns, end_ns),
        phases=tuple(_merge_by_name(_phases(call_id, marks, end_ns))),
        first_token_ns=first,
        runtime=starts[0].name if starts else "manual",
        label=starts[0].text if starts else "",
        lane=starts[0].lane if starts else marks[0].lane,
        model=ModelFacts.from_json(facts[-1]) if facts else ModelFacts(),
        ended=(ends[-1].text or "returned") if ends else "not ended",
    )
    return _with_counts(call, [mark for mark in marks if mark.kind == "count"])


def _phases(call_id: int, marks: Sequence[Mark], end_ns: int) -> list[Phase]:
    """One Phase a matched pair of marks; a start without an end ends at `end_ns`."""
    open_marks: dict[tuple[str, int, str], list[Mark]] = {}
    found: list[Phase] = []
    for mark in marks:
        key = (mark.name, mark.lane, mark.device)
        if mark.kind == "phase_start":
            open_marks.setdefault(key, []).append(mark)
        elif mark.kind == "phase_end" and open_marks.get(key):
            found.append(_phase(call_id, open_marks[key].pop(), mark.time_ns, mark.value))
    for unfinished in (mark for waiting in open_marks.values() for mark in waiting):
        found.append(_phase(call_id, unfinished, max(end_ns, unfinished.time_ns), unfinished.value))
    return sorted(found, key=lambda phase: phase.spans[0].start_ns)


def _phase(call_id: int, start: Mark, end_ns: int, end_std_ns: float) -> Phase:
    clock: Literal["host", "device"] = "host" if start.device == HOST else "device"
    stds_ns = [std_ns for std_ns in (start.value, end_std_ns) if isfinite(std_ns) and std_ns > 0]
    span = Span(start.device, start.time_ns, end_ns, int(max(stds_ns, default=0)), clock)
    return Phase(call_id, start.name, (span,), start.lane, holds=tuple(filter(None, start.text.split(","))))


def _merge_by_name(phases: Iterable[Phase]) -> list[Phase]:
    """One Phase a name, with all spans; model phases first in their order."""
    merged: dict[str, Phase] = {}
    for phase in phases:
        known = merged.get(phase.name)
        spans = phase.spans if known is None else tuple(sorted((*known.spans, *phase.spans), key=_span_start_ns))
        merged[phase.name] = replace(phase, spans=spans)
    return sorted(merged.values(), key=_phase_order)


def _span_start_ns(span: Span) -> int:
    return span.start_ns


def _phase_order(phase: Phase) -> tuple[int, int]:
    order = MODEL_PHASES.index(phase.name) if phase.name in MODEL_PHASES else len(MODEL_PHASES)
    return order, phase.spans[0].start_ns


def _with_phases(call: CallTrace, phases: Iterable[Phase]) -> CallTrace:
    own = [replace(phase, call_id=call.call_id) for phase in phases]
    return replace(call, phases=tuple(_merge_by_name(own)))


class _Timeline:
    """Calls in order of their start, over all threads and thread by thread, to be searched by time."""

    def __init__(self, calls: Iterable[CallTrace]) -> None:
        self.calls = sorted(calls, key=_start_ns)
        self._by_lane: dict[int, list[CallTrace]] = {}
        for call in self.calls:
            self._by_lane.setdefault(call.lane, []).append(call)

    def following(self, time_ns: int, lane: int) -> CallTrace | None:
        """The first call that starts at or after a time; of calls that overlap it, the one on the given thread."""
        found = _first_from(self.calls, time_ns)
        own = _first_from(self._by_lane.get(lane, []), time_ns)
        return own if found is not None and own is not None and own.start_ns <= found.end_ns else found

    def lies_within(self, phase: Phase) -> bool:
        """Whether a whole call of the phase's own thread ran while it was open."""
        found = _first_from(self._by_lane.get(phase.lane, []), phase.spans[0].start_ns)
        return found is not None and found.end_ns <= phase.spans[-1].end_ns

    def latest(self, time_ns: int, lane: int) -> CallTrace | None:
        """The last call that had started by a time; of calls that overlap it, the one on the given thread."""
        found = _last_until(self.calls, time_ns)
        own = _last_until(self._by_lane.get(lane, []), time_ns)
        return own if found is not None and own is not None and own.end_ns >= found.start_ns else found


def _start_ns(call: CallTrace) -> int:
    return call.start_ns


def _first_from(calls: Sequence[CallTrace], time_ns: int) -> CallTrace | None:
    index = bisect_left(calls, time_ns, key=_start_ns)
    return calls[index] if index < len(calls) else None


def _last_until(calls: Sequence[CallTrace], time_ns: int) -> CallTrace | None:
    index = bisect_right(calls, time_ns, key=_start_ns)
    return calls[index - 1] if index else None


def _join_preprocess(calls: Sequence[CallTrace], phases: Sequence[Phase]) -> tuple[list[CallTrace], list[Phase]]:
    """Preprocess phases join the next call that starts after them; what is left has no call to join.

    A phase marked by hand that comes before that call on the same thread keeps the preprocess for a call of its own.
    """
    timeline = _Timeline(calls)
    by_hand: dict[int, list[int]] = {}
    for phase in phases:
        if phase.name != PREPROCESS:
            by_hand.setdefault(phase.lane, []).append(phase.spans[0].start_ns)
    waiting: dict[int, list[Phase]] = {}
    left: list[Phase] = []
    for phase in phases:
        end_ns = phase.spans[-1].end_ns
        call = timeline.following(end_ns, phase.lane) if phase.name == PREPROCESS else None
        marked = by_hand.get(phase.lane, [])
        index = bisect_left(marked, end_ns)
        if call is None or (index < len(marked) and marked[index] < call.start_ns):
            left.append(phase)
        else:
            waiting.setdefault(call.call_id, []).append(phase)
    joined = [
        _with_phases(call, [*waiting[call.call_id], *call.phases]) if call.call_id in waiting else call
        for call in timeline.calls
    ]
    return joined, left


def _manual_calls(phases: Sequence[Phase], first_id: int) -> list[CallTrace]:
    """Calls made of phases that the user marked by hand; a phase earlier in the order begins its thread's next call."""
    groups: list[list[Phase]] = []
    current: dict[int, list[Phase]] = {}
    for phase in phases:
        group = current.get(phase.lane)
        if group is None or MODEL_PHASES.index(group[-1].name) >= MODEL_PHASES.index(phase.name):
            group = current[phase.lane] = []
            groups.append(group)
        group.append(phase)
    calls: list[CallTrace] = []
    for call_id, group in enumerate(groups, start=first_id):
        start_ns = min(phase.spans[0].start_ns for phase in group)
        end_ns = max(phase.spans[-1].end_ns for phase in group)
        decode = [phase.spans[0].start_ns for phase in group if phase.name == DECODE]
        call = CallTrace(call_id, start_ns, end_ns, first_token_ns=decode[0] if decode else None, lane=group[0].lane)
        calls.append(_with_phases(call, group))
    return calls


def _place_counts(calls: list[CallTrace], counts: Sequence[Mark]) -> tuple[list[CallTrace], list[Mark]]:
    """Counts given outside a call go to the last call that had started by then, else to the first call."""
    if not calls:
        return calls, list(counts)
    timeline = _Timeline(calls)
    given: dict[int, list[Mark]] = {}
    for mark in counts:
        call = timeline.latest(mark.time_ns, mark.lane) or timeline.calls[0]
        given.setdefault(call.call_id, []).append(mark)
    return [_with_counts(call, given[call.call_id]) if call.call_id in given else call for call in timeline.calls], []


def _with_counts(call: CallTrace, counts: Sequence[Mark]) -> CallTrace:
    token_fields = {each.name for each in fields(TokenCounts)} - {"how"}
    tokens: dict[str, int | None] = {name: getattr(call.tokens, name) for name in token_fields}
    how = dict(call.tokens.how)
    other: dict[str, Any] = {}
    for mark in counts:
        if not isfinite(mark.value) or mark.value < 0:
            continue
        if mark.name in token_fields:
            tokens[mark.name] = int(mark.value)
            how[mark.name] = mark.text
        elif mark.name in ("batch_size", "images", "decode_steps", "peak_memory_bytes"):
            other[mark.name] = int(mark.value)
    return replace(call, tokens=TokenCounts(**tokens, how=how), **other)


def _blocks(marks: Sequence[Mark], last_ns: int) -> tuple[Block, ...]:
    ends = {mark.call_id: mark.time_ns for mark in marks if mark.kind == "block_end"}
    starts = [mark for mark in marks if mark.kind == "block_start"]
    return tuple(Block(mark.call_id, mark.time_ns, ends.get(mark.call_id, last_ns), mark.name) for mark in starts)

"""Calls and phases out of marks, the same way for a run that ended well and for one that was killed.

A killed run left nothing but its journal; what was never ended ends at the last mark.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Literal

from wattvlm.trace import (
    COUNTED,
    DECODE,
    HOST,
    MODEL_PHASES,
    PREFILL,
    PREPROCESS,
    Block,
    CallTrace,
    Mark,
    ModelFacts,
    Phase,
    PrefillWork,
    Span,
    TokenCounts,
    Trace,
)

_MOST_DIGITS = 15
"""Of a count of tokens; a longer text is no count."""


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
            found.append(_phase(call_id, open_marks[key].pop(), mark.time_ns, mark.value, mark.text))
    for unfinished in (mark for waiting in open_marks.values() for mark in waiting):
        found.append(_phase(call_id, unfinished, max(end_ns, unfinished.time_ns), unfinished.value))
    return sorted(found, key=lambda phase: phase.spans[0].start_ns)


def _phase(call_id: int, start: Mark, end_ns: int, end_std_ns: float, computed: str = "") -> Phase:
    clock: Literal["host", "device"] = "host" if start.device == HOST else "device"
    stds_ns = [std_ns for std_ns in (start.value, end_std_ns) if isfinite(std_ns) and std_ns > 0]
    span = Span(start.device, start.time_ns, end_ns, int(max(stds_ns, default=0)), clock, _tokens(computed))
    return Phase(call_id, start.name, (span,), start.lane, holds=tuple(filter(None, start.text.split(","))))


def _tokens(computed: str) -> int | None:
    """The number in a phase_end mark's text; None for anything else."""
    is_number = computed.isascii() and computed.isdecimal() and len(computed) <= _MOST_DIGITS
    return int(computed) if is_number else None


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


_WORK = ("prefill_flops", "visual_prefill_flops")


def _with_counts(call: CallTrace, counts: Sequence[Mark]) -> CallTrace:
    tokens: dict[str, int | None] = {name: getattr(call.tokens, name) for name in COUNTED}
    how = dict(call.tokens.how)
    other: dict[str, Any] = {}
    flops: dict[str, int] = {}
    counted_how = ""
    for mark in counts:
        if not isfinite(mark.value) or mark.value < 0:
            continue
        if mark.name in COUNTED:
            tokens[mark.name] = int(mark.value)
            how[mark.name] = mark.text
        elif mark.name in ("batch_size", "images", "decode_steps", "peak_memory_bytes"):
            other[mark.name] = int(mark.value)
        elif mark.name in _WORK:
            flops[mark.name] = int(mark.value)
            counted_how = mark.text
    if len(flops) == len(_WORK):
        whole, visual = (flops[name] for name in _WORK)
        other["work"] = PrefillWork(whole, visual, counted_how)
    return replace(call, tokens=TokenCounts(**tokens, how=how), **other)


def _blocks(marks: Sequence[Mark], last_ns: int) -> tuple[Block, ...]:
    ends = {mark.call_id: mark.time_ns for mark in marks if mark.kind == "block_end"}
    starts = [mark for mark in marks if mark.kind == "block_start"]
    return tuple(Block(mark.call_id, mark.time_ns, ends.get(mark.call_id, last_ns), mark.name) for mark in starts)

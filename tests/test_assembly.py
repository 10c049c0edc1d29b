"""Marks become calls and phases, also where a run was killed, nested or marked by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.assembly import assemble
from wattvlm.trace import (
    DECODE,
    HOST,
    MODEL_PHASES,
    PREFILL,
    PREPROCESS,
    VISION_ENCODE,
    Block,
    CallTrace,
    Mark,
    MarkKind,
    ModelFacts,
    Phase,
    PrefillWork,
    Span,
    TokenCounts,
    Trace,
)

KINDS: tuple[MarkKind, ...] = (
    "block_start", "block_end", "call_start", "call_end", "phase_start", "phase_end", "first_token", "count", "facts",
    "note",
)  # fmt: skip


def phase(name: str, start_ns: int, end_ns: int, call_id: int = 0, lane: int = 1, device: str = HOST) -> list[Mark]:
    return [
        Mark(start_ns, "phase_start", call_id, name, lane, device),
        Mark(end_ns, "phase_end", call_id, name, lane, device),
    ]


def count(time_ns: int, name: str, value: float, call_id: int = 0, lane: int = 1) -> Mark:
    return Mark(time_ns, "count", call_id, name, lane, value=value, text="by hand")


def call(call_id: int, start_ns: int, end_ns: int, lane: int = 1, ended: str = "returned") -> list[Mark]:
    """The marks of a call without phases."""
    return [
        Mark(start_ns, "call_start", call_id, "transformers", lane, text="LlavaForConditionalGeneration"),
        Mark(end_ns, "call_end", call_id, lane=lane, text=ended),
    ]


def whole_call(call_id: int, start_ns: int, lane: int = 1) -> list[Mark]:
    """A call of 100 ns: vision encode 10-30, prefill 30-50, decode 50-95."""
    phases = [(VISION_ENCODE, 10, 30), (PREFILL, 30, 50), (DECODE, 50, 95)]
    return [
        *call(call_id, start_ns, start_ns + 100, lane),
        *(mark for name, on, off in phases for mark in phase(name, start_ns + on, start_ns + off, call_id, lane)),
        Mark(start_ns + 50, "first_token", call_id, lane=lane),
        count(start_ns + 96, "output", 12, call_id, lane),
        count(start_ns + 96, "batch_size", 2, call_id, lane),
        count(start_ns + 96, "images", 3, call_id, lane),
        count(start_ns + 96, "peak_memory_bytes", 8e9, call_id, lane),
        Mark(start_ns + 96, "facts", call_id, text=ModelFacts("LLaVA", parameters=7).to_json()),
    ]


def spans(found: Phase | None) -> list[tuple[int, int]]:
    assert found is not None
    return [(span.start_ns, span.end_ns) for span in found.spans]


def names(found: CallTrace) -> list[str]:
    return [each.name for each in found.phases]


def test_nothing_marked_is_an_empty_trace() -> None:
    assert assemble([]) == Trace()


def test_a_call_has_its_phases_counts_and_facts() -> None:
    trace = assemble([Mark(0, "block_start", 9, "LLaVA-1.5"), *whole_call(4, 100), Mark(300, "block_end", 9)])
    (found,) = trace.calls
    assert (found.call_id, found.start_ns, found.end_ns, found.ended) == (4, 100, 200, "returned")
    assert (found.runtime, found.label) == ("transformers", "LlavaForConditionalGeneration")
    assert [(each.name, spans(each)) for each in found.phases] == [
        (VISION_ENCODE, [(110, 130)]), (PREFILL, [(130, 150)]), (DECODE, [(150, 195)]),
    ]  # fmt: skip
    assert found.first_token_ns == 150
    assert found.tokens == TokenCounts(output=12, how={"output": "by hand"})
    assert (found.batch_size, found.images, found.peak_memory_bytes) == (2, 3, 8_000_000_000)
    assert found.model == ModelFacts("LLaVA", parameters=7)
    assert trace.blocks == (Block(9, 0, 300, "LLaVA-1.5"),)
    assert found.phase("no such phase") is None


@given(order=st.permutations(range(len(whole_call(1, 0)))))
def test_marks_may_come_in_any_order(order: list[int]) -> None:
    marks = [Mark(mark.time_ns * 100 + place, *_rest(mark)) for place, mark in enumerate(whole_call(1, 0))]
    assert assemble([marks[place] for place in order]) == assemble(marks)


def _rest(mark: Mark) -> tuple[MarkKind, int, str, int, str, float, str]:
    return mark.kind, mark.call_id, mark.name, mark.lane, mark.device, mark.value, mark.text


def test_a_killed_run_keeps_what_was_marked_and_its_call_is_not_ended() -> None:
    marks = sorted([Mark(0, "block_start", 9), *whole_call(1, 100)], key=lambda mark: mark.time_ns)
    trace = assemble(mark for mark in marks if mark.time_ns <= 160)
    (found,) = trace.calls
    assert (found.end_ns, found.ended) == (150, "not ended")
    assert [(each.name, spans(each)) for each in found.phases] == [
        (VISION_ENCODE, [(110, 130)]), (PREFILL, [(130, 150)]), (DECODE, [(150, 150)]),
    ]  # fmt: skip
    assert trace.blocks == (Block(9, 0, 150),)


def test_a_call_that_raised_says_so() -> None:
    (found,) = assemble(call(1, 0, 50, ended="raised KeyboardInterrupt")).calls
    assert (found.ended, found.end_ns) == ("raised KeyboardInterrupt", 50)


def test_a_phase_that_comes_in_pieces_is_one_phase_with_all_its_spans() -> None:
    marks = [*call(1, 0, 100), *phase(DECODE, 40, 50, 1), *phase(DECODE, 20, 30, 1), *phase(PREFILL, 5, 20, 1)]
    (found,) = assemble(marks).calls
    assert names(found) == [PREFILL, DECODE]
    assert spans(found.phase(DECODE)) == [(20, 30), (40, 50)]


def test_the_device_and_the_host_see_the_same_phase_and_its_time_is_counted_once() -> None:
    on_device = phase(PREFILL, 12, 42, 1, device="cuda:0")
    (found,) = assemble([*call(1, 0, 100), *phase(PREFILL, 10, 40, 1), *on_device]).calls
    prefill = found.phase(PREFILL)
    assert prefill is not None
    assert prefill.spans == (Span(HOST, 10, 40), Span("cuda:0", 12, 42, clock="device"))
    assert prefill.duration_ns == 30
    assert Phase(1, PREFILL, (Span("cuda:0", 12, 42, clock="device"),)).duration_ns == 30


def test_the_larger_uncertainty_of_both_boundaries_is_kept() -> None:
    marks = [*call(1, 0, 9), Mark(1, "phase_start", 1, PREFILL, value=5.0), Mark(2, "phase_end", 1, PREFILL, value=8.0)]
    (found,) = assemble(marks).calls
    assert found.phases[0].spans[0].boundary_std_ns == 8


def test_a_preprocess_before_the_call_joins_it() -> None:
    trace = assemble([*phase(PREPROCESS, 10, 40), *phase(PREPROCESS, 50, 60), *whole_call(1, 100), *whole_call(2, 300)])
    first, second = trace.calls
    assert spans(first.phase(PREPROCESS)) == [(10, 40), (50, 60)]
    assert names(first) == [PREPROCESS, VISION_ENCODE, PREFILL, DECODE]
    assert first.start_ns == 100
    assert second.phase(PREPROCESS) is None
    assert trace.own_phases == ()


def test_a_preprocess_of_one_thread_joins_the_call_of_that_thread() -> None:
    marks = [
        *phase(PREPROCESS, 0, 40, lane=1), *phase(PREPROCESS, 10, 50, lane=2),
        *whole_call(20, 60, lane=2), *whole_call(10, 70, lane=1),
    ]  # fmt: skip
    by_id = {found.call_id: found for found in assemble(marks).calls}
    assert spans(by_id[10].phase(PREPROCESS)) == [(0, 40)]
    assert spans(by_id[20].phase(PREPROCESS)) == [(10, 50)]


def test_a_preprocess_joins_the_next_call_of_a_worker_thread_though_its_own_calls_later() -> None:
    """Streaming: the main thread preprocesses, a worker generates; afterwards the main thread calls by itself."""
    marks = [*phase(PREPROCESS, 0, 40, lane=1), *whole_call(1, 60, lane=2), *whole_call(2, 500, lane=1)]
    first, second = assemble(marks).calls
    assert spans(first.phase(PREPROCESS)) == [(0, 40)]
    assert second.phase(PREPROCESS) is None


def test_a_preprocess_that_no_call_follows_makes_a_call_of_its_own() -> None:
    (first, second) = assemble([*whole_call(1, 100), *phase(PREPROCESS, 250, 260)]).calls
    assert first.phase(PREPROCESS) is None
    assert (second.runtime, names(second), second.start_ns, second.end_ns) == ("manual", [PREPROCESS], 250, 260)
    assert second.call_id == 2


def test_phases_marked_by_hand_make_calls_that_begin_anew_when_the_order_goes_back() -> None:
    steps = [(PREPROCESS, 0, 10), (PREFILL, 10, 30), (DECODE, 30, 90), (PREFILL, 100, 120), (DECODE, 120, 150)]
    marks = [mark for name, on, off in steps for mark in phase(name, on, off)]
    first, second = assemble([*marks, count(95, "output", 7), count(160, "output", 8), count(95, "images", 1)]).calls
    assert (names(first), names(second)) == ([PREPROCESS, PREFILL, DECODE], [PREFILL, DECODE])
    assert (first.first_token_ns, second.first_token_ns) == (30, 120)
    assert (first.tokens.output, second.tokens.output, first.images, second.images) == (7, 8, 1, None)
    assert {first.runtime, second.runtime} == {"manual"}


def test_a_preprocess_by_hand_stays_with_the_prefill_by_hand_that_follows() -> None:
    marks = [*phase(PREPROCESS, 0, 10), *phase(PREFILL, 10, 30), *whole_call(1, 100)]
    manual, observed = assemble(marks).calls
    assert names(manual) == [PREPROCESS, PREFILL]
    assert observed.phase(PREPROCESS) is None


def test_a_phase_marked_around_a_followed_call_makes_no_second_call() -> None:
    alone = assemble(whole_call(1, 100))
    wrapped = assemble([*phase(DECODE, 90, 10_000), *whole_call(1, 100)])
    assert wrapped.calls == alone.calls
    (note,) = wrapped.notes
    assert "Phase 'decode' by hand lay around a call" in note


def test_a_phase_marked_around_a_call_in_another_thread_stays_a_call() -> None:
    calls = assemble([*phase(DECODE, 90, 10_000, lane=7), *whole_call(1, 100)]).calls
    assert len(calls) == 2


def test_phases_marked_by_hand_in_two_threads_are_two_calls() -> None:
    marks = [
        *phase(PREFILL, 0, 10, lane=1), *phase(PREFILL, 5, 15, lane=2),
        *phase(DECODE, 10, 50, lane=1), *phase(DECODE, 15, 55, lane=2),
    ]  # fmt: skip
    calls = assemble(marks).calls
    assert [(found.lane, names(found), found.start_ns, found.end_ns) for found in calls] == [
        (1, [PREFILL, DECODE], 0, 50), (2, [PREFILL, DECODE], 5, 55),
    ]  # fmt: skip


def test_a_phase_of_the_users_own_may_hold_a_call_and_others_and_belongs_to_none() -> None:
    marks = [*phase("question", 0, 250), *phase("question", 10, 20), *whole_call(1, 100)]
    trace = assemble(marks)
    assert [(each.name, spans(each)) for each in trace.own_phases] == [
        ("question", [(0, 250)]), ("question", [(10, 20)]),
    ]  # fmt: skip
    assert names(trace.calls[0]) == [VISION_ENCODE, PREFILL, DECODE]


def test_a_call_inside_a_call_is_a_call_of_its_own() -> None:
    outer, inner = assemble([*call(1, 0, 500), *whole_call(2, 100)]).calls
    assert (outer.call_id, names(outer)) == (1, [])
    assert (inner.call_id, names(inner)) == (2, [VISION_ENCODE, PREFILL, DECODE])


def test_phases_of_one_name_in_two_threads_do_not_end_each_other() -> None:
    first, second = assemble([*phase("warm up", 0, 30, lane=1), *phase("warm up", 10, 20, lane=2)]).own_phases
    assert (spans(first), first.lane) == ([(0, 30)], 1)
    assert (spans(second), second.lane) == ([(10, 20)], 2)


def test_tokens_given_after_a_call_are_those_of_the_latest_call() -> None:
    marks = [*call(1, 0, 50), *call(2, 100, 150), count(60, "output", 5), count(170, "output", 6)]
    first, second = assemble(marks).calls
    assert (first.tokens.output, second.tokens.output) == (5, 6)
    assert first.tokens.how == {"output": "by hand"}


def test_tokens_given_in_a_thread_are_those_of_its_own_call_where_calls_overlap() -> None:
    marks = [*call(1, 0, 100, lane=1), *call(2, 20, 120, lane=2), count(110, "output", 5, lane=1)]
    first, second = assemble(marks).calls
    assert (first.tokens.output, second.tokens.output) == (5, None)


def test_tokens_given_before_any_call_are_those_of_the_first() -> None:
    first, second = assemble([count(0, "visual_input", 576), *call(1, 10, 50), *call(2, 60, 70)]).calls
    assert (first.tokens.visual_input, second.tokens.visual_input) == (576, None)


def test_tokens_without_any_call_are_named_and_not_used() -> None:
    trace = assemble([count(5, "output", 12)])
    assert trace.calls == ()
    assert trace.notes == ("output=12 was given outside any call and is not used",)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_count_that_is_none_leaves_the_tokens_unknown_not_zero(value: float) -> None:
    marks = [*call(1, 0, 50), count(20, "output", value, 1), count(20, "batch_size", value, 1)]
    (found,) = assemble(marks).calls
    assert (found.tokens.output, found.batch_size) == (None, 1)


def test_operations_of_a_prefill_need_both_counts() -> None:
    both = [*call(1, 0, 50), count(20, "prefill_flops", 10**15, 1), count(20, "visual_prefill_flops", 5, 1)]
    (found,) = assemble(both).calls
    assert found.work == PrefillWork(10**15, 5, "by hand")
    assert assemble(both[:-1]).calls[0].work is None


def test_a_note_is_kept_once() -> None:
    marks = [Mark(time_ns, "note", text="the hooks were taken out") for time_ns in (1, 2)]
    assert assemble(marks).notes == ("the hooks were taken out",)


MARKS = st.builds(
    Mark,
    time_ns=st.integers(-5, 30) | st.integers(-(2**63), 2**63 - 1),
    kind=st.sampled_from(KINDS),
    call_id=st.integers(-2, 3),
    name=st.sampled_from((*MODEL_PHASES, "own", "output", "batch_size", "")),
    lane=st.integers(0, 2),
    device=st.sampled_from((HOST, "cuda:0")),
    value=st.floats(),
    text=st.sampled_from(("", "returned", "{}", '{"name": "x"}', "[[")),
)


def every_span(trace: Trace) -> Iterator[Span]:
    phases: Iterable[Phase] = (*trace.own_phases, *(each for found in trace.calls for each in found.phases))
    return (span for each in phases for span in each.spans)


@given(marks=st.lists(MARKS, max_size=40))
def test_no_marks_whatever_they_are_cost_the_trace(marks: list[Mark]) -> None:
    trace = assemble(marks)
    assert all(span.start_ns <= span.end_ns for span in every_span(trace))
    assert all(found.start_ns <= found.end_ns for found in trace.calls)
    assert len({found.call_id for found in trace.calls}) == len(trace.calls)


@given(kept=st.sets(st.integers(0, 60)), cut=st.integers(0, 60))
def test_no_subset_of_a_runs_marks_costs_the_rest(kept: set[int], cut: int) -> None:
    marks = [
        Mark(0, "block_start", 9), *phase(PREPROCESS, 10, 40), *whole_call(1, 100), *whole_call(2, 120, lane=2),
        *phase("own", 90, 350), *phase(PREFILL, 300, 310), count(320, "output", 4), Mark(400, "block_end", 9),
    ]  # fmt: skip
    for some in (marks[:cut], [mark for place, mark in enumerate(marks) if place in kept]):
        trace = assemble(some)
        started = {mark.call_id for mark in some if mark.call_id in (1, 2)}
        assert started <= {found.call_id for found in trace.calls}
        assert len(trace.own_phases) == sum(mark.kind == "phase_start" and mark.name == "own" for mark in some)


def test_a_long_run_of_twenty_thousand_calls_is_put_together() -> None:
    """Each preprocess and each count has to find its call among all: what looks at every call takes 10^9 steps here."""
    marks: list[Mark] = []
    for call_id in range(1, 20_001):
        start_ns = call_id * 1000
        marks += phase(PREPROCESS, start_ns - 300, start_ns - 100)
        marks += call(call_id, start_ns, start_ns + 500)
        marks += phase(PREFILL, start_ns, start_ns + 100, call_id)
        marks.append(count(start_ns + 600, "output", call_id))
    trace = assemble(marks)
    assert [found.tokens.output for found in trace.calls] == list(range(1, 20_001))
    assert all(names(found) == [PREPROCESS, PREFILL] for found in trace.calls)


def test_a_phase_says_which_others_it_holds():
    marks = [
        Mark(0, "call_start", 1, "test"),
        Mark(1, "phase_start", 1, "prefill", text="preprocess,vision_encode"),
        Mark(5, "phase_end", 1, "prefill"),
        Mark(5, "phase_start", 1, "decode"),
        Mark(9, "call_end", 1, "test"),
    ]
    (call,) = assemble(marks).calls
    assert [phase.holds for phase in call.phases] == [("preprocess", "vision_encode"), ()]

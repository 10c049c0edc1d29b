"""Requests out of looks at slots: when they came, gave their first token and ended, and what they did."""

from __future__ import annotations

from typing import Any

import pytest

from wattvlm.assembly import assemble
from wattvlm.trace import CallTrace
from wattvlm.watching.slots import Slots

STEP_NS = 100_000_000


def slot(task: int, given: int, computed: int = 50, number: int = 0) -> dict[str, Any]:
    return {
        "id": number, "id_task": task, "is_processing": True, "n_prompt_tokens_processed": computed,
        "n_prompt_tokens_cache": 5, "next_token": [{"n_decoded": given}],
    }  # fmt: skip


def calls_of(pages: list[list[dict[str, Any]]], has_vision: bool | None = False) -> tuple[CallTrace, ...]:
    slots = Slots("http://127.0.0.1:1")  # where nothing listens
    assert not slots.are_told
    slots.has_vision = has_vision
    for index, page in enumerate(pages):
        slots.take(page, index * STEP_NS, (index + 1) * STEP_NS)
    return assemble(slots.marks((len(pages) + 1) * STEP_NS)).calls


def test_a_request_is_a_call_from_its_first_look_to_its_last():
    (call,) = calls_of([[], [slot(7, 0)], [slot(7, 10)], [slot(7, 30)], [slot(7, 50)], []])
    assert call.label == "slot 0 task 7"
    assert (call.tokens.prompt, call.tokens.cached_input, call.tokens.output) == (55, 5, 50)
    assert call.decode_steps == 49
    assert call.start_ns == pytest.approx(1.5 * STEP_NS)
    prefill, decode = call.phases
    assert prefill.spans[0].end_ns == pytest.approx(3 * STEP_NS - 9 * STEP_NS / 20, rel=1e-6)
    assert decode.spans[0].end_ns == call.end_ns == pytest.approx(5.5 * STEP_NS)
    assert prefill.spans[0].boundary_std_ns == pytest.approx(STEP_NS / 12**0.5, rel=1e-3)


def test_two_tasks_one_after_the_other_in_a_slot_are_two_calls_and_two_slots_two():
    pages = [[slot(1, 5)], [slot(1, 20), slot(2, 3, number=1)], [slot(3, 4), slot(2, 9, number=1)], []]
    assert [call.label for call in calls_of(pages)] == ["slot 0 task 1", "slot 1 task 2", "slot 0 task 3"]


def test_what_goes_on_at_the_end_is_said_to():
    (call,) = calls_of([[], [slot(1, 5)], [slot(1, 20)]])
    assert call.ended == "went on"


def test_visual_tokens_are_unknown_where_the_server_sees_pictures():
    (call,) = calls_of([[], [slot(1, 5)], []], has_vision=True)
    assert call.tokens.visual_input is None
    assert call.tokens.prompt is None
    assert call.tokens.output == 5


def test_a_page_of_an_older_server_and_one_without_sense_do_no_harm():
    older = slot(1, 5) | {"next_token": {"n_decoded": 5}}
    (call,) = calls_of([[], [older], [{"is_processing": False}], []])
    assert call.tokens.output == 5

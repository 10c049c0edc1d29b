"""The nouns of a trace: what counts say together, and facts that travel as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.trace import ModelFacts, TokenCounts, sum_tokens


def test_tokens_of_several_calls_are_their_sum_and_unknown_where_one_is_unknown() -> None:
    first = TokenCounts(text_input=5, output=3, how={"output": "counted"})
    second = TokenCounts(text_input=7, output=None, how={"output": "by hand"})
    assert sum_tokens([first, second]) == TokenCounts(text_input=12, how={"output": "counted; by hand"})
    assert sum_tokens([first, first]).how == {"output": "counted"}
    assert sum_tokens([]) == TokenCounts()


def test_prompt_tokens_are_known_only_where_both_kinds_are() -> None:
    assert TokenCounts(text_input=38, visual_input=391).prompt == 429
    assert TokenCounts(text_input=38).prompt is None
    assert TokenCounts(visual_input=38).prompt is None


@given(name=st.text(), number=st.none() | st.integers(0, 10**15), fusion=st.sampled_from(("early", "deep", "unknown")))
def test_model_facts_survive_the_mark_that_carries_them(name: str, number: int | None, fusion: str) -> None:
    facts = ModelFacts.from_json(json.dumps({"name": name, "parameters": number, "fusion": fusion}))
    assert (facts.name, facts.parameters, facts.fusion) == (name, number, fusion)
    assert ModelFacts.from_json(facts.to_json()) == facts


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "[" * 100_000, '{"parameters": true, "name": 5, "fusion": "cold", "colour": "red"}'],
)
def test_facts_that_are_none_are_left_out(text: str) -> None:
    assert ModelFacts.from_json(text) == ModelFacts()

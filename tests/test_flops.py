"""Operations of a prefill: what the closed forms say is what counting pair by pair says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.flops import Attending, BlockShape, attention_flops, runs_of, work_of

LLAMA_7B = BlockShape(2 * 32 * (4 * 4096**2 + 3 * 4096 * 11008), (Attending(32 * 4 * 4096),))


def keys(kind: Attending, position: int) -> int:
    """How many positions this one attends to, itself included."""
    if kind.window is None:
        return position + 1
    return position % kind.window + 1 if kind.chunked else min(position + 1, kind.window)


KINDS = st.builds(Attending, st.integers(1, 9), st.none() | st.integers(1, 12), st.booleans())


@given(kind=KINDS, edges=st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_pairs_of_a_run_are_those_counted_one_by_one(kind: Attending, edges: tuple[int, int]) -> None:
    start, end = sorted(edges)
    flops = attention_flops(BlockShape(0, (kind,)), (start, end), 50)
    assert flops == kind.flops_per_pair * sum(keys(kind, position) for position in range(start, end))


@given(visual=st.lists(st.booleans(), min_size=1, max_size=40), kind=KINDS, both_ways=st.booleans())
def test_visual_and_text_operations_add_up_to_the_prefills(
    visual: list[bool], kind: Attending, both_ways: bool
) -> None:
    shape, length = BlockShape(1000, (kind,)), len(visual)
    whole, of_visual = work_of(shape, [(length, runs_of(visual))], both_ways)
    _, of_text = work_of(shape, [(length, runs_of(not each for each in visual))], both_ways)
    assert of_visual + of_text == whole
    assert whole == length * 1000 + attention_flops(shape, (0, length), length, both_ways)


def test_an_image_costs_more_the_later_it_stands() -> None:
    whole, first = work_of(LLAMA_7B, [(8391, [(0, 391)])])
    same, last = work_of(LLAMA_7B, [(8391, [(8000, 8391)])])
    assert same == whole
    assert first / whole < 391 / 8391 < last / whole


def test_where_each_position_attends_to_all_every_token_costs_the_same() -> None:
    whole, visual = work_of(LLAMA_7B, [(429, [(15, 406)])], both_ways=True)
    assert visual / whole == pytest.approx(391 / 429)


def test_without_a_quadratic_part_the_share_is_that_of_tokens() -> None:
    whole, visual = work_of(BlockShape(7), [(10, [(2, 6)]), (5, [])])
    assert (whole, visual) == (15 * 7, 4 * 7)


def test_visual_tokens_that_meet_weights_of_their_own_count_with_these() -> None:
    assert work_of(BlockShape(7, visual_linear_flops=3), [(10, [(2, 6)])]) == (6 * 7 + 4 * 3, 4 * 3)

"""Counts from plain numbers: what is known is counted and says how; what is not known is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.runtimes.transformers.counting import (
    Prompt,
    are_images,
    image_runs,
    kept_count,
    output_count,
    prompt_counts,
)

IMAGE = 100
TEXT_IDS = st.lists(st.integers(1, 99), max_size=20)


def counted(**prompt):
    return {each.name: (each.value, each.how) for each in prompt_counts(Prompt(**prompt))}


@given(before=TEXT_IDS, after=TEXT_IDS, visual=st.integers(1, 50), rows=st.integers(1, 3))
def test_text_and_visual_tokens_add_up_to_the_ids(before, after, visual, rows):
    row = [*before, *[IMAGE] * visual, *after]
    found = counted(
        ids=[row] * rows, padded_length=len(row), batch_size=rows, placeholders={IMAGE}, vision_ran=True,
        features=visual * rows, model_length=len(row),
    )  # fmt: skip
    assert found["text_input"][0] + found["visual_input"][0] == len(row) * rows
    assert found["visual_input"] == (visual * rows, "exact (placeholders = feature rows)")


@given(text=TEXT_IDS, visual=st.integers(1, 50))
def test_the_growth_of_the_sequence_is_visual(text, visual):
    row = [*text, -200]
    found = counted(
        ids=[row], padded_length=len(row), batch_size=1, vision_ran=True, features=visual,
        model_length=len(text) + visual,
    )  # fmt: skip
    if len(text) + visual > len(row):
        assert (found["text_input"][0], found["visual_input"][0]) == (len(text), visual)


def test_a_disagreement_between_placeholders_and_features_is_told():
    found = counted(
        ids=[[1, IMAGE, IMAGE, 2]], padded_length=4, batch_size=1, placeholders={IMAGE}, vision_ran=True, features=5,
        model_length=4,
    )  # fmt: skip
    assert found["visual_input"] == (2, "placeholders (the vision side gave 5 rows)")


def test_features_beside_the_sequence_leave_its_text_whole():
    found = counted(
        ids=[[1, IMAGE, 2]], padded_length=3, batch_size=1, placeholders={IMAGE}, vision_ran=True, features=34,
        model_length=3, cross_attention=True,
    )  # fmt: skip
    assert found["text_input"][0] == 3
    assert found["visual_input"][0] == 34


def test_a_vision_side_that_may_have_run_unseen_gives_no_zero():
    found = counted(ids=[[1, 2, 3]], padded_length=3, batch_size=1, vision_ran=None, model_length=3)
    assert found == {}


def test_two_ids_that_both_fit_are_not_guessed_between():
    found = counted(ids=[[7, 7, 8, 8, 9]], padded_length=5, batch_size=1, vision_ran=True, features=2, model_length=5)
    assert found["visual_input"] == (2, "feature rows")
    assert found["text_input"][0] == 5


def test_a_call_by_embeddings_alone_without_vision_is_not_called_text():
    assert counted(ids=None, padded_length=0, batch_size=1, vision_ran=False, model_length=9) == {}


def test_a_call_by_embeddings_with_features_splits_its_length():
    found = counted(ids=None, padded_length=0, batch_size=1, vision_ran=True, model_length=9, features=4)
    assert (found["text_input"][0], found["visual_input"][0]) == (5, 4)


@given(st.integers(0, 40), st.integers(1, 60), st.integers(1, 60), st.integers(1, 4))
def test_kept_tokens_are_never_more_than_entered(visual, first, last, batch):
    kept = kept_count(visual, first, last, batch)
    if kept is not None:
        assert 0 <= kept.value < max(visual, 1)


def test_nothing_pruned_is_no_count():
    assert kept_count(16, 22, 22, 1) is None
    pruned = kept_count(16, 22, 14, 1)
    assert pruned is not None
    assert pruned.value == 8


@pytest.mark.parametrize(
    ("row", "tokens"),
    [([5, 6, 1, 0, 0], 3), ([5, 6, 7, 8, 9], 5), ([5, 0, 0, 0, 0], 1), ([1, 0, 0, 0, 0], 1), ([], 0)],
)
def test_a_row_counts_to_its_end_token_or_its_padding(row, tokens):
    assert output_count([[2, 2, *row]], 2, {1}, 0).value == tokens


def test_padding_that_is_the_end_token_is_counted_once():
    assert output_count([[5, 6, 1, 1, 1]], 0, {1}, 1).value == 3


def test_runs_of_placeholders_are_images():
    assert image_runs([[1, IMAGE, IMAGE, 2, IMAGE], [IMAGE, 3]], {IMAGE}) == [2, 1, 1]


def test_an_id_below_zero_stands_for_an_image():
    assert image_runs([[1, -200, 2, -200]], ()) == [1, 1]


def test_tiles_of_images_of_different_size_are_shared_out_by_the_length_of_their_runs():
    assert are_images([8, 4], 3)
    assert not are_images([7, 5], 3)


def test_ids_that_were_embedded_are_text_and_the_rest_of_the_sequence_is_visual():
    found = counted(ids=None, padded_length=0, batch_size=1, vision_ran=True, model_length=9, features=6, embedded=4)
    assert (found["text_input"][0], found["visual_input"][0]) == (4, 5)
    assert found["visual_input"][1].startswith("exact")


def test_a_sequence_that_its_ids_fill_without_repeating_holds_no_visual_token():
    found = counted(ids=[[2, 5, 6, 7, 8]], padded_length=5, batch_size=1, vision_ran=True, model_length=5, features=10)
    assert (found["text_input"][0], found["visual_input"][0]) == (5, 0)
    assert "beside" in found["visual_input"][1]


def test_placeholders_that_also_stand_for_newlines_are_found_by_their_run():
    row = [2, *[9] * 25, 5]
    found = counted(ids=[row], padded_length=27, batch_size=1, vision_ran=True, model_length=27, features=20)
    assert (found["text_input"][0], found["visual_input"][0]) == (2, 25)
    assert "20 rows" in found["visual_input"][1]

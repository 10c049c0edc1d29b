"""The matrix of a bench: each combination once, in an order that its seed settles."""

from __future__ import annotations

import pytest

from wattvlm.bench import Cell, Design
from wattvlm.bench.keeping import shortened

MATRIX = Design(models=("a", "b"), images=(1, 2), batch_sizes=(1, 4), output_tokens=(8, 16), seed=3)


def test_each_combination_is_one_cell_with_a_name_of_its_own():
    cells = MATRIX.cells()
    assert len({cell.name for cell in cells}) == len(cells) == 16


def test_cells_without_images_have_no_resolution_and_are_there_once():
    names = [cell.name for cell in Design(("a",), images=(0, 1), resolutions=((8, 8), (16, 16))).cells()]
    assert sorted(names) == ["a_0_batch1_out32", "a_1x16x16_batch1_out32", "a_1x8x8_batch1_out32"]


def test_the_order_is_random_settled_by_the_seed_and_keeps_a_loaded_model_together():
    assert MATRIX.cells() == MATRIX.cells()
    assert MATRIX.cells() != MATRIX.with_seed(4).cells()
    assert set(MATRIX.cells()) == set(MATRIX.with_seed(4).cells())
    models = [cell.model for cell in MATRIX.cells()]
    assert models in (["a"] * 8 + ["b"] * 8, ["b"] * 8 + ["a"] * 8)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("org/Qwen2.5-VL", "Qwen2.5-VL_1x640x480_batch1_out8_float32_cuda-1"),
        ("../..", "model_1x640x480_batch1_out8_float32_cuda-1"),
        ("a b;rm -rf", "a-b-rm--rf_1x640x480_batch1_out8_float32_cuda-1"),
    ],
)
def test_a_cell_has_a_name_that_any_file_may_have(model: str, name: str):
    cell = Cell(model, resolution=(640, 480), output_tokens=8, dtype="float32", device="cuda:1")
    assert cell.name == name


@pytest.mark.parametrize(
    "fields",
    [
        {"images": ()}, {"batch_sizes": (0,)}, {"output_tokens": (-1,)}, {"until_fraction": 0.0}, {"most_calls": 3},
        {"models": ()}, {"resolutions": ((0, 8),)}, {"images": (1, 1)},
    ],
)  # fmt: skip
def test_a_design_that_cannot_be_measured_is_refused(fields):
    with pytest.raises(ValueError, match=r".+"):
        Design(**{"models": ("a",), **fields})


def test_what_differs_between_designs_is_named():
    (words,) = MATRIX.differences(
        Design(models=("a", "b"), images=(1,), batch_sizes=(1, 4), output_tokens=(8, 16), seed=3)
    )
    assert words == "images was (1, 2) and is (1,) now"


def test_names_in_a_table_leave_out_what_all_have():
    assert shortened(["a_1_batch1_out8", "a_1_batch4_out8"]) == ["batch1", "batch4"]
    assert shortened(["a_1_batch1"]) == ["a_1_batch1"]

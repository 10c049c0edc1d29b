"""The study of precisions, against a cost model whose joules are known in each of them."""

from __future__ import annotations

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.comparison import Expected
from wattvlm.questions import Asked, precision
from wattvlm.testing import CostModel
from wattvlm.units import NS_PER_MS

ASKED = Asked(models=("m",))
PLACES = ("224 x 224", "448 x 448")


def costs(cell: Cell) -> CostModel:
    """Half of the bits halve what waits for weights, and bfloat16 what computes; int8 computes as bfloat16 does."""
    step_ms = {"float32": 36.0, "bfloat16": 18.0, "int8": 11.0}[cell.dtype]
    slower = 2.0 if cell.dtype == "float32" else 1.0
    usual = CostModel()
    return CostModel(
        decode_ns=step_ms * NS_PER_MS, prefill_ns_per_token=slower * usual.prefill_ns_per_token,
        encode_ns_per_token=slower * usual.encode_ns_per_token, encode_ns=slower * usual.encode_ns,
    )  # fmt: skip


def truth_j(dtype: str, size: int, part: str = "call") -> float:
    (cell,) = ASKED.design(dtypes=(dtype,), resolutions=((size, size),)).cells()
    return costs(cell).truth_j(request_of(cell))[part]


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(precision, ASKED, costs)


def found_in(answer: Answer, what: str) -> Expected:
    found = answer.finding(what).found
    assert found is not None
    return found


@pytest.mark.parametrize("size", [224, 448])
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_lower_precision_saves_what_the_cost_model_says(answer, dtype, size):
    found = found_in(answer, f"m {size} x {size}: {dtype}")
    assert found.low < truth_j("float32", size) / truth_j(dtype, size) < found.high
    assert answer.finding(f"m {size} x {size}: {dtype}").verdict == "holds"


def test_what_weights_in_whole_numbers_save_is_decodes_alone(answer):
    for stage, saves in (("prefill", False), ("decode", True)):
        half, whole = (found_in(answer, f"m 448 x 448: {stage} {dtype}") for dtype in ("bfloat16", "int8"))
        assert (whole.low > half.high) == saves
        truth = truth_j("float32", 448, stage) / truth_j("int8", 448, stage)
        assert whole.low < truth < whole.high


def test_a_precision_without_fast_kernels_is_not_said_to_save(answer):
    slow = answered(
        precision,
        Asked(models=("m",), dtypes=("float32", "int8"), resolutions=((224, 224),)),
        lambda cell: CostModel(decode_ns=(30.0 if cell.dtype == "int8" else 18.0) * NS_PER_MS),
        calls=8,
    )
    assert slow.finding("m: int8").verdict == "does not hold"
    assert slow.finding("m: time of int8").verdict == "does not hold"


def test_equal_precisions_are_not_told_apart():
    told = [
        answered(precision, Asked(models=("m",), dtypes=("float32", "bfloat16"), resolutions=((224, 224),)),
                 seed=seed, calls=8).finding("m: bfloat16").verdict
        for seed in range(6)
    ]  # fmt: skip
    assert told.count("cannot tell") >= 5


def test_the_picture_has_a_line_for_each_precision_over_the_sizes(answer):
    (picture,) = answer.pictures
    assert picture.names == PLACES
    assert {series.name for series in picture.series} == {"m float32", "m bfloat16", "m int8"}


def test_at_one_size_each_precision_has_a_bar_for_each_model():
    found = answered(precision, Asked(models=("m", "n"), resolutions=((224, 224),), dtypes=("float32", "bfloat16")),
                     costs, calls=5)  # fmt: skip
    (picture,) = found.pictures
    assert set(picture.names) == {"m", "n"}
    bars = {series.name: [place for place, _ in series.points] for series in picture.series}
    assert bars == {"float32": [0.0, 1.0], "bfloat16": [0.0, 1.0]}


def test_one_precision_alone_says_what_is_missing():
    found = answered(precision, Asked(models=("m",), dtypes=("bfloat16",), resolutions=((224, 224),)),
                     lambda _: CostModel(), calls=5)  # fmt: skip
    assert "--dtype float32,bfloat16" in found.findings[0].words

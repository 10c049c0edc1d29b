"""The study of stages, against a cost model whose joules are known."""

from __future__ import annotations

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer, Finding
from wattvlm.bench import Cell
from wattvlm.questions import Asked, stages
from wattvlm.testing import CostModel

TEXT = Cell("m", images=0)


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(stages, Asked(models=("m",)))


def square(side_px: int) -> Cell:
    return Cell("m", images=1, resolution=(side_px, side_px))


def call_j(cell: Cell, costs: CostModel | None = None) -> float:
    return (costs or CostModel()).truth_j(request_of(cell))["call"]


def more(answer: Answer, side_px: int) -> Finding:
    return answer.finding(f"m: more than text alone at {side_px} x {side_px}")


@pytest.mark.parametrize("side_px", [224, 448, 896])
def test_a_picture_adds_the_joules_that_the_cost_model_says(answer, side_px):
    found = more(answer, side_px).found
    assert found is not None
    assert found.low < call_j(square(side_px)) / call_j(TEXT) - 1 < found.high
    assert found.high - found.low < 0.08


def test_the_published_range_holds_for_large_pictures_only(answer):
    assert more(answer, 896).verdict == "holds"
    assert more(answer, 224).verdict == "does not hold"


def test_each_stage_has_its_share_and_shares_with_what_lies_between_are_the_whole(answer):
    table = answer.tables[0]
    for row, side_px in zip(table.rows[1:], (224, 448, 896)):
        truth = CostModel().truth_j(request_of(square(side_px)))
        shares = dict(zip((each.title for each in table.headings[2:]), row[3:]))
        for stage in ("vision_encode", "prefill", "decode"):
            assert shares[stage].value == pytest.approx(truth[stage] / truth["call"], abs=0.005)
        assert 0.98 < sum(share.value for share in shares.values()) < 1.0


def test_the_largest_stage_is_named_and_changes_with_the_answer(answer):
    finding = answer.finding("m: largest stage at 896 x 896")
    assert "decode's, more than any other stage's" in finding.words
    short = answered(stages, Asked(models=("m",), output_tokens=(2,), resolutions=((896, 896),)), calls=5)
    assert "prefill's" in short.finding("m: largest stage at 896 x 896").words


def test_stages_of_equal_joules_are_not_ranked():
    even = CostModel(encode_ns=60e6, encode_ns_per_token=0.0, encode_w=400.0, prefill_ns=60e6, prefill_ns_per_token=0.0,
                     prefill_w=400.0, variation_fraction=0.05)  # fmt: skip
    asked = Asked(models=("m",), output_tokens=(2,), resolutions=((224, 224),))
    finding = answered(stages, asked, lambda _: even, calls=5).finding("m: largest stage at 224 x 224")
    assert "it cannot be told from" in finding.words


def test_a_picture_that_costs_nothing_is_not_said_to_cost_more():
    """No time in the encoder and none for prompt tokens: the interval of what it adds holds zero."""
    free = CostModel(encode_ns=0.0, encode_ns_per_token=0.0, prefill_ns_per_token=0.0, decode_ns_per_context=0.0)
    asked = Asked(models=("m",), resolutions=((448, 448),))
    found = more(answered(stages, asked, lambda _: free), 448)
    assert found.found is not None
    assert found.found.low < 0.0 < found.found.high
    assert found.verdict == "does not hold"


def test_without_text_alone_nothing_is_said_of_what_pictures_add():
    found = answered(stages, Asked(models=("m",), images=(1,), resolutions=((224, 224),)), calls=5)
    assert [finding.what for finding in found.findings] == ["m: largest stage at 224 x 224"]


def test_a_run_of_one_call_tells_no_verdict():
    found = answered(stages, Asked(models=("m",), resolutions=((896, 896),)), calls=1)
    assert more(found, 896).verdict == "cannot tell"


def test_the_picture_lays_the_stages_of_a_request_on_each_other(answer):
    picture = answer.pictures[0]
    assert picture.stacked
    assert picture.names == ("m text only", "m 224 x 224", "m 448 x 448", "m 896 x 896")
    top_j = sum(found.value for series in picture.series for x, found in series.points if x == 3.0)
    assert top_j == pytest.approx(1.02 * call_j(square(896)), rel=0.02)
    batched = answered(stages, Asked(models=("m",), batch_sizes=(4,), resolutions=((896, 896),)), calls=5)
    of_four_j = sum(found.value for series in batched.pictures[0].series for x, found in series.points if x == 1.0)
    assert of_four_j < top_j

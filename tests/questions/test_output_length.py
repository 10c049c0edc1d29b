"""The study of the answer's length, against a cost model whose joules are known."""

from __future__ import annotations

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.questions import Asked, output_length
from wattvlm.testing import CostModel
from wattvlm.units import NS_PER_MS

GAIN = 1.02
"""Of the virtual board; an interval of the sensor holds the truth times it."""


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(output_length, Asked(models=("m",)))


def truth_j(output: int) -> float:
    cell = Asked(models=("m",)).design(output_tokens=(output,)).cells()[0]
    return GAIN * CostModel().truth_j(request_of(cell))["call"]


def test_one_more_token_costs_what_the_cost_model_says(answer):
    found = answer.finding("m: one more output token").found
    assert found is not None
    assert found.low < (truth_j(64) - truth_j(8)) / 56 < found.high
    assert found.high - found.low < 0.05 * found.value


def test_halving_the_answer_saves_what_the_cost_model_says(answer):
    found = answer.finding("m: halving the answer").found
    assert found is not None
    assert found.low < 1 - truth_j(32) / truth_j(64) < found.high
    assert found.high - found.low < 0.05


def test_decode_has_its_share_of_joules_and_the_published_range_holds(answer):
    finding = answer.finding("m: decode's share at 64 tokens")
    truth = CostModel().truth_j(request_of(Asked(models=("m",)).design(output_tokens=(64,)).cells()[0]))
    assert finding.found is not None
    assert finding.found.value == pytest.approx(truth["decode"] / truth["call"], abs=0.005)
    assert finding.verdict == "holds"


def test_claims_on_time_are_put_to_the_test(answer):
    steps = answer.finding("m: time of a decode step")
    assert steps.found is not None
    assert steps.verdict == "holds"
    assert answer.finding("m: decode's share of the time at 64 tokens").verdict == "does not hold"
    slow = answered(output_length, Asked(models=("m",)), lambda _: CostModel(decode_ns=40.0 * NS_PER_MS))
    assert slow.finding("m: time of a decode step").verdict == "does not hold"


def test_two_lengths_give_no_slope_and_say_so():
    found = answered(output_length, Asked(models=("m",), output_tokens=(8, 16)), calls=5)
    slope = found.finding("m: one more output token")
    assert slope.found is None
    assert "2 runs do not give" in slope.words
    assert found.finding("m: halving the answer").found is not None


def test_models_are_answered_one_by_one():
    found = answered(output_length, Asked(models=("small", "large"), output_tokens=(4, 8, 16)), calls=5)
    assert {finding.what.partition(":")[0] for finding in found.findings} == {"small", "large"}
    assert [series.name for series in found.pictures[0].series] == ["small", "large"] or len(
        found.pictures[0].series
    ) == 2

"""The study of batches, against a cost model whose joules are known."""

from __future__ import annotations

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.comparison import Expected
from wattvlm.questions import Asked, batching
from wattvlm.testing import CostModel
from wattvlm.units import NS_PER_MS, NS_PER_S

COSTS = CostModel()
ASKED = Asked(models=("m",))


def truth_j(batch: int, part: str = "call") -> float:
    """Joules of one request of a batch."""
    (cell,) = ASKED.design(batch_sizes=(batch,)).cells()
    return COSTS.truth_j(request_of(cell))[part] / batch


def found_in(answer: Answer, what: str) -> Expected:
    found = answer.finding(what).found
    assert found is not None
    return found


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(batching, ASKED)


@pytest.mark.parametrize(("what", "part"), [("a request", "call"), ("prefill", "prefill"), ("decode", "decode")])
def test_a_batch_saves_what_the_cost_model_says(answer, what, part):
    found = found_in(answer, f"m: {what} in a batch of 8")
    assert found.low < truth_j(1, part) / truth_j(8, part) < found.high
    assert found.high - found.low < 0.1 * found.value


def test_decode_saves_more_than_prefill(answer):
    saved = {stage: found_in(answer, f"m: {stage} in a batch of 8") for stage in ("prefill", "decode")}
    assert saved["decode"].low > saved["prefill"].high


def test_latency_is_the_price_and_is_that_of_the_cost_model(answer):
    found = found_in(answer, "m: latency in a batch of 8")
    lasts = [sum(COSTS.durations_ns(request_of(cell)).values()) / NS_PER_S
             for batch in (1, 8) for cell in ASKED.design(batch_sizes=(batch,)).cells()]  # fmt: skip
    assert found.value == pytest.approx(lasts[1] / lasts[0], rel=0.02)


def test_the_last_step_still_pays_or_does_not(answer):
    found = found_in(answer, "m: from a batch of 4 to 8")
    assert found.low < 1 - truth_j(8) / truth_j(4) < found.high
    assert answer.finding("m: from a batch of 4 to 8").verdict == "holds"
    costly = CostModel(decode_ns_per_sequence=18.0 * NS_PER_MS, decode_ns=1.0, prefill_ns=0.0, encode_ns=0.0)
    late = answered(batching, ASKED, lambda _: costly, calls=10)
    assert late.finding("m: from a batch of 4 to 8").verdict == "does not hold"
    assert found_in(late, "m: a request in a batch of 8").value == pytest.approx(1.0, abs=0.05)


def test_one_size_alone_says_what_is_missing():
    found = answered(batching, Asked(models=("m",), batch_sizes=(4,)), calls=5)
    assert "--batch 1,2,4,8" in found.finding("m: a request in a batch").words


def test_equal_requests_are_not_said_to_save_by_batching():
    """No saving is invented where requests cost the same in every batch."""
    flat = CostModel(decode_ns_per_sequence=20.0 * NS_PER_MS, decode_ns=0.0, prefill_ns=0.0, encode_ns=0.0,
                     between_w=70.0)  # fmt: skip
    told = [
        answered(batching, Asked(models=("m",), batch_sizes=(1, 2)), lambda _: flat, seed, calls=8)
        .finding("m: from a batch of 1 to 2").verdict
        for seed in range(6)
    ]  # fmt: skip
    assert "holds" not in told

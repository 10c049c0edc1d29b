"""The study of prefix caches, against a cost model whose joules are known, and on the shipped model for real."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.questions.virtual_runs import answered, cached_request
from wattvlm import meter
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.questions import Asked, Run, prefix_cache
from wattvlm.questions._prefixes import AGAIN, COLD, FIRST, LAST, PrefixSubject, named
from wattvlm.testing import CostModel
from wattvlm.testing.sessions import Script
from wattvlm.units import NS_PER_S

ASKED = Asked(models=("m",))
GAIN = 1.02
COSTS = CostModel(prefill_ns_per_token=400_000.0)
"""Of a model whose prefill is long enough that cached tokens are seen."""


def truth(order: str, costs: CostModel = COSTS) -> tuple[float, float]:
    """(joules, seconds to the first token) of a request."""
    request = cached_request(Cell(f"m+{order}", output_tokens=prefix_cache.OUTPUT_TOKENS))
    before = [each for name, each in costs.durations_ns(request).items() if name != "decode"]
    return costs.truth_j(request)["call"], sum(each + Script(()).gap_ns for each in before) / NS_PER_S


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(prefix_cache, ASKED, lambda _: COSTS)


@pytest.mark.parametrize("order", [FIRST, LAST, AGAIN])
def test_a_hit_saves_what_the_cost_model_says(answer, order):
    saved, faster = (answer.finding(f"m: {what} by {order}").found for what in ("joules saved", "TTFT"))
    (cold_j, cold_s), (order_j, order_s) = truth(COLD), truth(order)
    assert saved is not None
    assert faster is not None
    assert saved.low < 1 - order_j / cold_j < saved.high
    assert faster.value == pytest.approx(cold_s / order_s, rel=0.05)


def test_one_cached_visual_token_is_worth_its_encoding_and_its_prefill(answer):
    found = answer.finding("m: one cached visual token").found
    sooner = answer.finding("m: one cached visual token sooner").found
    assert found is not None
    assert sooner is not None
    (first_j, first_s), (last_j, last_s) = truth(FIRST), truth(LAST)
    assert found.low < GAIN * (last_j - first_j) / 144 < found.high
    assert sooner.value == pytest.approx((last_s - first_s) / 144, rel=0.05)


def test_the_cost_of_the_wrong_order_is_told(answer):
    assert answer.finding("m: picture after the question").verdict == "holds"
    rows = {row[0]: row for row in answer.tables[0].rows}
    assert [rows[order][1] for order in (COLD, FIRST, LAST, AGAIN)] == [0.0, 160.0, 16.0, 175.0]


def test_an_order_that_costs_nothing_is_said_to_cost_nothing_or_nothing_is_said():
    free = replace(COSTS, prefill_ns_per_token=0.0, encode_ns=0.0, encode_ns_per_token=0.0, decode_ns_per_context=0.0)
    found = answered(prefix_cache, ASKED, lambda _: free).finding("m: picture after the question")
    assert found.verdict == "cannot tell"


def test_an_order_that_costs_five_percent_is_found():
    """Encoder and prefill of the picture are made a twentieth of the request."""
    bare = replace(COSTS, encode_ns=0.0, encode_ns_per_token=0.0, prefill_ns_per_token=0.0)
    per_token_ns = 0.05 * truth(FIRST, bare)[0] / bare.prefill_w * NS_PER_S / 144
    costs = replace(bare, prefill_ns_per_token=per_token_ns)
    found = answered(prefix_cache, ASKED, lambda _: costs).finding("m: picture after the question")
    assert found.found is not None
    assert found.found.low < truth(LAST, costs)[0] / truth(FIRST, costs)[0] < found.found.high
    assert found.verdict == "holds"


def test_without_a_cold_run_nothing_is_held_against_it():
    study = prefix_cache.design(ASKED)
    cells = [cell for cell in study.cells() if named(cell)[1] == FIRST]
    runs = [Run(cell, COSTS.report(cached_request(cell), 5)) for cell in cells]
    assert "was not measured" in prefix_cache.answer(runs, study).findings[0].words


def test_the_shipped_model_goes_on_from_what_is_kept_and_says_the_same():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from wattvlm.bench.subjects import TransformersSubject

    subject = PrefixSubject(TransformersSubject())
    said, tokens = {}, {}
    for order in (COLD, FIRST, AGAIN, LAST):
        call = subject.call_of(Cell(f"shipped+{order}", output_tokens=4, dtype="float32", device="cpu"), 0)
        with meter() as m:
            said[order] = call()[:, -4:]
        tokens[order] = m.report.tokens
        assert torch.equal(call()[:, -4:], said[order])
    assert torch.equal(said[FIRST], said[COLD])
    assert torch.equal(said[AGAIN], said[COLD])
    prompt, common = tokens[COLD].prompt, tokens[LAST].cached_input
    assert prompt is not None
    assert common is not None
    assert tokens[AGAIN].cached_input == prompt - 1
    assert tokens[FIRST].visual_input == 16
    assert tokens[FIRST].cached_input == common + 16
    assert {each.prompt for each in tokens.values()} == {prompt}
    assert not tokens[FIRST].visual_encoded
    assert tokens[LAST].visual_encoded == tokens[COLD].visual_encoded

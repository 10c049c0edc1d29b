"""The study of actions, against a cost model whose joules are known."""

from __future__ import annotations

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.questions import Asked, action
from wattvlm.testing import CostModel
from wattvlm.testing.sessions import Script
from wattvlm.units import NS_PER_S

GAIN = 1.02
ASKED = Asked(models=("m",), output_tokens=(7, 56))


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(action, ASKED)


def truth_j(actions: int) -> float:
    request = request_of(Cell("m", resolution=(224, 224), output_tokens=7 * actions))
    return GAIN * CostModel().truth_j(request)["call"] / actions


def test_an_action_takes_what_the_cost_model_says(answer):
    found = answer.finding("m: joules an action").found
    assert found is not None
    assert found.low < truth_j(1) < found.high


def test_chunks_save_what_the_cost_model_says(answer):
    found = answer.finding("m: saved by chunks").found
    assert found is not None
    assert found.low < 1 - truth_j(8) / truth_j(1) < found.high
    assert found.low > 0


def test_the_rate_of_actions_is_that_of_the_calls(answer):
    found = answer.finding("m: actions a second").found
    request = request_of(Cell("m", resolution=(224, 224), output_tokens=7))
    phases_ns = CostModel().durations_ns(request).values()
    seconds = (sum(phases_ns) + (len(phases_ns) + 1) * Script(()).gap_ns) / NS_PER_S
    assert found is not None
    assert found.value == pytest.approx(1 / seconds, rel=0.02)


def test_one_length_gives_no_saving():
    found = answered(action, Asked(models=("m",), output_tokens=(7,)), calls=5)
    assert all("chunks" not in finding.what for finding in found.findings)

"""The study of retrieval: what is nearest is counted, joules are the cost model's, and digits are found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.tiny_configs import tiny
from tests.benchmark_files import made
from tests.questions.virtual_runs import answered, marked_answers, request_of
from wattvlm import questions
from wattvlm.bench import Cell
from wattvlm.bench.subjects import TransformersSubject
from wattvlm.questions import Asked, retrieval
from wattvlm.questions._answers import kept_answers
from wattvlm.questions._retrieved import CANDIDATE, QUERY, RetrievalSubject, digits, queries_of
from wattvlm.testing import CostModel
from wattvlm.units import NS_PER_MS

GAIN = 1.02


def test_hits_and_joules_are_what_they_are_known_to_be():
    answer = answered(retrieval, Asked(models=("m",)), answers=lambda _: marked_answers(0.7, 200))
    hits = answer.finding("m: hits")
    assert hits.verdict == "holds"
    assert hits.found is not None
    assert hits.found.low < 0.7 < hits.found.high
    truth_j = GAIN * CostModel().truth_j(request_of(Cell("m", output_tokens=1)))["call"]
    for what, joules in (("m: a query", truth_j), ("m: an index of 1,000 candidates", 1000 * truth_j)):
        found = answer.finding(what).found
        assert found is not None
        assert found.low < joules < found.high


def test_as_many_hits_as_by_chance_are_not_called_more():
    answer = answered(retrieval, Asked(models=("m",)), answers=lambda _: marked_answers(0.25, 200, seed=3))
    assert answer.finding("m: hits").verdict == "cannot tell"


def test_a_shipped_query_has_one_candidate_of_its_digit_and_is_not_among_them():
    found = digits()
    assert len(found) == 50
    for each in found:
        assert len(each.candidates) == 4
        assert each.asked not in each.candidates


def test_queries_come_from_mmebs_rows_and_a_file_without_any_is_refused(tmp_path: Path):
    path = made.mmeb(tmp_path)
    (query,) = queries_of(Asked(benchmark=str(path), pictures=str(tmp_path)))
    assert query.asked.text == "Find the black one."
    with pytest.raises(ValueError, match="--pictures"):
        queries_of(Asked(benchmark=str(path), pictures=str(tmp_path / "none")))


def test_the_shipped_model_finds_its_digits_more_often_than_by_chance(tmp_path: Path):
    pytest.importorskip("transformers")
    queries = digits()[:40]
    subject = RetrievalSubject(queries, tmp_path, TransformersSubject())
    cell = Cell(f"shipped+{QUERY}", output_tokens=1, dtype="float32", device="cpu")
    call = subject.call_of(cell, 0)
    vectors = [call() for _ in range(len(queries) + 2)]
    assert float(vectors[0].norm()) == pytest.approx(1.0, abs=1e-5)
    answers = kept_answers(tmp_path, cell.name)
    assert len(answers) == len(queries)
    assert sum(each.score or 0.0 for each in answers) > 0.5 * len(answers)
    assert {each.chance for each in answers} == {0.25}
    other = Cell(f"shipped+{CANDIDATE}", output_tokens=1, dtype="float32", device="cpu")
    assert subject.call_of(other, 0)().shape == vectors[0].shape


def test_random_weights_embed_the_digits_and_are_called_random(tmp_path: Path):
    pytest.importorskip("transformers")
    config = tmp_path / "tiny" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps(tiny("smolvlm-256m")))
    asked = Asked(
        (str(config),), random_weights=True, devices=("cpu",), usual_dtype="float32", most_calls=4,
        cool_down_ns=NS_PER_MS,
    )  # fmt: skip
    answer = questions.ask("retrieval", asked, tmp_path / "runs")
    assert "hit@1 of 4 queries; 25 % by chance" in answer.findings[0].words
    assert any("weights are random" in limit for limit in answer.limits)

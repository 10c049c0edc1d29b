"""The study of accuracy per joule: marks with their intervals, chance, pairs of models, and questions for real."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.questions.virtual_runs import answered, marked_answers, request_of
from wattvlm import questions
from wattvlm.answers import Answer
from wattvlm.cli import main
from wattvlm.questions import Answered, Asked, accuracy
from wattvlm.studies.significance import holm, mcnemar
from wattvlm.testing import CostModel
from wattvlm.units import NS_PER_MS

GAIN = 1.02
ASKED = Asked(models=("m",))
TWO = Asked(models=("good", "poor"))


def of(answers: dict[str, tuple[Answered, ...]], asked: Asked = TWO, calls: int = 10) -> Answer:
    return answered(accuracy, asked, calls=calls, answers=lambda cell: answers[cell.model])


@pytest.fixture(scope="module")
def two() -> Answer:
    """Two models of which one is right on 90 % and the other guesses."""
    return of({"good": marked_answers(0.9, 200, 1), "poor": marked_answers(0.25, 200, 2)})


def test_accuracy_above_chance_per_kilojoule_holds_the_truth_of_the_cost_model(two):
    found = two.finding("good: accuracy above chance per kJ").found
    (cell,) = accuracy.design(ASKED).cells()
    truth_j = GAIN * CostModel().truth_j(request_of(cell))["call"]
    assert found is not None
    assert found.low < (0.9 - 0.25) / 0.75 / truth_j * 1e3 < found.high


def test_a_model_that_guesses_is_said_to_be_at_chance_and_has_no_accuracy_per_joule(two):
    finding = two.finding("poor: accuracy")
    assert finding.verdict == "cannot tell"
    assert "at chance (25 %)" in finding.words
    assert two.finding("poor: accuracy above chance per kJ").found is None
    assert two.finding("good: accuracy").verdict == "holds"


def test_models_that_differ_are_told_apart_and_equal_ones_are_not(two):
    assert two.finding("poor against good").verdict == "does not hold"
    same = of({"good": marked_answers(0.7, 200, 1), "poor": marked_answers(0.7, 200, 9)})
    assert same.finding("poor against good").verdict == "cannot tell"


def test_only_questions_that_all_models_answered_count():
    found = of({"good": marked_answers(1.0, 50), "poor": marked_answers(0.0, 30)}, calls=5)
    assert "of 30 questions" in found.finding("good: accuracy").words


def test_a_question_of_several_passes_is_right_only_in_all_and_costs_all_of_them():
    one_pass = tuple(replace(each, score=1.0) for each in marked_answers(1.0, 40))
    turned = tuple(
        replace(each, question=f"{each.question}+1", score=float(int(each.question) % 2)) for each in one_pass
    )
    once = of({"m": one_pass}, ASKED, 5)
    twice = of({"m": (*one_pass, *turned)}, ASKED, 5)
    found, first = twice.finding("m: accuracy").found, twice.finding("m: accuracy of one pass").found
    assert found is not None
    assert first is not None
    assert (found.value, first.value) == (0.5, 1.0)
    assert "at chance" not in twice.finding("m: accuracy").words
    assert "6.25 %" in twice.finding("m: accuracy").words
    before, after = once.finding("m: joules").found, twice.finding("m: joules").found
    assert before is not None
    assert after is not None
    assert after.value == pytest.approx(2 * before.value)


def test_answers_without_marks_give_joules_and_say_where_marks_come_from():
    unmarked = tuple(replace(each, score=None, chance=None) for each in marked_answers(1.0))
    found = of({"m": unmarked}, ASKED, 5)
    assert found.finding("m: accuracy").found is None
    assert "--scores" in found.finding("m: accuracy").words
    assert found.finding("m: joules").found is not None


def test_mcnemar_is_what_it_is_by_hand():
    """Five differing questions, all to one side: 2 / 2^5; three to one: 2 (1 + 4) / 2^4."""
    nothing = dict.fromkeys("abcde", 0.0)
    assert mcnemar(nothing, dict.fromkeys("abcde", 1.0)) == pytest.approx(2 / 32)
    assert mcnemar({**nothing, "d": 1.0}, {**dict.fromkeys("abc", 1.0), "d": 0.0, "e": 0.0}) == pytest.approx(10 / 16)
    assert mcnemar(nothing, nothing) == 1.0


def test_holm_makes_the_smallest_p_the_larger_the_more_there_are():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_equal_models_are_rarely_told_apart():
    """McNemar's exact test keeps its level: fewer than 5 % of pairs of equal models differ."""
    pairs = 300
    told = sum(
        mcnemar(*({each.question: each.score or 0.0 for each in marked_answers(0.6, 60, seed)} for seed in pair)) < 0.05
        for pair in ((2 * number, 2 * number + 1) for number in range(pairs))
    )
    assert told < 0.07 * pairs


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The shipped model asked eight of the shipped questions for real."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("digits") / "runs"
    asked = Asked(devices=("cpu",), usual_dtype="float32", most_calls=8, cool_down_ns=NS_PER_MS)
    return folder, asked, questions.ask("accuracy", asked, folder)


def test_the_shipped_model_answers_the_shipped_benchmark(digits):
    folder, asked, answer = digits
    found = answer.finding("shipped: accuracy").found
    assert found is not None
    assert found.value >= 0.75
    (kept,) = folder.glob("*.answers.jsonl")
    entries = [json.loads(line) for line in kept.read_text().splitlines()]
    assert len(entries) == 8 == len({each["question_id"] for each in entries})
    assert questions.ask("accuracy", asked, folder) == answer


def test_marks_of_a_judge_take_the_place_of_the_studys_own(digits, tmp_path):
    folder, asked, _ = digits
    (kept,) = folder.glob("*.answers.jsonl")
    ids = [json.loads(line)["question_id"] for line in kept.read_text().splitlines()]
    judged = tmp_path / "judged.json"
    judged.write_text(json.dumps({id: {"score": [0.5, 0.0]} for id in ids}))
    found = questions.ask("accuracy", replace(asked, scores=(("shipped", str(judged)),)), folder)
    accuracy_found = found.finding("shipped: accuracy").found
    assert accuracy_found is not None
    assert accuracy_found.value == pytest.approx(0.25)
    with pytest.raises(ValueError, match="no answers of 'other'"):
        questions.ask("accuracy", replace(asked, scores=(("other", str(judged)),)), folder)


def test_vqav2_is_asked_and_marked_as_a_whole_answer(tmp_path):
    """Cut after its first word, an answer of the shipped model is yes or no; the digit's is never right."""
    pytest.importorskip("transformers")
    from wattvlm.demo.benchmarks import write_vqav2
    from wattvlm.demo.questions import held_out

    path = write_vqav2(tmp_path, held_out())
    asked = Asked(
        devices=("cpu",), usual_dtype="float32", most_calls=9, output_tokens=(1,), benchmark=str(path),
        pictures=str(tmp_path / "digits"), cool_down_ns=NS_PER_MS,
    )  # fmt: skip
    found = questions.ask("accuracy", asked, tmp_path / "runs")
    kept = questions.kept_answers(tmp_path / "runs", accuracy.design(asked).cells()[0].name)
    assert {each.text for each in kept} == {"It", "Yes", "No"}
    assert all((each.score or 0.0) == 0.0 for each in kept if each.text == "It")
    assert any(each.score == 1.0 for each in kept if each.text in ("Yes", "No"))
    assert "vqav2" in " ".join(found.design)


@pytest.mark.parametrize("format", ["mmbench", "vqav2"])
def test_random_weights_read_a_benchmarks_file_and_take_one_of_the_offered_answers(tmp_path: Path, format: str):
    pytest.importorskip("transformers")
    from tests.bench.tiny_configs import tiny
    from wattvlm.demo.benchmarks import digits_path, write_vqav2
    from wattvlm.demo.questions import held_out

    config = tmp_path / "tiny" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps(tiny("smolvlm-256m")))
    path = digits_path() if format == "mmbench" else write_vqav2(tmp_path, held_out())
    asked = Asked(
        (str(config),), random_weights=True, devices=("cpu",), usual_dtype="float32", most_calls=6, output_tokens=(1,),
        benchmark=str(path), pictures=str(tmp_path / "digits"), cool_down_ns=NS_PER_MS,
    )  # fmt: skip
    answer = questions.ask("accuracy", asked, tmp_path / "runs")
    assert "of 6 questions" in answer.findings[0].words
    assert "chance (" in answer.findings[0].words
    assert "weights are random" in answer.limits[0]
    (kept,) = (tmp_path / "runs").glob("*.answers.jsonl")
    said = {json.loads(line)["prediction"] for line in kept.read_text().splitlines()}
    offered = set("ABCD") if format == "mmbench" else {"yes", "no", *map(str, range(10))}
    assert said
    assert said <= offered


def test_the_command_takes_a_benchmarks_file_and_refuses_what_is_none(tmp_path: Path):
    wrong = tmp_path / "x.json"
    wrong.write_text("{}")
    refused = CliRunner().invoke(main, ["study", "accuracy", "--questions", str(wrong)])
    assert refused.exit_code == 2
    assert "no known format" in refused.output
    refused = CliRunner().invoke(main, ["study", "accuracy", "--scores", "shipped"])
    assert refused.exit_code == 2
    assert "MODEL=FILE" in refused.output
    refused = CliRunner().invoke(main, ["study", "accuracy", "--calls", "1", "--circular"])
    assert refused.exit_code == 2
    assert "fewer than one question" in refused.output

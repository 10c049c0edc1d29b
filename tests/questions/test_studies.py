"""What holds for every study, found as the command line finds them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import wattvlm
from tests.bench.virtual_subject import VirtualSubject
from tests.questions.virtual_runs import answered
from wattvlm import questions
from wattvlm.answers import Answer
from wattvlm.cli import main
from wattvlm.errors import WattvlmError
from wattvlm.questions import Asked, Study
from wattvlm.units import NS_PER_MS

STUDIES = questions.studies()


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_a_name_a_question_and_a_matrix(name):
    study = STUDIES[name]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert study.QUESTION.endswith("?")
    assert len(study.QUESTION) < 120
    assert study.design(Asked(models=("m",))).cells()


@pytest.fixture(scope="module", params=sorted(STUDIES))
def answer(request) -> Answer:
    study: Study = STUDIES[request.param]
    return answered(study, Asked(models=("m",)), calls=5)


def test_an_answer_states_its_design_its_findings_and_its_limits(answer):
    assert len(answer.design) >= 3
    assert any(line.startswith("held equal: ") for line in answer.design)
    assert answer.findings
    assert answer.limits
    assert answer.virtual
    assert not answer.is_modelled
    for table in answer.tables:
        assert all(len(row) == len(table.headings) + 1 for row in table.rows)


def test_what_all_cells_have_in_common_is_stated_in_numbers():
    answer = answered(STUDIES["output-length"], Asked(models=("m",), resolutions=((224, 112),)), calls=5)
    (held,) = [line for line in answer.design if line.startswith("held equal: ")]
    assert held.split(". In all cells: ")[1].startswith("1 picture, 224 x 112 pixels, a batch of 1")
    assert "output token" not in held


def test_an_answer_reads_the_same_in_every_format(answer):
    pytest.importorskip("matplotlib")
    console, markdown, latex, page, plain = (
        str(wattvlm.render(answer, format)) for format in ("console", "markdown", "latex", "html", "json")
    )
    first = answer.findings[0].what.split()[-1]
    assert all(first in text for text in (console, markdown, latex, page, plain))
    assert all(len(line) <= 60 for line in str(wattvlm.render(answer, width=60, colour=False)).splitlines()[:4])
    assert json.loads(plain)["kind"] == "wattvlm study"
    assert page.count("<img") == 1
    picture = wattvlm.render(answer, "png")
    assert isinstance(picture, bytes)
    assert picture.startswith(b"\x89PNG")


def test_a_study_that_was_interrupted_goes_on_and_answers_from_what_is_there(tmp_path: Path):
    asked = Asked(models=("m",), output_tokens=(2, 4, 6), fewest_calls=5, most_calls=5, cool_down_ns=20 * NS_PER_MS)
    subject = VirtualSubject(tmp_path / "gpu.load")
    first = questions.ask("output-length", asked, tmp_path / "runs", subject=subject, probes=subject.probes)
    calls = len(subject.calls)
    again = questions.ask("output-length", asked, tmp_path / "runs", subject=subject, probes=subject.probes)
    assert len(subject.calls) == calls
    assert len(first.tables[0].rows) == 3
    assert again == first == questions.answered("output-length", tmp_path / "runs")


def test_a_study_of_which_nothing_was_measured_says_why(tmp_path: Path):
    asked = Asked(models=("m",), output_tokens=(2,), fewest_calls=1, most_calls=1, cool_down_ns=NS_PER_MS)
    subject = VirtualSubject(tmp_path / "gpu.load", failing=("m",))
    with pytest.raises(questions.NothingMeasured, match="no room for it"):
        questions.ask("output-length", asked, tmp_path / "runs", subject=subject, probes=subject.probes)


def test_a_study_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"no study 'height'; there are .*output-length"):
        questions.study("height")


def test_an_unknown_format_of_an_answer_names_the_known(answer):
    with pytest.raises(ValueError, match="console"):
        wattvlm.render(answer, "perfetto")


def test_the_command_lists_studies_and_refuses_what_cannot_be():
    listed = CliRunner().invoke(main, ["study"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in STUDIES)
    unknown = CliRunner().invoke(main, ["study", "height"])
    assert unknown.exit_code == 2
    assert "there are" in unknown.output
    picture = CliRunner().invoke(main, ["study", "output-length", "--png"])
    assert picture.exit_code == 2
    assert "-o FILE" in picture.output


def test_the_command_answers_from_the_shipped_model(tmp_path: Path):
    pytest.importorskip("transformers")
    arguments = ["study", "output-length", "--output", "2,3,4", "--calls", "2", "--cool-down", "0s", "--device", "cpu"]
    done = CliRunner().invoke(main, [*arguments, "--save", str(tmp_path / "runs"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["study"] == "output-length"
    assert found["findings"]


def test_errors_of_a_study_are_of_the_tree_of_errors():
    assert issubclass(questions.NothingMeasured, WattvlmError)

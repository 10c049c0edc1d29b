"""The study of many models, against cost models whose joules are known."""

from __future__ import annotations

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.comparison import Score
from wattvlm.questions import Asked, Run, models
from wattvlm.questions._answers import marked
from wattvlm.testing import CostModel
from wattvlm.trace import ModelFacts

SIZES = {"small": (1.0, 1.0), "twin": (2.0, 1.3), "other-twin": (2.5, 1.3), "worse": (1.5, 1.6), "large": (4.0, 2.0)}
"""By model its billions of parameters, and how much longer a step of its decode takes than 18 ms."""


def costs(cell: Cell) -> CostModel:
    billions, factor = SIZES[cell.model]
    facts = ModelFacts(name=cell.model, parameters=int(billions * 1e9), vision_parameters=300_000_000, fusion="early")
    return CostModel(decode_ns=18e6 * factor, facts=facts)


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(models, Asked(models=tuple(SIZES)), costs)


@pytest.mark.parametrize("model", ["twin", "worse", "large"])
def test_each_model_takes_as_many_times_the_best_ones_joules_as_the_cost_models_say(answer, model):
    truth_j = {
        name: costs(Cell(name)).truth_j(request_of(Cell(name, output_tokens=32)))["call"] for name in (model, "small")
    }
    finding = answer.finding(f"{model} against small")
    assert finding.verdict == "holds"
    assert finding.found is not None
    assert finding.found.low < truth_j[model] / truth_j["small"] < finding.found.high


def test_equal_models_are_named_as_a_pair_that_cannot_be_told_apart(answer):
    words = answer.finding("pairs that cannot be told apart").words
    assert words in ("of 10 pairs: twin and other-twin", "of 10 pairs: other-twin and twin")


def test_the_front_leaves_out_who_is_beaten_and_who_cannot_be_told(answer):
    words = answer.finding("front of J a request and parameters (billions)").words
    assert set(words.partition(";")[0].split(", ")) == {"small", "other-twin", "large"}
    assert "twin cannot be told" in words
    rows = {row[0]: row[-1] for row in answer.tables[1].rows}
    assert str(rows["worse"]).startswith("beaten by")


def test_parts_and_fusion_of_each_model_stand_in_a_table(answer):
    rows = {row[0]: row[1:] for row in answer.tables[0].rows}
    assert rows["large"][:5] == (4.0, None, 0.3, None, "early")


def test_equal_models_have_no_order():
    found = answered(models, Asked(models=("m", "n", "o")), lambda _: CostModel(), calls=6)
    assert "it cannot be told from" in found.finding("least joules a request").words
    assert {finding.verdict for finding in found.findings if " against " in finding.what} == {"cannot tell"}


def test_one_model_alone_is_not_ranked():
    found = answered(models, Asked(models=("small",)), costs, calls=5)
    assert "alone: nothing to rank it against" in found.finding("least joules a request").words


def test_scores_take_the_place_of_parameters():
    asked = Asked(models=("small", "large"))
    design = models.design(asked)
    scores = {"small": Score("digits", 120, 200, 0.25), "large": Score("digits", 180, 200, 0.25)}
    runs = [Run(cell, costs(cell).report(request_of(cell), 8), rated=scores[cell.model]) for cell in design.cells()]
    found = models.answer(runs, design)
    assert set(found.finding("front of J a request and accuracy above chance").words.split(", ")) == {"small", "large"}
    small = found.finding("small: accuracy per kJ")
    truth_j = costs(Cell("small")).truth_j(request_of(Cell("small", output_tokens=32)))["call"]
    assert small.found is not None
    assert small.found.low < (0.6 - 0.25) / 0.75 / truth_j * 1e3 < small.found.high


def test_scores_come_from_result_files_of_other_programs(tmp_path):
    rows = {"small": (1, 0, 0, 1), "large": (1, 1, 0, 1)}
    for model, hits in rows.items():
        lines = [f"{number}\tx\ty\t{hit}" for number, hit in enumerate(hits)]
        (tmp_path / f"{model}.tsv").write_text("\n".join(["index\tA\tB\thit", *lines]))
    design = models.design(Asked(models=("small", "large")))
    runs = [Run(cell, costs(cell).report(request_of(cell), 5)) for cell in design.cells()]
    found = {
        run.cell.model: run.rated for run in marked(runs, [(name, str(tmp_path / f"{name}.tsv")) for name in rows])
    }
    assert found["small"] is not None
    assert (found["small"].right, found["small"].chance_fraction) == (2.0, 0.5)
    with pytest.raises(ValueError, match="'other' was not measured"):
        marked(runs, [("other", str(tmp_path / "small.tsv"))])

"""The study of pruning, against a cost model whose joules are known, and on a small model for real."""

from __future__ import annotations

from dataclasses import replace

import pytest

import wattvlm
from tests.questions.virtual_runs import marked_answers, pruned_request
from wattvlm import questions
from wattvlm.answers import Answer, Finding
from wattvlm.bench import Cell
from wattvlm.pruning import DoesNotFit
from wattvlm.questions import Asked, Run, pruning
from wattvlm.questions._pruned import PrunedModels, PrunedSubject
from wattvlm.testing import CostModel
from wattvlm.units import NS_PER_MS

ASKED = Asked(models=("m",))
COSTS = CostModel(prefill_ns_per_token=400_000.0)
"""Of a model whose prefill is long enough that fewer tokens are seen."""


def truth(way: str) -> tuple[float, float]:
    """(joules, seconds) of a request with a way."""
    request = pruned_request(Cell(f"m+{way}", output_tokens=pruning.OUTPUT_TOKENS))
    return COSTS.truth_j(request)["call"], sum(COSTS.durations_ns(request).values())


def of(names: tuple[str, ...], costs: CostModel = COSTS, calls: int = 20) -> Answer:
    """The answer from virtual runs of some ways."""
    design = pruning.design(ASKED)
    cells = [cell for cell in design.cells() if pruning.named(cell)[1] in names]
    runs = [Run(cell, costs.report(pruned_request(cell), calls, place)) for place, cell in enumerate(cells)]
    return pruning.answer(runs, design)


@pytest.fixture(scope="module")
def answer() -> Answer:
    return of(("whole", "mmtok-1of4", "tokenpacker-1of16", "fastv-1of2", "no-picture"))


@pytest.mark.parametrize("way", ["mmtok-1of4", "tokenpacker-1of16"])
def test_savings_and_speed_ups_are_those_of_the_cost_model(answer, way):
    saved = answer.finding(f"m: joules saved by {way}").found
    faster = answer.finding(f"m: speed-up by {way}").found
    (whole_j, whole_ns), (way_j, way_ns) = truth("whole"), truth(way)
    assert saved is not None
    assert faster is not None
    assert saved.low < 1 - way_j / whole_j < saved.high
    assert faster.value == pytest.approx(whole_ns / way_ns, rel=0.03)


def test_no_way_saves_more_than_no_picture(answer):
    most = answer.finding("m: the most that can be saved").found
    assert most is not None
    (whole_j, _), (bare_j, _) = truth("whole"), truth("no-picture")
    assert most.low < 1 - bare_j / whole_j < most.high
    others = [each.found for each in answer.findings if "joules saved" in each.what]
    assert all(each is not None and each.low < most.high for each in others)


def test_where_power_falls_joules_are_not_said_to_fall_less_than_time(answer):
    """In the cost model a prefill draws more than a decode: fewer tokens lower the mean power."""
    assert answer.finding("m: mean power with tokenpacker-1of16").verdict == "does not hold"


def test_where_power_rises_the_saving_is_smaller_than_the_speed_up():
    costs = replace(COSTS, prefill_w=150.0, encode_w=150.0, decode_w=600.0)
    found = of(("whole", "tokenpacker-1of16"), costs)
    assert found.finding("m: mean power with tokenpacker-1of16").verdict == "holds"


def test_a_way_without_effect_is_given_none(answer):
    """FastV drops tokens inside the language model, which this cost model does not reward."""
    found = answer.finding("m: joules saved by fastv-1of2").found
    assert found is not None
    assert found.low < 0.0 < found.high


def test_without_the_whole_model_nothing_is_held_against_it():
    found = of(("mmtok-1of4",), calls=5)
    assert "was not measured" in found.findings[0].words


def test_the_shipped_model_is_pruned_for_real(tmp_path):
    pytest.importorskip("transformers")
    from wattvlm.bench.subjects import TransformersSubject

    subject = PrunedSubject(PrunedModels(TransformersSubject()))
    lengths = {}
    for way in ("whole", "mmtok-1of4", "no-picture", "whole"):
        cell = Cell(f"shipped+{way}", output_tokens=2, dtype="float32", device="cpu")
        lengths[way] = subject.call_of(cell, 0)().shape[1]
    assert lengths["whole"] - lengths["mmtok-1of4"] == 12
    assert lengths["whole"] - lengths["no-picture"] == 16
    with pytest.raises(DoesNotFit, match="layer 2"):
        subject.call_of(Cell("shipped+fastv-1of2", output_tokens=2, dtype="float32", device="cpu"), 0)


def test_a_way_that_does_not_fit_is_one_cell_that_failed(tmp_path):
    pytest.importorskip("transformers")
    asked = Asked(devices=("cpu",), usual_dtype="float32", most_calls=1, output_tokens=(2,), cool_down_ns=NS_PER_MS)
    found = questions.ask("pruning", asked, tmp_path / "runs")
    assert {finding.what for finding in found.findings} >= {
        "shipped: joules saved by vscan-1of4-1of8",
        "shipped: the most that can be saved",
    }
    assert "tokenpacker-1of9" not in " ".join(finding.what for finding in found.findings)
    kept = {str(row[0]): row[2] for row in found.tables[0].rows}
    assert kept["vscan-1of4-1of8"] == 2.0
    assert "peak GB" not in [heading.title for heading in found.tables[0].headings], "a CPU has no memory of its own"
    (why,) = (limit for limit in found.limits if "fastv-1of2" in limit)
    assert why.startswith("not measured: shipped+fastv-1of2, shipped+fastv-1of4: DoesNotFit: ")


def test_what_a_way_loses_in_accuracy_is_told_and_what_it_keeps_is_not_called_lost():
    """A way that keeps every answer, one that loses a fifth of them, and no picture, which answers by chance."""
    design = pruning.design(ASKED)
    right = {"whole": 0.9, "mmtok-1of4": 0.9, "tokenpacker-1of16": 0.7, "no-picture": 0.25}
    runs = [
        Run(cell, COSTS.report(pruned_request(cell), 5, place), marked_answers(right[way], 150, seed=3))
        for place, cell in enumerate(design.cells()) if (way := pruning.named(cell)[1]) in right
    ]  # fmt: skip
    found = pruning.answer(runs, design)
    verdicts = {way: found.finding(f"m: right answers with {way}").verdict for way in right if way != "whole"}
    assert verdicts == {
        "mmtok-1of4": "cannot tell", "tokenpacker-1of16": "does not hold", "no-picture": "does not hold",
    }  # fmt: skip
    whole = found.finding("m: right answers, whole").found
    assert whole is not None
    assert whole.low < 0.9 < whole.high
    rows = {row[0]: row[1] for row in found.tables[1].rows}
    assert rows["whole"] == whole
    assert list(rows) == list(right)


def test_the_shipped_model_answers_its_digits_with_fewer_tokens(tmp_path):
    pytest.importorskip("transformers")
    asked = Asked(devices=("cpu",), usual_dtype="float32", most_calls=6, benchmark="shipped", folder=str(tmp_path))
    subject = pruning.subject(asked)
    for way in ("whole", "mmtok-1of4"):
        (cell,) = [cell for cell in pruning.design(asked).cells() if pruning.named(cell)[1] == way]
        call = subject.call_of(cell, 0)
        for _ in range(2 + 6):
            call()
        answers = questions.kept_answers(tmp_path, cell.name)
        assert len(answers) == 6
        if way == "whole":
            assert sum(answer.score or 0.0 for answer in answers) >= 4


def test_a_speed_up_that_few_calls_do_not_tell_reads_not_resolved():
    found = Finding("speed-up by mmtok", "times as fast a request")
    answer = Answer("pruning", "What is saved?", ("one cell",), (found,))
    assert "speed-up by mmtok: not resolved; times as fast a request" in str(wattvlm.render(answer, colour=False))

"""Several runs side by side: what may stand in one table, and what it says of each."""

from __future__ import annotations

import pytest

from tests.renderers.sample_reports import no_sensor, several_gpus, text_only, twenty_calls
from wattvlm.comparison import Score
from wattvlm.errors import NotComparable
from wattvlm.studies import standings


def test_a_run_stands_with_its_model_its_counts_and_its_joules():
    found = standings({"one": twenty_calls(), "text": text_only()})
    one, text = found.runs
    assert (one.calls, one.parameters, one.visual_tokens, one.output_tokens) == (20, 3_754_622_976, 391, 96)
    assert one.metrics["joules_per_request"].value == pytest.approx(503.5)
    assert one.metrics["ttft_s"].value == pytest.approx(0.138)
    assert "joules_per_image" not in text.metrics


def test_runs_on_other_boards_are_refused_unless_that_is_allowed():
    with pytest.raises(NotComparable) as refused:
        standings({"one": twenty_calls(), "two": several_gpus()})
    assert refused.value.kinds == ("power_limit",)
    assert standings({"one": twenty_calls(), "two": several_gpus()}, allow=("power_limit",)).obstacles


def test_modelled_joules_never_stand_beside_measured_ones():
    kinds = ("provenance", "device", "driver", "power_limit")
    measured, modelled = standings({"gpu": twenty_calls(), "cpu": no_sensor()}, allow=kinds).runs
    assert "joules_per_request" in measured.metrics
    assert [name for name in modelled.metrics if "joules" in name] == []
    assert "latency_s" in modelled.metrics


def test_guessing_is_worth_nothing_and_knowing_all_is_worth_one():
    assert Score("MMBench", 250, 1000, 0.25).above_chance_fraction == 0
    assert Score("MMBench", 1000, 1000, 0.25).above_chance_fraction == 1
    assert Score("MMBench", 700, 1000).above_chance_fraction is None


def test_accuracy_above_chance_is_divided_by_the_kilojoules_of_a_request():
    score = Score("MMBench", 625, 1000, 0.25)
    (run,) = standings({"one": twenty_calls()}, scores={"one": score}).runs
    assert run.per_kilojoule(score.above_chance_fraction) == pytest.approx(0.5 / 0.5035)

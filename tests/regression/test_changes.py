"""What fails against a baseline: what is surely worse by more than allowed, counts that changed, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from wattvlm import analyze
from wattvlm.host import Host
from wattvlm.regression import baselines
from wattvlm.regression.bounds import check_bounds
from wattvlm.regression.changes import check_changes
from wattvlm.regression.summary import Summary, summarise
from wattvlm.regression.thresholds import thresholds_of
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import TokenCounts
from wattvlm.units import NS_PER_MS


@cache
def summary(more: float = 1.0, seed: int = 1, visual: int = 576, limit_w: str = "700") -> Summary:
    """A run of 20 calls on a virtual board whose counter ticks each 100 ms; all its powers times `more`."""
    script = Script(
        (
            ScriptedPhase("prefill", 120 * NS_PER_MS, {"gpu": 600.0 * more}),
            ScriptedPhase("decode", 800 * NS_PER_MS, {"gpu": 380.0 * more}),
        ),
        calls=20,
        power_variation_fraction=0.01,
        tokens=TokenCounts(text_input=30, visual_input=visual, visual_encoded=576, output=40),
        images=1,
        decode_steps=39,
    )
    sensor = VirtualSensor("gpu-0/board", "gpu", period_ns=100 * NS_PER_MS, max_power_w=1100.0)
    host = Host(facts={"driver": "570.86", "gpu-0 limit_w": limit_w})
    return summarise(analyze(simulate(script, [sensor], seed, host=host).recording))


def failed(before: Summary, after: Summary, thresholds: str) -> dict[str, str]:
    """The failures by metric."""
    checks = check_changes(before, after, thresholds_of(thresholds))
    return {check.metric: check.words for check in checks if check.state == "failed"}


def test_a_tenth_more_is_over_a_threshold_of_a_twentieth() -> None:
    found = failed(summary(), summary(1.1, seed=2), "joules_per_output_token:5%,joules_per_request:5%")
    assert set(found) == {"joules_per_output_token", "joules_per_request"}
    assert "the threshold of 5 %" in found["joules_per_request"]


def test_a_tenth_more_is_within_a_threshold_of_a_fifth_and_a_tenth_less_within_any() -> None:
    assert failed(summary(), summary(1.1, seed=2), "joules_per_request:20%") == {}
    assert failed(summary(), summary(0.9, seed=3), "joules_per_request:0") == {}


def test_an_effect_over_the_threshold_whose_interval_is_not_does_not_fail() -> None:
    after = summary(1.1, seed=2)
    metric = after.metrics["joules_per_request"]
    assert metric.expected is not None
    wide = replace(metric, expected=replace(metric.expected, low=metric.expected.value * 0.5))
    unsure = replace(after, metrics={**after.metrics, "joules_per_request": wide})
    assert failed(summary(), unsure, "joules_per_request:5%") == {}


def test_counts_may_not_change_unless_a_threshold_allows_it_also_without_a_sensor() -> None:
    absent = replace(summary().identity, provenance="absent", devices=(), sensors=())
    for after in (summary(visual=144), replace(summary(visual=144), identity=absent)):
        found = failed(summary(), after, "joules_per_request:50%")
        assert set(found) == {"visual_input_tokens"}
        assert "from 576 to 144 a call" in found["visual_input_tokens"]
        assert failed(summary(), after, "visual_input:500") == {}
        assert failed(summary(), after, "visual_input:80%") == {}


def test_a_count_that_neither_run_knows_is_no_joule_that_was_missed() -> None:
    without = replace(summary(), metrics={})
    (check,) = check_changes(without, without, thresholds_of("visual_input:0"))
    assert (check.kind, check.state) == ("count", "not checked")


def test_a_count_that_is_no_longer_known_has_changed() -> None:
    after = summary()
    without = replace(after, metrics={name: each for name, each in after.metrics.items() if name != "output_tokens"})
    assert set(failed(summary(), without, "joules_per_request:5%")) == {"output_tokens"}


def test_another_power_limit_is_refused_with_a_cure() -> None:
    found = failed(summary(), summary(limit_w="400"), "joules_per_request:5%,prefill_joules:5%")
    assert len(found) == 1
    assert "the power limit before is 700 W, after 400 W" in next(iter(found.values()))
    assert "--energy-save=NAME" in next(iter(found.values()))


def test_modelled_joules_are_never_held_against_measured_ones() -> None:
    modelled = replace(summary().identity, provenance="modelled of the gpu")
    onto_model = list(
        check_changes(summary(), replace(summary(2.0), identity=modelled), thresholds_of("call_joules:5%"))
    )
    assert [check.words for check in onto_model if check.kind == "energy"] == ["no sensor"]
    onto_sensor = failed(replace(summary(), identity=modelled), summary(), "call_joules:5%")
    assert "the joules before are modelled of the gpu" in onto_sensor["call_joules"]


def test_a_bound_fails_only_where_the_whole_interval_is_over_it() -> None:
    expected = summary().metrics["joules_per_request"].expected
    assert expected is not None
    states = {
        bound: next(iter(check_bounds(summary(), {"joules_per_request": bound}))).state
        for bound in (expected.low - 1.0, expected.value - (expected.value - expected.low) / 2, expected.high)
    }
    assert list(states.values()) == ["failed", "passed", "passed"]


def test_a_baseline_is_the_same_file_whenever_it_is_saved_and_keeps_what_was_not_run(tmp_path: Path) -> None:
    path = baselines.path_of("main", tmp_path)
    baselines.save(path, {"b": summary(), "a": summary(1.1, seed=2)})
    first = path.read_bytes()
    baselines.save(path, baselines.load(path).tests)
    baselines.save(path, {"a": summary(1.1, seed=2)})
    assert path.read_bytes() == first
    assert list(baselines.load(path).tests) == ["a", "b"]
    assert failed(baselines.load(path).tests["b"], summary(), "joules_per_request:0") == {}


@pytest.mark.parametrize(
    "text", ["joules_per_request", "joules_per_request:five", "joules_per_request:-5%", "visul:0", ""]
)
def test_a_threshold_that_cannot_be_read_says_what_it_should_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"(is no metric; there are|Cure: )"):
        thresholds_of(text)

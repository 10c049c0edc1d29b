"""Joules of one more token: told with an interval where runs differ enough, refused where they cannot tell."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from wattvlm import analyze, studies
from wattvlm.errors import NotComparable, NotResolved
from wattvlm.host import Host
from wattvlm.report import Report
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import ModelFacts, TokenCounts
from wattvlm.units import NS_PER_MS

ENCODE_J, PREFILL_J, TEXT_J, DECODE_J = 0.031, 0.09, 0.09, 7.6
"""Joules a visual token in the encoder and in prefill, a text token, and an output token, of the virtual model."""

RUNS = ((64, 30, 10), (144, 60, 6), (256, 30, 14), (576, 45, 8), (1024, 60, 12), (1225, 30, 6))
"""Visual, text and output tokens a call of each run, in no step with each other."""


@cache
def report(visual: int, text: int, output: int, seed: int = 1, calls: int = 8, limit_w: str = "700") -> Report:
    """A run of calls whose phases last as long as their tokens say, each with its own 2 % of power."""
    script = Script(
        (
            ScriptedPhase("vision_encode", round((20 + 0.1 * visual) * NS_PER_MS), {"gpu": 310.0}),
            ScriptedPhase("prefill", round((40 + 0.15 * (visual + text)) * NS_PER_MS), {"gpu": 600.0}),
            ScriptedPhase("decode", 20 * output * NS_PER_MS, {"gpu": 380.0}),
        ),
        calls=calls,
        power_variation_fraction=0.02,
        tokens=TokenCounts(text_input=text, visual_input=visual, visual_encoded=4 * visual, output=output),
        images=1,
        decode_steps=output - 1,
        model=ModelFacts(name="virtual-vlm"),
    )
    sensor = VirtualSensor("gpu-0/board", "gpu", period_ns=100 * NS_PER_MS, max_power_w=1100.0)
    return analyze(simulate(script, [sensor], seed, host=Host(facts={"gpu-0 limit_w": limit_w})).recording)


def runs(seed: int = 1) -> list[Report]:
    return [report(*counts, seed=seed * 100 + number) for number, counts in enumerate(RUNS)]


def covered(found: studies.Marginal, true_j: float) -> bool:
    low_j, high_j = found.energy.interval_j
    return low_j <= true_j <= high_j


def test_one_more_visual_token_costs_what_it_costs_in_encoder_and_prefill():
    """Three slopes at once, over 5 sets of 6 runs; each interval is of 95 %, so one of five may miss."""
    sets = [studies.marginal(runs(seed)) for seed in range(5)]
    assert sum(covered(found, ENCODE_J + PREFILL_J) for found in sets) >= 4
    assert all(found.energy.half_width_j < 0.2 * ENCODE_J for found in sets)
    outputs = [found.others["output"].interval_j for found in sets]
    assert sum(low_j <= DECODE_J <= high_j for low_j, high_j in outputs) >= 4


@pytest.mark.parametrize(("part", "true_j"), [("vision_encode", ENCODE_J), ("prefill", PREFILL_J), ("decode", 0.0)])
def test_each_phase_has_a_slope_of_its_own(part, true_j):
    sets = [studies.marginal(runs(seed), part=part) for seed in range(5)]
    assert sum(covered(found, true_j) for found in sets) >= 4


def test_what_comes_later_is_not_in_the_line_of_a_phase():
    assert set(studies.marginal(runs(), part="prefill").others) == {"text_input"}
    assert set(studies.marginal(runs(), part="vision_encode").others) == set()


def test_a_count_that_never_changed_is_held_and_in_the_intercept():
    found = studies.marginal([report(visual, 30, 10, seed=visual) for visual in (64, 256, 1024)])
    assert found.held == {"text_input": 30, "output": 10}
    assert covered(found, ENCODE_J + PREFILL_J)
    assert "output was 10 in all runs" in str(found)


def test_counts_in_step_are_refused_since_no_line_tells_them_apart():
    in_step = [report(64 * times, 30, 4 * times, seed=times) for times in (1, 2, 3, 4, 5)]
    with pytest.raises(NotResolved, match=r"visual_input moves in step with output .* cannot tell"):
        studies.marginal(in_step)
    assert covered(studies.marginal(in_step, part="prefill"), PREFILL_J)


def test_counts_nearly_in_step_are_told_with_the_price_of_it():
    nearly = [report(64 * times, 30, 4 * times + times % 2, seed=times) for times in (1, 2, 3, 4, 5)]
    assert any("nearly moves in step with output" in note for note in studies.marginal(nearly).notes)


def test_runs_of_one_image_size_have_no_slope():
    with pytest.raises(NotResolved, match=r"all at 64 visual_input tokens a call: no slope. Cure"):
        studies.marginal([report(64, 30, 10, seed=seed) for seed in (1, 2, 3)])
    with pytest.raises(NotResolved, match="0 runs"):
        studies.marginal([])


def test_too_few_runs_for_the_slopes_are_refused():
    with pytest.raises(NotResolved, match=r"3 runs do not give 3 slopes .* Cure: 5 runs or more"):
        studies.marginal(runs()[:3])


def test_a_run_whose_phase_is_not_resolved_is_named():
    short = report(1, 1, 4, calls=2)
    with pytest.raises(NotResolved, match=r"run 7 of those given .* not resolved .*leave this run out"):
        studies.marginal([*runs(), short], part="vision_encode")


def test_a_slope_over_single_calls_is_bounds():
    found = studies.marginal([report(visual, 30, 10, calls=1) for visual in (64, 576, 1225)])
    assert found.energy.is_bounds
    assert covered(found, ENCODE_J + PREFILL_J)


def test_runs_of_other_limits_or_models_are_refused_unless_they_are_allowed():
    mixed = [*runs()[:5], report(*RUNS[5], limit_w="450")]
    with pytest.raises(NotComparable, match="power limit"):
        studies.marginal(mixed)
    assert studies.marginal(mixed, allow=["power_limit"]).runs == 6
    other = replace(runs()[0], calls=tuple(replace(call, model=ModelFacts("other")) for call in runs()[0].calls))
    with pytest.raises(NotComparable, match=r"several models .other, virtual-vlm."):
        studies.marginal([other, *runs()[1:]])


def test_unknown_counts_are_named():
    blind = replace(runs()[0], tokens=replace(runs()[0].tokens, visual_kept=None))
    with pytest.raises(NotResolved, match=r"do not know their visual_kept tokens. Cure: m.tokens"):
        studies.marginal([blind, *runs()[1:]], per="visual_kept")
    with pytest.raises(ValueError, match="no count 'images'"):
        studies.marginal(runs(), per="images")


def test_hits_of_a_prefix_cache_are_told():
    warm = [replace(each, tokens=replace(each.tokens, cached_input=80)) for each in runs()]
    assert any("came from a prefix cache" in note for note in studies.marginal(warm).notes)

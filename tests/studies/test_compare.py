"""Two runs compared: a difference is told where the readings show it, and never where they do not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from wattvlm import analyze
from wattvlm.errors import NotComparable
from wattvlm.host import Host
from wattvlm.report import Report
from wattvlm.studies import compare
from wattvlm.studies.expected import expected_of, student_95
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import TokenCounts
from wattvlm.units import NS_PER_MS

TOKENS = TokenCounts(text_input=30, visual_input=144, visual_encoded=576, output=40)


@cache
def report(prefill_w: float = 600.0, seed: int = 1, calls: int = 20, visual: int = 144, limit_w: str = "700") -> Report:
    """A run of calls on a virtual board whose counter ticks each 100 ms."""
    script = Script(
        (
            ScriptedPhase("vision_encode", 40 * NS_PER_MS, {"gpu": 310.0}),
            ScriptedPhase("prefill", 120 * NS_PER_MS, {"gpu": prefill_w}),
            ScriptedPhase("decode", 800 * NS_PER_MS, {"gpu": 380.0}),
        ),
        calls=calls,
        power_variation_fraction=0.02,
        tokens=replace(TOKENS, visual_input=visual),
        images=1,
        decode_steps=39,
    )  # fmt: skip
    sensor = VirtualSensor("gpu-0/board", "gpu", period_ns=100 * NS_PER_MS, max_power_w=1100.0)
    host = Host(facts={"driver": "570.86", "gpu-0 limit_w": limit_w})
    return analyze(simulate(script, [sensor], seed, host=host).recording)


def test_a_prefill_that_draws_a_fifth_more_is_worse() -> None:
    found = compare(report(), report(prefill_w=720.0, seed=2)).of("prefill_joules")
    assert found.verdict == "worse"
    assert found.interval_fraction is not None
    assert found.interval_fraction[0] < 0.2 < found.interval_fraction[1]


def test_a_prefill_that_draws_less_is_better() -> None:
    assert compare(report(), report(prefill_w=480.0, seed=3)).of("prefill_joules").verdict == "better"


def test_two_runs_of_the_same_do_not_differ_in_most_metrics() -> None:
    """Each interval is of 95 %, so one in twenty may miss; ten in one comparison may not."""
    found = compare(report(), report(seed=4))
    energies = [each for each in found.differences if each.kind == "energy"]
    told = [each for each in energies if each.verdict != "cannot tell"]
    assert len(energies) >= 8
    assert len(told) <= 2


def test_single_calls_have_bounds_and_tell_only_what_bounds_tell() -> None:
    found = compare(report(calls=1), report(calls=1, prefill_w=630.0, seed=5)).of("joules_per_request")
    assert found.before is not None
    assert found.before.is_bounds
    assert found.verdict == "cannot tell"


def test_a_changed_count_is_told_exactly_and_visual_tokens_are_explained() -> None:
    found = compare(report(), report(visual=72, seed=6))
    assert found.of("visual_input_tokens").verdict == "changed"
    assert found.of("visual_input_tokens").change_fraction == pytest.approx(-0.5)
    assert found.of("output_tokens").verdict == "same"
    assert any("joules_per_image" in note for note in found.notes)


def test_reasoning_tokens_are_compared_where_a_run_has_them() -> None:
    plain = compare(report(), report(seed=2))
    assert not [each.metric for each in plain.differences if "reasoning" in each.metric or "answer" in each.metric]
    thinking = replace(report(), tokens=replace(report().tokens, reasoning_output=400))
    found = compare(report(), thinking)
    assert found.of("reasoning_output_tokens").after is not None
    per_reasoning, per_answer = (found.of(f"joules_per_{what}_token").after for what in ("reasoning", "answer"))
    assert per_reasoning is not None
    assert per_answer is not None
    assert thinking.per("reasoning_token").middle_j == pytest.approx(per_reasoning.value)
    assert per_reasoning.low < per_reasoning.value < per_reasoning.high
    assert per_answer.value == pytest.approx(2 * thinking.per("output_token").middle_j)


def test_another_power_limit_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(NotComparable, match="the power limit before is 700 W, after 450 W") as refused:
        compare(report(), report(limit_w="450"))
    assert refused.value.kinds == ("power_limit",)
    allowed = compare(report(), report(limit_w="450"), allow=("power_limit",))
    assert allowed.obstacles[0].kind == "power_limit"


def test_modelled_joules_are_never_compared_with_measured_ones() -> None:
    measured = report()
    modelled = replace(measured, block=replace(measured.block, energies={}))  # a run without a sensor
    with pytest.raises(NotComparable) as refused:
        compare(measured, modelled)
    assert "provenance" in refused.value.kinds
    found = compare(measured, modelled, allow=("provenance", "device", "power_limit"))
    assert not [each for each in found.differences if each.kind == "energy"]
    assert found.of("output_tokens").verdict == "same"


def test_the_gain_of_one_board_cancels_and_those_of_two_do_not() -> None:
    def with_gain(found: Report, board: str) -> Report:
        parts = [
            replace(part, energies={
                domain: replace(own, energy=replace(own.energy, gains_j={board: 0.09 * own.energy.middle_j}))
                for domain, own in part.energies.items()
            }) for part in (found.total, found.between) if part is not None
        ]  # fmt: skip
        return replace(found, total=parts[0], between=parts[1])

    one = compare(with_gain(report(), "gpu-0"), with_gain(report(seed=7), "gpu-0")).of("joules_per_request")
    two = compare(with_gain(report(), "gpu-0"), with_gain(report(seed=7), "gpu-1")).of("joules_per_request")
    assert one.interval_fraction is not None
    assert two.interval_fraction is not None
    assert one.interval_fraction[1] - one.interval_fraction[0] < 0.06
    assert two.interval_fraction[1] - two.interval_fraction[0] > 0.2


@pytest.mark.parametrize(("degrees", "quantile"), [(3, 3.182), (4, 2.776), (9, 2.262), (19, 2.093), (99, 1.984)])
def test_the_quantiles_of_student_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert student_95(degrees) == pytest.approx(quantile, rel=0.01)


def test_one_call_says_nothing_of_the_time_of_the_next() -> None:
    found = expected_of([0.25])
    assert found is not None
    assert found.high == float("inf")

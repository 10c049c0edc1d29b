"""Power limits and clocks on a chip whose optimum and knees are known: what a sweep says of them, and how surely."""

from __future__ import annotations

import random

import pytest

from wattvlm import analyze
from wattvlm.comparison import Expected
from wattvlm.errors import NotComparable
from wattvlm.host import Host
from wattvlm.report import Report
from wattvlm.studies import sweep
from wattvlm.studies.choosing import between, candidates_of, meets
from wattvlm.sweep import SLOWER_FRACTION, Point, Setting, Sweep
from wattvlm.testing import CappedChip, Script, VirtualSensor, Work, simulate
from wattvlm.trace import TokenCounts
from wattvlm.units import NS_PER_S

CHIP = CappedChip(static_w=150.0)
WORKS = Work("prefill", 120_000_000, 640.0, 0.1), Work("decode", 600_000_000, 330.0, 0.5)
LIMITS_W = (165.0, 190.0, 215.0, 250.0, 350.0, 700.0)
STEPS = 39


def report(setting: Setting, seed: int = 1, device: str = "VIRTUAL GPU") -> Report:
    """Twelve calls at a setting, seen by a counter of 100 ms."""
    script = Script(
        tuple(CHIP.phase(work, setting) for work in WORKS), calls=12, power_variation_fraction=0.02,
        duration_variation_fraction=0.005, decode_steps=STEPS, images=1,
        tokens=TokenCounts(text_input=30, visual_input=576, output=STEPS + 1), label="chip",
    )  # fmt: skip
    facts = {"gpu-0 limit_w": f"{setting.power_limit_w or 700.0:g}"}
    if setting.core_clock_hz is not None:
        facts["gpu-0 locked_clock_hz"] = f"{setting.core_clock_hz:.0f}"
    board = VirtualSensor("gpu-0/board", device=device, period_ns=100_000_000, max_power_w=1100.0, seed=seed)
    return analyze(simulate(script, [board], seed, host=Host(facts=facts)).recording)


def true_j(setting: Setting) -> float:
    return CHIP.energy_j(WORKS, setting)


def true_seconds(setting: Setting, phase: int) -> float:
    return CHIP.phase(WORKS[phase], setting).duration_ns / NS_PER_S


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    limits = [report(Setting(power_limit_w=limit_w), seed) for seed, limit_w in enumerate(LIMITS_W)]
    return random.Random(1).sample(limits, len(limits))


@pytest.fixture(scope="module")
def found(reports) -> Sweep:
    return sweep(reports)


def test_the_settings_are_those_that_the_reports_tell_the_lowest_first(found):
    assert [point.setting for point in found.points] == [Setting(power_limit_w=limit_w) for limit_w in LIMITS_W]
    assert found.label == "chip"


def test_joules_and_times_of_each_phase_are_the_chips_at_each_setting(found):
    for point in found.points:
        for place, work in enumerate(WORKS):
            phase, truth = point.phase(work.name), CHIP.phase(work, point.setting)
            assert phase.seconds.low <= truth.duration_ns / NS_PER_S * 1.002
            assert phase.seconds.value == pytest.approx(truth.duration_ns / NS_PER_S, rel=0.01)
            assert phase.joules.value == pytest.approx(
                truth.power_w["gpu"] * true_seconds(point.setting, place), rel=0.05
            )


def test_the_true_best_setting_is_the_one_or_cannot_be_told_from_it(found):
    true_best = min(range(len(LIMITS_W)), key=lambda place: true_j(found.points[place].setting))
    assert true_best in found.candidates
    assert found.best in found.candidates
    assert len(found.candidates) < len(LIMITS_W)


def test_the_least_joules_of_all_limits_lie_between_the_ones_that_are_told(found):
    limits_w = [LIMITS_W[0] + step for step in range(int(LIMITS_W[-1] - LIMITS_W[0]))]
    least_w = min(limits_w, key=lambda limit_w: true_j(Setting(power_limit_w=limit_w)))
    low, high = (each.power_limit_w if each is not None else None for each in found.between)
    assert (low or LIMITS_W[0]) <= least_w <= (high or LIMITS_W[-1])


def test_a_bound_on_times_leaves_out_what_is_too_slow(reports, found):
    under_s = true_seconds(Setting(power_limit_w=250.0), 0) + 0.01
    bound = sweep(reports, ttft_under_s=under_s)
    assert [point.meets for point in bound.points] == ["no", "no", "no", "yes", "yes", "yes"]
    assert bound.best is not None
    assert found.best is not None
    assert bound.points[bound.best].setting == Setting(power_limit_w=250.0)
    assert bound.points[bound.best].metrics["joules_per_request"].value > found.points[found.best].metrics[
        "joules_per_request"].value  # fmt: skip
    tokens = sweep(reports, tpot_under_s=true_seconds(Setting(power_limit_w=215.0), 1) / STEPS * 1.01)
    assert [point.meets for point in tokens.points][2:] == ["yes"] * 4
    none = sweep(reports, ttft_under_s=0.01)
    assert (none.best, none.candidates) == (None, ())


@pytest.mark.parametrize("place", [0, 1])
def test_the_knee_of_each_phase_lies_between_the_settings_that_are_told(found, place):
    knee = next(each for each in found.knees if each.part == WORKS[place].name)
    slowest_s = true_seconds(Setting(power_limit_w=LIMITS_W[-1]), place) * (1.0 + SLOWER_FRACTION)
    true_w = max(
        limit_w for limit_w in range(160, 700) if true_seconds(Setting(power_limit_w=limit_w), place) > slowest_s
    )
    assert (knee.above.power_limit_w if knee.above else 0.0) <= true_w + 1.0
    assert knee.below.power_limit_w >= true_w
    assert knee.below.power_limit_w - (knee.above.power_limit_w if knee.above else 0.0) <= 400.0


def test_decode_is_barely_hurt_by_a_limit_that_slows_prefill(found):
    knees = {knee.part: knee for knee in found.knees}
    assert knees["decode"].below.power_limit_w < knees["prefill"].below.power_limit_w


def test_clocks_are_an_axis_of_their_own_and_two_axes_have_no_knee():
    clocks = [Setting(core_clock_hz=mhz * 1e6) for mhz in (810, 1980)]
    found = sweep([report(each) for each in clocks])
    assert [str(point.setting) for point in found.points] == ["810 MHz", "1980 MHz"]
    assert {knee.part for knee in found.knees} == {"prefill", "decode", "call"}
    both = [Setting(215.0, clocks[0].core_clock_hz), Setting(700.0, clocks[1].core_clock_hz)]
    grid = sweep([report(each) for each in both])
    assert (grid.knees, grid.between) == ((), (None, None))
    assert grid.best is not None


def test_what_is_no_sweep_says_why(reports):
    with pytest.raises(ValueError, match="one setting alone is no sweep"):
        sweep(reports[:1])
    with pytest.raises(ValueError, match="two reports are of one power limit"):
        sweep([reports[0], reports[0]])
    with pytest.raises(NotComparable, match="the device before is VIRTUAL GPU, after another"):
        sweep([*reports[:2], report(Setting(power_limit_w=500.0), device="another")])


def test_a_time_whose_interval_holds_the_bound_cannot_be_told():
    time_s = Expected(0.20, 0.19, 0.21)
    assert [meets(time_s, under) for under in (0.22, 0.2, 0.18)] == ["yes", "cannot tell", "no"]
    assert meets(None, 0.2) == "cannot tell"


def test_the_true_best_is_among_the_candidates_in_95_of_100_sweeps():
    """Joules that lie close to each other, each known to its own interval."""
    chance, sweeps, kept, alone = random.Random(5), 2000, 0, 0
    truth = [103.0, 100.5, 100.0, 101.0, 106.0, 120.0]
    for _ in range(sweeps):
        points = [drawn(value, chance) for value in truth]
        _, candidates = candidates_of(points)
        kept += 2 in candidates
        alone += len(candidates) == 1
        low, high = between(points, candidates)
        assert (low is None) == (0 in candidates)
        assert (high is None) == (5 in candidates)
    assert kept / sweeps >= 0.95
    assert alone < sweeps * 0.5


def drawn(value: float, chance: random.Random, calls: int = 30) -> Point:
    std = 0.01 * value
    found = chance.gauss(value, std)
    half = 2.045 * std
    metrics = {"joules_per_request": Expected(found, found - half, found + half)}
    return Point(Setting(power_limit_w=value), calls, (), metrics)

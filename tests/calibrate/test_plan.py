"""The load that is played: as long as asked, at all places of a tick, in steps that last."""

import pytest

from wattvlm.calibrate import plan_of

MS = 1_000_000
S = 1_000_000_000


@pytest.mark.parametrize(("seconds", "stairs"), [(60.0, True), (35.0, True), (23.0, False), (10.0, False)])
@pytest.mark.parametrize("period_ms", [20, 100])
def test_a_plan_lasts_about_as_long_as_was_asked(seconds, stairs, period_ms):
    plan = plan_of(period_ms * MS, seconds, stairs=stairs)
    assert sum(step.duration_ns for step in plan) == pytest.approx(seconds * S, rel=0.15)
    assert {step.section for step in plan} == ({"quiet", "square", "stairs"} if stairs else {"quiet", "square"})


def test_square_waves_begin_busy_and_switch_at_each_step():
    square = [step for step in plan_of(100 * MS, 30.0, stairs=False) if step.section == "square"]
    assert [step.busy_fraction for step in square] == [1.0, 0.0] * (len(square) // 2)


@pytest.mark.parametrize("period_ms", [20, 100])
def test_the_edges_fall_into_all_places_of_a_tick(period_ms):
    time_ns, places = 0, [0] * 8
    for step in plan_of(period_ms * MS, 23.0, stairs=False):
        if step.section == "square":
            places[int(8 * (time_ns % (period_ms * MS)) / (period_ms * MS))] += 1
        time_ns += step.duration_ns
    assert min(places) > 0.5 * sum(places) / 8


def test_stairs_go_up_and_down_and_each_level_outlasts_a_window_of_a_second():
    levels = [step for step in plan_of(100 * MS, 35.0, stairs=True) if step.section == "stairs"]
    assert [step.busy_fraction for step in levels] == [0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert all(step.duration_ns > 2 * S for step in levels)


def test_too_short_a_time_is_refused():
    for seconds, stairs in ((9.0, False), (34.0, True)):
        with pytest.raises(ValueError, match="too short to tell"):
            plan_of(100 * MS, seconds, stairs=stairs)

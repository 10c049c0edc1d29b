"""A line through runs: its intervals hold the true slopes as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from wattvlm.comparison import Expected
from wattvlm.studies.line import Line, Point, fit, inflation

SLOPE_J, INTERCEPT_J = 0.09, 40.0


def points(chance: np.random.Generator, runs: int, std_j: float = 1.0, beyond_j: float = 0.0) -> list[Point]:
    """Runs of different images on one line, each off by its own error, and by one that its interval does not know."""
    counts = np.linspace(64, 1225, runs)
    found = []
    for count in counts:
        own = std_j * float(chance.uniform(0.5, 2.0))
        value = INTERCEPT_J + SLOPE_J * count + chance.normal(0, own) + chance.normal(0, beyond_j)
        found.append(Point((float(count),), Expected(value, value - 1.96 * own, value + 1.96 * own)))
    return found


def covers(line: Line) -> bool:
    low, high = line.energy(1, "measured").interval_j
    return low <= SLOPE_J <= high


@pytest.mark.parametrize("runs", [3, 5, 12])
def test_the_slope_lies_in_its_interval_in_93_of_100_sets_and_more(runs):
    chance = np.random.default_rng(runs)
    assert sum(covers(fit(points(chance, runs))) for _ in range(200)) >= 0.93 * 200


@pytest.mark.parametrize("beyond_j", [1.0, 10.0])
@pytest.mark.parametrize("runs", [5, 12])
def test_runs_that_scatter_more_than_their_intervals_say_widen_the_slope(runs, beyond_j):
    """How much more is estimated from a few runs, so that the interval holds a little less often: 9 of 10 and more."""
    chance = np.random.default_rng(runs)
    assert sum(covers(fit(points(chance, runs, beyond_j=beyond_j))) for _ in range(200)) >= 0.9 * 200


def test_more_runs_tell_the_slope_better():
    widths = [fit(points(np.random.default_rng(1), runs)).energy(1, "measured").half_width_j for runs in (5, 20, 80)]
    assert widths[0] > widths[1] > widths[2]


def test_a_run_that_is_surer_counts_more():
    sure = [Point((x,), Expected(y, y - 0.01, y + 0.01)) for x, y in ((0.0, 10.0), (100.0, 20.0), (200.0, 30.0))]
    unsure = Point((300.0,), Expected(50.0, -10.0, 110.0))
    assert float(fit([*sure, unsure]).values_j[1]) == pytest.approx(0.1, rel=1e-3)


def test_bounds_of_runs_become_bounds_of_the_slope_that_hold_where_all_err_to_one_side():
    """The smaller images all too low, the larger too high: the worst that bounds allow."""
    true = [INTERCEPT_J + SLOPE_J * count for count in (100.0, 200.0, 900.0, 1000.0)]
    seen = [joules + off for joules, off in zip(true, (-2.0, -2.0, 2.0, 2.0))]
    line = fit([
        Point((count,), Expected(joules, joules - 2.0, joules + 2.0, is_bounds=True))
        for count, joules in zip((100.0, 200.0, 900.0, 1000.0), seen)
    ])  # fmt: skip
    slope = line.energy(1, "measured")
    assert slope.is_bounds
    assert slope.interval_j[0] <= SLOPE_J <= slope.interval_j[1]


def test_the_gain_of_a_board_is_one_error_of_all_runs_and_the_same_fraction_of_the_slope():
    chance = np.random.default_rng(3)
    gained = [
        Point(each.counts, Expected(each.joules.value, each.joules.low, each.joules.high, False, (("gpu-0", 0.09),)))
        for each in points(chance, 8)
    ]
    slope = fit(gained).energy(1, "measured")
    assert slope.gain_fraction == pytest.approx(0.09)


def test_draws_of_slope_and_intercept_are_of_the_same_lines():
    """Where the slope is too high the intercept is too low: joules at a count amid the runs are surer than either."""
    line = fit(points(np.random.default_rng(4), 8))
    slope, intercept = line.energy(1, "measured"), line.energy(0, "measured")
    amid = slope.scaled(644.0) + intercept
    assert amid.half_width_j < 0.7 * slope.scaled(644.0).half_width_j
    assert slope.draws_j is not None
    assert float(np.std(slope.draws_j)) == pytest.approx(float(line.stds_j[1]), rel=1e-6)


def test_counts_that_move_together_inflate_and_independent_ones_do_not():
    together = {"visual_input": [1.0, 2.0, 3.0, 4.0], "output": [2.0, 4.0, 6.0, 8.0]}
    crossed = {"visual_input": [1.0, 1.0, 2.0, 2.0], "output": [1.0, 2.0, 1.0, 2.0]}
    assert inflation(together, "visual_input") > 1e8
    assert inflation(crossed, "visual_input") == pytest.approx(1.0)

"""Ranking of many runs: one chance in twenty of one false difference, whatever the number of runs."""

from __future__ import annotations

import random
from math import sqrt

import pytest

from wattvlm.comparison import Expected
from wattvlm.studies.expected import expected_of
from wattvlm.studies.ranking import chance_of_equal, front, more_than, student_tails, told_apart


def exactly(value: float) -> Expected:
    return Expected(value, value, value)


def within(value: float, half: float) -> Expected:
    return Expected(value, value - half, value + half)


@pytest.mark.parametrize(
    ("t", "degrees", "chance"),
    [(12.706, 1, 0.05), (4.303, 2, 0.05), (2.262, 9, 0.05), (2.861, 19, 0.01), (0.0, 5, 1.0)],
)
def test_the_tails_of_students_t_are_those_of_the_tables(t, degrees, chance):
    assert student_tails(t, degrees) == pytest.approx(chance, rel=2e-3)


def test_equal_runs_are_told_apart_in_fewer_than_one_of_twenty_rankings():
    """Six equal models of eight calls each: fifteen pairs in a ranking."""
    chance, rankings, wrong = random.Random(7), 400, 0
    for _ in range(rankings):
        found: dict[str, Expected] = {}
        for name in "abcdef":
            values = expected_of([chance.gauss(100.0, 3.0) for _ in range(8)])
            assert values is not None
            found[name] = values
        wrong += any(told_apart(found, dict.fromkeys(found, 8)).values())
    assert wrong / rankings < 0.05 + 2 * sqrt(0.05 * 0.95 / rankings)


def test_a_difference_that_is_sure_alone_may_not_be_among_many():
    few = {"best": within(100.0, 1.0), "next": within(101.7, 1.0)}
    many = few | {f"rival {number}": within(101.7 + number / 1000, 1.0) for number in range(20)}
    calls = dict.fromkeys(many, 20)
    assert more_than("best", few, calls)["next"]
    assert not more_than("best", many, calls)["next"]


def test_bounds_differ_only_where_they_do_not_meet():
    low, high = Expected(100.0, 90.0, 110.0, is_bounds=True), Expected(130.0, 111.0, 150.0, is_bounds=True)
    assert chance_of_equal(low, high, 20) == 0.0
    assert chance_of_equal(low, Expected(130.0, 109.0, 150.0, is_bounds=True), 20) == 1.0
    assert chance_of_equal(within(100.0, 1.0), within(200.0, 1.0), 1) == 1.0


def test_a_gain_that_is_common_to_runs_of_a_board_does_not_blur_their_order():
    one, other = (Expected(value, value - 1.0, value + 1.0, False, (("board", 0.05),)) for value in (100.0, 103.0))
    elsewhere = Expected(103.0, 102.0, 104.0, False, (("another", 0.05),))
    assert chance_of_equal(one, other, 20) < 0.01
    assert chance_of_equal(one, elsewhere, 20) > 0.2


def test_the_front_holds_those_whom_nobody_beats_in_both():
    costs = {"small": within(1.0, 0.1), "good": within(2.0, 0.1), "bad": within(3.0, 0.1), "large": within(9.0, 0.1)}
    worth = {"small": exactly(1.0), "good": exactly(3.0), "bad": exactly(2.0), "large": exactly(7.0)}
    assert front(costs, worth) == {"small": (), "good": (), "bad": ("good",), "large": ()}


def test_costs_that_overlap_leave_the_front_open():
    costs = {"one": within(1.0, 0.2), "other": within(1.1, 0.2)}
    worth = {"one": exactly(2.0), "other": exactly(1.0)}
    assert front(costs, worth) == {"one": (), "other": None}


def test_equal_runs_have_a_sure_best_in_fewer_than_one_of_twenty_rankings():
    """The best is chosen by the same numbers that it is compared by."""
    chance, rankings, wrong = random.Random(11), 400, 0
    for _ in range(rankings):
        found: dict[str, Expected] = {}
        for name in "abcde":
            values = expected_of([chance.gauss(100.0, 3.0) for _ in range(20)])
            assert values is not None
            found[name] = values
        best = min(found, key=lambda name: found[name].value)
        wrong += any(more_than(best, found, dict.fromkeys(found, 20)).values())
    assert wrong / rankings < 0.05 + 2 * sqrt(0.05 * 0.95 / rankings)

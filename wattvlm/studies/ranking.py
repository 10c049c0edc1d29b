"""Ranking of several runs by one metric: who is surely more than whom where many are compared, and who lies on a front.

Holm's step-down correction (1979, Scandinavian Journal of Statistics 6, 65) keeps the chance of one false difference
among all that are looked at below its level, whatever they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import atan, cos, exp, inf, isfinite, lgamma, log, pi, sqrt

from wattvlm.comparison import Expected
from wattvlm.studies.compare import change_interval
from wattvlm.studies.expected import student_95
from wattvlm.studies.significance import SIGNIFICANT, holm

_STEPS = 400


def told_apart(found: Mapping[str, Expected], calls: Mapping[str, int]) -> dict[tuple[str, str], bool]:
    """Of each pair of runs, in the order of the runs, whether they surely differ, corrected for all pairs."""
    pairs = list(combinations(found, 2))
    chances = [chance_of_equal(found[one], found[other], min(calls[one], calls[other])) for one, other in pairs]
    return {pair: corrected < SIGNIFICANT for pair, corrected in zip(pairs, holm(chances))}


def more_than(best: str, found: Mapping[str, Expected], calls: Mapping[str, int]) -> dict[str, bool]:
    """Of each other run, whether it surely differs from the best.

    Corrected for all pairs: which run is the best is found in the same numbers, so that each pair might have been it.
    """
    told = told_apart(found, calls)
    return {
        other: told[(best, other)] if (best, other) in told else told[(other, best)] for other in found if other != best
    }


def chance_of_equal(one: Expected, other: Expected, calls: int) -> float:
    """The chance (two-sided p) of so large a quotient of two runs if they were equal, by Student's t.

    calls: of the run that has fewer; its degrees of freedom are those of both. Where a value is bounds, 0 for bounds
    that do not meet and 1 for others. 1 where an interval reaches zero or is not known.
    """
    interval = change_interval(one, other)
    if interval is None or not all(isfinite(end) for end in interval) or calls < 2:
        return 1.0
    if one.is_bounds or other.is_bounds:
        return float(interval[0] <= 0.0 <= interval[1])
    distance = log(other.value / one.value)
    half = (log(1.0 + interval[1]) - log(1.0 + interval[0])) / 2
    if half <= 0.0:
        return float(distance == 0.0)
    return student_tails(abs(distance) / half * student_95(calls - 1), calls - 1)


def student_tails(t: float, degrees: float) -> float:
    """The chance that Student's t lies further from 0 than t.

    With t = sqrt(n) tan(u) its density is that of cos(u) to the power of n - 1; Simpson's rule over what remains of u.
    """
    if t == inf:
        return 0.0
    scale = exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)) / sqrt(pi)
    low, high = atan(t / sqrt(degrees)), pi / 2
    step = (high - low) / _STEPS
    heights: list[float] = [max(cos(low + step * place), 0.0) ** float(degrees - 1) for place in range(_STEPS + 1)]
    area = step / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
    return float(min(1.0, 2 * scale * area))


def front(costs: Mapping[str, Expected], worth: Mapping[str, Expected]) -> dict[str, tuple[str, ...] | None]:
    """Who lies on the Pareto front of less cost and more worth: nobody is worth as much or more for less.

    An empty tuple for those on it, those who surely beat one that is not, and None where it cannot be told: by whole
    intervals. Plain numbers are intervals without a width.
    """
    found: dict[str, tuple[str, ...] | None] = {}
    for one in costs:
        others = [other for other in costs if other != one]
        beaten_by = tuple(other for other in others if _beats(other, one, costs, worth))
        rivals = [other for other in others if not _is_no_rival(other, one, costs, worth)]
        found[one] = beaten_by or (None if rivals else ())
    return found


def _beats(other: str, one: str, costs: Mapping[str, Expected], worth: Mapping[str, Expected]) -> bool:
    """The other surely costs less, and is surely worth as much."""
    change = change_interval(costs[one], costs[other])
    return change is not None and change[1] < 0.0 and worth[other].low >= worth[one].high


def _is_no_rival(other: str, one: str, costs: Mapping[str, Expected], worth: Mapping[str, Expected]) -> bool:
    """The other surely costs more, or is surely worth less."""
    change = change_interval(costs[one], costs[other])
    return (change is not None and change[0] > 0.0) or worth[other].high < worth[one].low

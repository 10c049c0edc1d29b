"""Which setting of a sweep is the best, how surely, and where each phase begins to pay for a lower one with time.

Runs are independent: half-widths of logarithms add in quadrature. Where k settings are held against one, each interval
is as wide as it must be for all of them together to hold in 95 % of sweeps (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, log, sqrt

from wattvlm.comparison import Expected
from wattvlm.studies.compare import gain_fraction
from wattvlm.studies.expected import student, student_95
from wattvlm.sweep import SLOWER_FRACTION, Knee, Meets, Point, Setting

_ERROR = 0.05


def meets(found: Expected | None, under: float | None) -> Meets:
    """Whether a time surely is under a bound, surely is not, or it cannot be told."""
    if under is None:
        return "yes"
    if found is None:
        return "cannot tell"
    if found.high <= under:
        return "yes"
    return "no" if found.low > under else "cannot tell"


def candidates_of(points: Sequence[Point]) -> tuple[int | None, tuple[int, ...]]:
    """(the place of the least joules a request that keep the bounds, the places of all that may have the least).

    A setting of which it cannot be told whether it keeps the bounds may be the best one, and is not called so.
    """
    possible = [place for place, point in enumerate(points) if point.meets != "no" and _request(point) is not None]
    sure = [place for place in possible if points[place].meets == "yes"]
    if not sure:
        return None, tuple(possible)
    best = min(sure, key=lambda place: _value(points[place]))
    others = len(possible) - 1
    may_be = [
        place
        for place in possible
        if place == best
        or log_ratio(points[best], points[place], "joules_per_request", _ERROR / max(others, 1))[0] <= 0.0
    ]
    return best, tuple(may_be)


def between(points: Sequence[Point], candidates: Sequence[int]) -> tuple[Setting | None, Setting | None]:
    """The settings next to the candidates, which the least joules lie between if they fall and then rise."""
    first, last = min(candidates), max(candidates)
    return (
        points[first - 1].setting if first else None,
        points[last + 1].setting if last + 1 < len(points) else None,
    )


def knees_of(points: Sequence[Point]) -> tuple[Knee, ...]:
    """For each phase that has its time at every setting, between which of them it begins to be slower."""
    names = [phase.name for phase in points[-1].phases if phase.seconds is not None]
    everywhere = [name for name in names if all(_seconds(point, name) is not None for point in points)]
    return tuple(_knee(points, name) for name in everywhere)


def _knee(points: Sequence[Point], name: str) -> Knee:
    top, tolerated = points[-1], log(1.0 + SLOWER_FRACTION)
    ratios = [
        _log_ratio(_seconds(top, name), _seconds(point, name), (top.calls, point.calls), _ERROR / 2 / (len(points) - 1))
        for point in points[:-1]
    ]
    slower = [place for place, (low, _) in enumerate(ratios) if low > tolerated]
    not_surely_as_fast = [place for place, (_, high) in enumerate(ratios) if high > tolerated]
    below = max(not_surely_as_fast, default=-1) + 1
    return Knee(name, points[max(slower)].setting if slower else None, points[below].setting)


def log_ratio(before: Point, after: Point, metric: str, error: float) -> tuple[float, float]:
    """The interval of log(after / before) of one metric that misses below, and above, with this probability each."""
    return _log_ratio(before.metrics.get(metric), after.metrics.get(metric), (before.calls, after.calls), error)


def _log_ratio(
    before: Expected | None, after: Expected | None, calls: tuple[int, int], error: float
) -> tuple[float, float]:
    if before is None or after is None or not all(_is_known(each) for each in (before, after)):
        return -inf, inf
    if before.is_bounds or after.is_bounds:
        return log(after.low / before.high), log(after.high / before.low)
    gain = log(1.0 + gain_fraction(before, after))
    halves = [_half(each, count, error) for each, count in zip((before, after), calls)]
    middle, half = log(after.value / before.value), sqrt(halves[0] ** 2 + halves[1] ** 2 + gain**2)
    return middle - half, middle + half


def _is_known(each: Expected) -> bool:
    return all(isfinite(end) and end > 0.0 for end in (each.low, each.value, each.high))


def _half(each: Expected, calls: int, error: float) -> float:
    """Half of the interval of a logarithm that misses on each side with this probability, of one that does so with
    2.5 %."""
    half = max(log(each.high / each.value), log(each.value / each.low))
    degrees = max(calls - 1, 1)
    return half * student(1.0 - error, degrees) / student_95(degrees)


def _request(point: Point) -> Expected | None:
    return point.metrics.get("joules_per_request")


def _value(point: Point) -> float:
    return point.metrics["joules_per_request"].value


def _seconds(point: Point, name: str) -> Expected | None:
    return next((phase.seconds for phase in point.phases if phase.name == name), None)

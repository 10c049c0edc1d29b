"""The comb of a counter's ticks: its period and phase, learned from edges and followed from tick to tick."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

LEAST_EDGES = 6
MOST_EDGES = 15
"""A comb is looked for from 6 edges on; 15 that do not make one (1.5 s at 100 ms) end the search."""

LARGEST_RESIDUAL_FRACTION = 0.1
"""Ticks that stray from the comb by more than a tenth of the period (one sigma) are not worth waiting for."""

_REMEMBERED_EDGES = 48
_REMEMBERED_MISSES = 32


@dataclass(frozen=True, slots=True)
class Edge:
    """A counter changed between two times (host clock)."""

    unchanged_at_ns: int
    time_ns: int

    @property
    def middle_ns(self) -> float:
        return (self.unchanged_at_ns + self.time_ns) / 2

    @property
    def width_ns(self) -> int:
        return self.time_ns - self.unchanged_at_ns


@dataclass(frozen=True, slots=True)
class _Line:
    """Ticks at `at_ns + number * period_ns`."""

    period_ns: float
    at_ns: float


def _fit(numbers: Sequence[int], times_ns: Sequence[float], weights: Sequence[float]) -> _Line:
    """The weighted least-squares line through ticks; times are relative to a near origin, to keep their digits."""
    total = sum(weights)
    middle = sum(w * n for w, n in zip(weights, numbers)) / total
    at_ns = sum(w * t for w, t in zip(weights, times_ns)) / total
    spread = sum(w * (n - middle) ** 2 for w, n in zip(weights, numbers))
    slope = sum(w * (n - middle) * (t - at_ns) for w, n, t in zip(weights, numbers, times_ns)) / spread
    return _Line(slope, at_ns - slope * middle)


def _weight(jitter_ns: float, edge: Edge) -> float:
    """One over the variance of an edge's middle: the tick's own jitter, and the width of the bracket."""
    return 1.0 / (jitter_ns**2 + edge.width_ns**2 / 12 + 1.0)


def median(values: Sequence[float]) -> float:
    """The upper median."""
    return sorted(values)[len(values) // 2]


def usual_distance_ns(edges: Sequence[Edge]) -> float:
    """The median distance of neighbouring edges."""
    return median([after.middle_ns - before.middle_ns for before, after in pairwise(edges)])


class Comb:
    """Predicts the next tick and says how far from it the counter may change."""

    def __init__(self, line: _Line, origin_ns: int, edges: Sequence[tuple[int, float, float]]) -> None:
        self._line = line
        self._origin_ns = origin_ns
        self._edges = deque(edges, maxlen=_REMEMBERED_EDGES)
        # Even jitter reaches to 1.7 sigma, and a period from six edges has an error of its own.
        seed_ns = 2.5 * self.residual_std_ns + line.period_ns / 200
        self._misses_ns = deque([seed_ns], maxlen=_REMEMBERED_MISSES)

    @classmethod
    def through(cls, edges: Sequence[Edge]) -> Comb | None:
        """The comb that the edges keep; None where they keep none."""
        guess_ns = usual_distance_ns(edges)
        if guess_ns <= 0:
            return None
        origin_ns = edges[0].unchanged_at_ns
        times_ns = [edge.middle_ns - origin_ns for edge in edges]
        numbers = [0]
        for before_ns, after_ns in pairwise(times_ns):
            numbers.append(numbers[-1] + max(1, round((after_ns - before_ns) / guess_ns)))
        weights = [_weight(guess_ns / 50, edge) for edge in edges]
        line = _fit(numbers, times_ns, weights)
        comb = cls(line, origin_ns, list(zip(numbers, times_ns, weights)))
        if comb.residual_std_ns > LARGEST_RESIDUAL_FRACTION * line.period_ns:
            return None
        return comb

    @property
    def period_ns(self) -> int:
        return round(self._line.period_ns)

    @property
    def residual_std_ns(self) -> float:
        """How far the remembered edges stray from the comb: one sigma."""
        line = self._line
        squares = [(time_ns - line.at_ns - number * line.period_ns) ** 2 for number, time_ns, _ in self._edges]
        return sqrt(sum(squares) / max(1, len(squares) - 2))

    @property
    def guard_ns(self) -> int:
        """How long before and after its predicted time a tick may come: the furthest of late, and a third more."""
        return int(min(1.3 * max(self._misses_ns), self._line.period_ns / 4))

    def tick_after(self, time_ns: int) -> int:
        """The predicted time of the first tick later than a time."""
        line = self._line
        number = (time_ns - self._origin_ns - line.at_ns) // line.period_ns + 1
        return self._origin_ns + int(line.at_ns + number * line.period_ns)

    def caught(self, edge: Edge) -> bool:
        """Follow an edge; False for one whose bracket is too wide to say when it was."""
        line = self._line
        if edge.width_ns > line.period_ns / 5:
            return False
        time_ns = edge.middle_ns - self._origin_ns
        number = round((time_ns - line.at_ns) / line.period_ns)
        miss_ns = abs(time_ns - line.at_ns - number * line.period_ns)
        self._misses_ns.append(max(miss_ns, edge.width_ns / 2))
        self._edges.append((number, time_ns, _weight(self.guard_ns / 2, edge)))
        self._line = _fit(*zip(*self._edges))
        return True

    def missed(self) -> None:
        """A tick came outside its guard: the next guards reach half as far again."""
        self._misses_ns.append(1.5 * max(self._misses_ns))

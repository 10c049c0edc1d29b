"""Refusal: which phases stand alone, and which neighbours are given together because only their sum is resolved.

A part is resolved where its interval is no wider than half of its value to either side. A resolved phase always
stands alone; unresolved neighbours in time are joined where that makes their sum resolved. Of several ways the one
that leaves the fewest phases unresolved is taken, then the one with the most rows, then the customary pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from wattvlm.trace import DECODE, PREFILL, PREPROCESS, PROJECTOR, VISION_ENCODE

WIDEST_FRACTION = 0.5
"""A half-width above this fraction of the value is not a measurement."""

_USUAL_PAIRS = {(VISION_ENCODE, PROJECTOR): 0, (VISION_ENCODE, PREFILL): 1, (PROJECTOR, PREFILL): 1,
                (PREFILL, DECODE): 2, (PREPROCESS, VISION_ENCODE): 3, (PREPROCESS, PREFILL): 3}  # fmt: skip
_OTHER_PAIR = 4


def is_resolved(middle_j: float, low_j: float, high_j: float) -> bool:
    """True where the interval reaches at most half of the value to either side (an exact 0 is resolved)."""
    return max(high_j - middle_j, middle_j - low_j) <= WIDEST_FRACTION * abs(middle_j)


def unresolved_runs(names: Sequence[str], resolved: Callable[[str], bool]) -> list[tuple[str, ...]]:
    """The longest runs of two and more neighbouring phases of which none is resolved."""
    runs: list[list[str]] = [[]]
    for name in names:
        if resolved(name):
            runs.append([])
        else:
            runs[-1].append(name)
    return [tuple(run) for run in runs if len(run) >= 2]


def sub_runs(run: Sequence[str]) -> list[tuple[str, ...]]:
    """All neighbouring groups of two and more phases in a run."""
    return [tuple(run[first:end]) for first in range(len(run)) for end in range(first + 2, len(run) + 1)]


def merge(run: Sequence[str], resolved: Callable[[tuple[str, ...]], bool]) -> list[tuple[str, ...]]:
    """A run of unresolved phases as groups: joined where the sum is resolved, single where no sum is."""
    best: list[tuple[tuple[int, int, int], list[tuple[str, ...]]]] = [((0, 0, 0), [])]
    for end in range(1, len(run) + 1):
        ways = [(_plus(best[end - 1][0], (1, -1, 0)), [*best[end - 1][1], (run[end - 1],)])]
        for first in range(end - 1):
            group = tuple(run[first:end])
            if resolved(group):
                ways.append((_plus(best[first][0], (0, -1, _strangeness(group))), [*best[first][1], group]))
        best.append(min(ways, key=lambda way: way[0]))
    return best[-1][1]


def _plus(one: tuple[int, int, int], two: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + two[0], one[1] + two[1], one[2] + two[2]


def _strangeness(group: Sequence[str]) -> int:
    return sum(_USUAL_PAIRS.get(pair, _OTHER_PAIR) for pair in pairwise(group))

"""The time of a recording cut into segments that touch: every phase of every call, what is between, what is outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import erfc, exp, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.windows import SLACK_SIGMAS, Stretches, Window, difference, union
from wattvlm.units import S_PER_NS

Indices = NDArray[np.int64]

PAUSE = "outside calls"
QUIET = "outside the block"

MAD_TO_STD: float = 1.4826
TOBIT_ROUNDS = 40
CHANCE_SIGMAS = 2.0
FEWEST_ALIKE = 5
"""From so many segments that are alike on, it is known how much their lengths differ."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of each segment: how much longer it is than its like by the marks, and the variance of these (s, s^2).

    length_s2: infinite where there are fewer than FEWEST_ALIKE, and outside of calls. overlap_s, overlap_s2: of
    segments whose marks have met, by how much these would have crossed had they not been kept in order, and the
    variance of that; 0 for all others.
    """

    longer_s: NDArray[np.float64]
    length_s2: NDArray[np.float64]
    overlap_s: NDArray[np.float64]
    overlap_s2: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Segments in order of time; kinds: names by number. row: the kind where it is part of a call, else -1.

    rows: how many of the kinds are parts of calls (these come first); calls: how many calls there are.
    start_std_ns: how unsure the boundary at each segment's start is on its own, one sigma.
    """

    start_ns: Indices
    end_ns: Indices
    kind: Indices
    row: Indices
    kinds: tuple[str, ...]
    rows: int
    calls: int
    start_std_ns: NDArray[np.float64]

    @property
    def instances(self) -> Indices:
        """How many segments each kind has."""
        return np.bincount(self.kind, minlength=len(self.kinds)).astype(np.int64)

    @property
    def lengths(self) -> Lengths:
        """How long segments are by their marks beside their like: of a kind, between neighbours of the same kinds."""
        kinds = len(self.kinds)
        around = np.concatenate([[kinds], self.kind, [kinds]])
        alike = (around[:-2] * (kinds + 1) + self.kind) * (kinds + 1) + around[2:]
        _, group, count = np.unique(alike, return_inverse=True, return_counts=True)
        length_s = (self.end_ns - self.start_ns) * S_PER_NS
        longer_s = length_s - (np.bincount(group, length_s) / count)[group]
        variance_s2 = (np.bincount(group, longer_s**2) / np.maximum(count - 1, 1))[group]
        overlap_s, overlap_s2 = np.zeros(len(length_s)), np.zeros(len(length_s))
        known = (count[group] >= FEWEST_ALIKE) & (self.row >= 0)
        for closed in np.unique(group[(length_s <= 0.0) & known]):
            own = group == closed
            mean_s, variance_s2[own], *overlap = _of_closed(np.asarray(length_s[own], np.float64))
            longer_s[own] = length_s[own] - mean_s
            overlap_s[own], overlap_s2[own] = (np.where(length_s[own] <= 0.0, each, 0.0) for each in overlap)
        variance_s2[known] = _alike_s2(variance_s2[known], count[group][known])
        return Lengths(np.where(known, longer_s, 0.0), np.where(known, variance_s2, np.inf), overlap_s, overlap_s2)

    @property
    def in_calls_ns(self) -> tuple[int, int]:
        """From the first segment of a call to the end of the last."""
        inside = np.flatnonzero(self.row >= 0)
        return int(self.start_ns[inside[0]]), int(self.end_ns[inside[-1]])


def _of_closed(length_s: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """(mean, variance, mean overlap, its variance) of like lengths of which some are 0, since marks are kept in order.

    Lengths are taken to be normal, and those of 0 to be any below it (Tobit), by expectation and maximisation.
    """
    shut = length_s <= 0.0
    mean_s = float(np.median(length_s))
    std_s = max(MAD_TO_STD * float(np.median(np.abs(length_s - mean_s))), S_PER_NS)
    below_s = below_s2 = 0.0
    for _ in range(TOBIT_ROUNDS):
        at = -mean_s / std_s
        hazard = exp(-0.5 * at**2) / sqrt(2.0 * pi) / max(0.5 * erfc(-at / sqrt(2.0)), 1e-12)
        below_s = mean_s - std_s * hazard
        below_s2 = max(std_s**2 * (1.0 - at * hazard - hazard**2), 0.0)
        raw_s = np.where(shut, below_s, length_s)
        mean_s = max(float(np.mean(raw_s)), 0.0)
        std_s = max(sqrt(float(np.mean((raw_s - mean_s) ** 2 + shut * below_s2))), S_PER_NS)
    return mean_s, std_s**2, -below_s, below_s2


def _alike_s2(variance_s2: NDArray[np.float64], count: Indices) -> NDArray[np.float64]:
    """Variances of lengths, one of each segment, where those that differ by chance alone are taken for their median.

    The variance of what marks are off is the same for all kinds, and of twenty lengths known to a third.
    """
    if not len(variance_s2):
        return variance_s2
    usual_s2 = float(np.median(variance_s2))
    by_chance = 1.0 + CHANCE_SIGMAS * np.sqrt(2.0 / (count - 1))
    alike = (variance_s2 < usual_s2 * by_chance) & (variance_s2 > usual_s2 / by_chance)
    return np.where(alike, usual_s2, variance_s2)


def timeline_of(
    parts: Sequence[Mapping[str, Stretches]],
    block: Stretches,
    start_ns: int,
    end_ns: int,
    between: str = "",
    *,
    is_few: bool = False,
) -> Timeline | None:
    """The segments from start to end of a recording; parts: of each call, name -> time. None where calls overlap.

    between: the name of the time between phases, if it has one. is_few: calls are too few to tell which phases have a
    gap between them; those that touch are taken for apart where any phases are.
    """
    names = list(dict.fromkeys(name for call in parts for name in call))
    inside = [
        (window, names.index(name)) for call in parts for name, windows in call.items() for window in windows
        if window.end_ns > window.start_ns
    ]  # fmt: skip
    inside.sort()
    windows = [window for window, _ in inside]
    if not windows or any(one.end_ns > two.start_ns for one, two in pairwise(windows)):
        return None
    whole = (Window(min(start_ns, windows[0].start_ns), max(end_ns, windows[-1].end_ns)),)
    calls = union(windows)
    quiet = difference(difference(whole, block), calls)
    pauses = difference(difference(whole, calls), quiet)
    segments = [
        *inside, *((window, len(names)) for window in pauses), *((window, len(names) + 1) for window in quiet)
    ]  # fmt: skip
    segments.sort()
    segments = _with_closed_gaps(segments, names.index(between) if between in names else -1, len(names), is_few)
    kind = np.array([kind for _, kind in segments], dtype=np.int64)
    return Timeline(
        np.array([window.start_ns for window, _ in segments], dtype=np.int64),
        np.array([window.end_ns for window, _ in segments], dtype=np.int64),
        kind,
        np.where(kind < len(names), kind, -1),
        (*names, PAUSE, QUIET),
        len(names),
        len(parts),
        _start_std_ns([window for window, _ in segments]),
    )


def _with_closed_gaps(
    segments: Sequence[tuple[Window, int]], between: int, rows: int, is_few: bool
) -> list[tuple[Window, int]]:
    """A segment of no length between phases that touch, where others of the same two have time between them.

    Marks that are off may close a short gap; its power is still there, and each of its two boundaries is unsure.
    """
    kinds = [kind for _, kind in segments]
    apart = {(one, two) for one, gap, two in zip(kinds, kinds[1:], kinds[2:]) if gap == between}
    if is_few and apart:
        phases = [kind for kind in range(rows) if kind != between]
        apart |= {(one, two) for one in phases for two in phases}
    found: list[tuple[Window, int]] = []
    for index, (window, kind) in enumerate(segments):
        if index and (kinds[index - 1], kind) in apart:
            at_ns, slack_ns = window.start_ns, window.start_slack_ns
            found.append((Window(at_ns, at_ns, segments[index - 1][0].end_slack_ns, slack_ns), between))
        found.append((window, kind))
    return found


def _start_std_ns(windows: Sequence[Window]) -> NDArray[np.float64]:
    """Of each boundary the larger of what the segments on its two sides say of it."""
    before = [0, *(window.end_slack_ns for window in windows[:-1])]
    after = [window.start_slack_ns for window in windows]
    return np.maximum(np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)) / SLACK_SIGMAS

"""The time of a recording cut into segments that touch: every phase of every call, what is between, what is outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.windows import SLACK_SIGMAS, Stretches, Window, difference, union
from wattvlm.units import S_PER_NS

Indices = NDArray[np.int64]

PAUSE = "outside calls"
QUIET = "outside the block"

MAD_TO_STD: float = 1.4826
FEWEST_ALIKE = 5
"""From so many segments that are alike on, it is known how much their lengths differ."""


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
    def lengths(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(how much longer each segment is than its like, the variance of these), in seconds, seconds squared.

        Like are segments of a kind between neighbours of the same kinds. The variance is infinite where there are
        fewer than FEWEST_ALIKE, and outside of calls. Where one of them has no length it could not be shorter, and the
        others' median and median deviation stand in for mean and variance.
        """
        kinds = len(self.kinds)
        around = np.concatenate([[kinds], self.kind, [kinds]])
        alike = (around[:-2] * (kinds + 1) + self.kind) * (kinds + 1) + around[2:]
        _, group, count = np.unique(alike, return_inverse=True, return_counts=True)
        length_s = (self.end_ns - self.start_ns) * S_PER_NS
        longer_s = length_s - (np.bincount(group, length_s) / count)[group]
        variance_s2 = (np.bincount(group, longer_s**2) / np.maximum(count - 1, 1))[group]
        for closed in np.unique(group[(length_s <= 0.0) & (self.row >= 0)]):
            own = group == closed
            longer_s[own] = length_s[own] - np.median(length_s[own])
            variance_s2[own] = (MAD_TO_STD * np.median(np.abs(longer_s[own]))) ** 2
        known = (count[group] >= FEWEST_ALIKE) & (self.row >= 0)
        return np.where(known, longer_s, 0.0), np.where(known, variance_s2, np.inf)

    @property
    def in_calls_ns(self) -> tuple[int, int]:
        """From the first segment of a call to the end of the last."""
        inside = np.flatnonzero(self.row >= 0)
        return int(self.start_ns[inside[0]]), int(self.end_ns[inside[-1]])


def timeline_of(
    parts: Sequence[Mapping[str, Stretches]], block: Stretches, start_ns: int, end_ns: int, between: str = ""
) -> Timeline | None:
    """The segments from start to end of a recording; parts: of each call, name -> time. None where calls overlap.

    between: the name of the time between phases, if it has one.
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
    segments = _with_closed_gaps(segments, names.index(between) if between in names else -1)
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


def _with_closed_gaps(segments: Sequence[tuple[Window, int]], between: int) -> list[tuple[Window, int]]:
    """A segment of no length between phases that touch, where others of the same two have time between them.

    Marks that are off may close a short gap; its power is still there, and each of its two boundaries is unsure.
    """
    kinds = [kind for _, kind in segments]
    apart = {(one, two) for one, gap, two in zip(kinds, kinds[1:], kinds[2:]) if gap == between}
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

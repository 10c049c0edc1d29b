"""Sets of time windows: union, difference, and many of them as columns.

Plain tuples for the few windows of one call, columns of numbers for all windows of a recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SLACK_SIGMAS = 2
"""A boundary with a standard deviation is moved by this many of them to either side."""


class Window(NamedTuple):
    """A stretch of time in ns; its true ends lie within the slacks of these, and it counts with its share."""

    start_ns: int
    end_ns: int
    start_slack_ns: int = 0
    end_slack_ns: int = 0
    share: float = 1.0

    @property
    def duration_ns(self) -> float:
        return (self.end_ns - self.start_ns) * self.share


Stretches = tuple[Window, ...]
"""Windows in order of time that do not overlap: the time of one part."""


def union(windows: Iterable[Window]) -> Stretches:
    """The same time with overlaps and touching ends joined."""
    joined: list[Window] = []
    for window in sorted(windows):
        if joined and window.start_ns <= joined[-1].end_ns:
            if window.end_ns > joined[-1].end_ns:
                joined[-1] = joined[-1]._replace(end_ns=window.end_ns, end_slack_ns=window.end_slack_ns)
        else:
            joined.append(window)
    return tuple(joined)


def difference(windows: Sequence[Window], taken: Sequence[Window]) -> Stretches:
    """The time of `windows` outside of `taken`; both in order and free of overlaps. Empty pieces are left out."""
    left: list[Window] = []
    first = 0
    for window in windows:
        start_ns, start_slack_ns = window.start_ns, window.start_slack_ns
        while first < len(taken) and taken[first].end_ns <= window.start_ns:
            first += 1
        index = first
        while index < len(taken) and taken[index].start_ns < window.end_ns:
            cut = taken[index]
            if cut.start_ns > start_ns:
                left.append(Window(start_ns, cut.start_ns, start_slack_ns, cut.start_slack_ns, window.share))
            start_ns, start_slack_ns = cut.end_ns, cut.end_slack_ns
            index += 1
        if start_ns < window.end_ns:
            left.append(Window(start_ns, window.end_ns, start_slack_ns, window.end_slack_ns, window.share))
    return tuple(left)


def clipped(windows: Iterable[Window], start_ns: int, end_ns: int) -> Stretches:
    """The part of the windows inside [start_ns, end_ns]."""
    return tuple(
        window._replace(start_ns=max(window.start_ns, start_ns), end_ns=min(window.end_ns, end_ns))
        for window in windows
        if window.end_ns > start_ns and window.start_ns < end_ns
    )


def duration_ns(windows: Iterable[Window]) -> float:
    """Time in the windows, in nanoseconds; a shared stretch counts with its share."""
    return sum(window.duration_ns for window in windows)


@dataclass(frozen=True, slots=True)
class WindowColumns:
    """The windows of many parts; `part` is the part's number, and a part's windows lie together in order of time."""

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    start_slack_ns: NDArray[np.int64]
    end_slack_ns: NDArray[np.int64]
    share: NDArray[np.float64]
    part: NDArray[np.int64]
    parts: int

    def holes(self) -> WindowColumns:
        """The time between neighbouring windows of one part."""
        same = np.flatnonzero(self.part[1:] == self.part[:-1])
        return WindowColumns(
            self.end_ns[same], self.start_ns[same + 1], self.end_slack_ns[same], self.start_slack_ns[same + 1],
            self.share[same], self.part[same], self.parts,
        )  # fmt: skip

    def hulls(self) -> WindowColumns:
        """One window for each part that has several: from its first start to its last end."""
        first = np.flatnonzero(np.diff(self.part, prepend=-1) != 0)
        last = np.append(first[1:], len(self.part)) - 1
        first, last = first[last > first], last[last > first]
        return WindowColumns(
            self.start_ns[first], self.end_ns[last], self.start_slack_ns[first], self.end_slack_ns[last],
            self.share[first], self.part[first], self.parts,
        )  # fmt: skip


def columns(parts: Sequence[Stretches]) -> WindowColumns:
    """The windows of all parts as columns, parts numbered in order."""
    flat = [window for part in parts for window in part]
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    shares = np.array([window.share for window in flat], dtype=np.float64)
    start_ns, end_ns, start_slack_ns, end_slack_ns = (
        np.array([window[field] for window in flat], dtype=np.int64) for field in range(4)
    )
    return WindowColumns(start_ns, end_ns, start_slack_ns, end_slack_ns, shares, numbers, len(parts))

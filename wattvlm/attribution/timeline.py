"""The time of a recording cut into segments that touch: every phase of every call, what is between, what is outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.windows import SLACK_SIGMAS, Stretches, Window, difference, union

Indices = NDArray[np.int64]

PAUSE = "outside calls"
QUIET = "outside the block"


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
    def in_calls_ns(self) -> tuple[int, int]:
        """From the first segment of a call to the end of the last."""
        inside = np.flatnonzero(self.row >= 0)
        return int(self.start_ns[inside[0]]), int(self.end_ns[inside[-1]])


def timeline_of(
    parts: Sequence[Mapping[str, Stretches]], block: Stretches, start_ns: int, end_ns: int
) -> Timeline | None:
    """The segments from start to end of a recording; parts: of each call, name -> time. None where calls overlap."""
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


def _start_std_ns(windows: Sequence[Window]) -> NDArray[np.float64]:
    """Of each boundary the larger of what the segments on its two sides say of it."""
    before = [0, *(window.end_slack_ns for window in windows[:-1])]
    after = [window.start_slack_ns for window in windows]
    return np.maximum(np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)) / SLACK_SIGMAS

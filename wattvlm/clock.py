"""One monotonic clock for marks and readings, and anchors that tie it to the wall clock.

`time.monotonic_ns` is CLOCK_MONOTONIC: system-wide, hence the same in the sampler's process, and never stepped by NTP.
Driver time stamps and torch.profiler are wall clock; anchors taken at start, at end and each minute convert them.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wattvlm.units import NS_PER_S


class Clock(Protocol):
    """What every part reads time from; tests pass a clock that moves only when it is told to."""

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never goes back."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, which NTP may step."""
        ...

    def sleep_ns(self, duration_ns: int) -> None:
        """Wait; at least roughly this long, returns at once for zero or less."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def sleep_ns(self, duration_ns: int) -> None:
        if duration_ns > 0:
            time.sleep(duration_ns / NS_PER_S)


@dataclass(frozen=True, slots=True)
class WallAnchor:
    """One moment read on both clocks: monotonic and wall, in nanoseconds."""

    monotonic_ns: int
    wall_ns: int


def take_anchor(clock: Clock) -> WallAnchor:
    """Both clocks now; the monotonic time is the middle of two reads around the wall clock's."""
    before_ns = clock.monotonic_ns()
    wall_ns = clock.wall_ns()
    return WallAnchor(monotonic_ns=(before_ns + clock.monotonic_ns()) // 2, wall_ns=wall_ns)


def wall_to_monotonic_ns(wall_ns: int, anchors: Sequence[WallAnchor]) -> int:
    """The monotonic time of a wall-clock stamp, by the last anchor before it (the first for earlier stamps)."""
    index = max(0, bisect_right([anchor.wall_ns for anchor in anchors], wall_ns) - 1)
    anchor = anchors[index]
    return anchor.monotonic_ns + (wall_ns - anchor.wall_ns)


def monotonic_to_wall_ns(monotonic_ns: int, anchors: Sequence[WallAnchor]) -> int:
    """The wall-clock time of a monotonic stamp, by the last anchor before it (the first for earlier stamps)."""
    index = max(0, bisect_right([anchor.monotonic_ns for anchor in anchors], monotonic_ns) - 1)
    anchor = anchors[index]
    return anchor.wall_ns + (monotonic_ns - anchor.monotonic_ns)

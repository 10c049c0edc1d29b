"""One monotonic clock, and anchors that tie it to the wall clock."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.clock import SystemClock, WallAnchor, monotonic_to_wall_ns, take_anchor, wall_to_monotonic_ns
from wattvlm.units import NS_PER_MS, NS_PER_S

STEP_NS = st.integers(1, 10**12)


class TwoHands:
    """A clock whose monotonic hand moves a little at each look, like a read that takes time."""

    def __init__(self) -> None:
        self.now_ns = 1000

    def monotonic_ns(self) -> int:
        self.now_ns += 100
        return self.now_ns

    def wall_ns(self) -> int:
        return 10**18 + self.now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


def test_the_monotonic_clock_never_goes_back_and_sleeping_passes_time() -> None:
    clock = SystemClock()
    before_ns = clock.monotonic_ns()
    clock.sleep_ns(2 * NS_PER_MS)
    clock.sleep_ns(0)
    clock.sleep_ns(-NS_PER_S)
    assert clock.monotonic_ns() - before_ns >= 2 * NS_PER_MS
    assert abs(clock.wall_ns() - time.time_ns()) < 60 * NS_PER_S


def test_another_process_sees_the_same_monotonic_clock() -> None:
    before_ns = SystemClock().monotonic_ns()
    program = "import time; print(time.monotonic_ns())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert before_ns < int(done.stdout) < SystemClock().monotonic_ns()


def test_an_anchor_is_the_middle_of_two_looks_around_the_wall_clock() -> None:
    assert take_anchor(TwoHands()) == WallAnchor(monotonic_ns=1150, wall_ns=10**18 + 1100)


@given(
    start_ns=st.integers(0, 10**15), offset_ns=st.integers(10**17, 2 * 10**18), steps_ns=st.lists(STEP_NS, max_size=9)
)
def test_a_stamp_taken_there_and_back_is_the_same_stamp(start_ns: int, offset_ns: int, steps_ns: list[int]) -> None:
    anchors = [WallAnchor(start_ns, start_ns + offset_ns)]
    for step_ns in steps_ns:
        last = anchors[-1]
        anchors.append(WallAnchor(last.monotonic_ns + step_ns, last.wall_ns + step_ns))
    for stamp_ns in (0, start_ns, start_ns + sum(steps_ns) // 2, start_ns + 2 * sum(steps_ns)):
        assert wall_to_monotonic_ns(monotonic_to_wall_ns(stamp_ns, anchors), anchors) == stamp_ns
        assert monotonic_to_wall_ns(stamp_ns, anchors) == stamp_ns + offset_ns


@pytest.mark.parametrize("step_s", [3600, -30])
def test_a_step_of_the_wall_clock_moves_no_later_stamp(step_s: int) -> None:
    anchors = [WallAnchor(0, 10**18), WallAnchor(60 * NS_PER_S, 10**18 + (60 + step_s) * NS_PER_S)]
    after = anchors[1].wall_ns + 5 * NS_PER_S
    assert monotonic_to_wall_ns(65 * NS_PER_S, anchors) == after
    assert monotonic_to_wall_ns(5 * NS_PER_S, anchors) == 10**18 + 5 * NS_PER_S
    late = anchors[1].wall_ns + 40 * NS_PER_S
    assert wall_to_monotonic_ns(late, anchors) == 100 * NS_PER_S


def test_a_stamp_before_the_first_anchor_is_counted_back_from_it() -> None:
    anchors = [WallAnchor(1000, 5000), WallAnchor(2000, 7000)]
    assert wall_to_monotonic_ns(4900, anchors) == 900
    assert monotonic_to_wall_ns(900, anchors) == 4900

"""Joules of power that follows its work late, charged to the work."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.testing.lateness import LateWork
from wattvlm.testing.power import PowerCurve, Ramp, ramp_steps

MS = 1_000_000

ramps: st.SearchStrategy[Ramp] = st.sampled_from(["first order", "linear"])
asked = st.tuples(st.floats(0.0, 700.0), st.integers(1, 200))


def played(
    segments: list[tuple[float, int]], rise_ns: int, fall_ns: int, ramp: Ramp
) -> tuple[LateWork, PowerCurve, list[int]]:
    curve, work, edges_ns, reached_w = PowerCurve(before_w=0.0), LateWork(0.0), [0], 0.0
    for power_w, length_ms in [*segments, (0.0, 10_000)]:
        until_ns = edges_ns[-1] + length_ms * MS
        ramp_ns = rise_ns if power_w > reached_w else fall_ns
        steps, reached_w = ramp_steps(ramp, reached_w, power_w, ramp_ns, length_ms * MS)
        for after_ns, step_w in steps:
            curve.append(edges_ns[-1] + after_ns, step_w)
        work.ask(edges_ns[-1], power_w, steps, reached_w, until_ns)
        edges_ns.append(until_ns)
    return work, curve, edges_ns[:-1]


@given(st.lists(asked, min_size=1, max_size=6), st.integers(0, 9), st.integers(0, 9), ramps)
def test_what_all_work_causes_is_what_was_drawn(
    segments: list[tuple[float, int]], rise_ms: int, fall_ms: int, ramp: Ramp
):
    work, curve, edges_ns = played(segments, rise_ms * MS, fall_ms * MS, ramp)
    late_s = work.late_s()
    caused_j = sum(work.caused_j(start_ns, end_ns, late_s) for start_ns, end_ns in pairwise(edges_ns))
    drawn_j = curve.energy_j(0, edges_ns[-1] + 10_000 * MS)
    assert caused_j == pytest.approx(drawn_j, rel=1e-6, abs=1e-6)


def test_power_that_is_left_in_a_short_gap_is_that_of_the_work_before_it():
    long_gap, _, edges_ns = played([(300.0, 100), (100.0, 200), (600.0, 100)], 4 * MS, 2 * MS, "first order")
    assert long_gap.late_s()[:3] == pytest.approx([0.004, 0.002, 0.004], rel=1e-3)
    assert long_gap.caused_j(edges_ns[2], edges_ns[3], long_gap.late_s()) == pytest.approx(600.0 * 0.098, rel=1e-3)
    short_gap, _, _ = played([(300.0, 100), (100.0, 2), (600.0, 100)], 4 * MS, 2 * MS, "first order")
    left = 2.718281828**-1
    assert short_gap.late_s()[1] == pytest.approx(0.002 * (1 - left) + 0.004 * left, rel=1e-3)
    assert short_gap.late_s()[2] == pytest.approx(0.004, rel=1e-3)

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from wattvlm.sampling.comb import LEAST_EDGES, MOST_EDGES, Comb, Edge

MS = 1_000_000


def edges(period_ms, jitter_ms, count, *, width_ms=1.0, seed=1, skipped=()):
    chance = random.Random(seed)
    found = []
    for number in range(count):
        if number not in skipped:
            middle_ms = 5_000_000 + number * period_ms + chance.uniform(-jitter_ms, jitter_ms)
            found.append(Edge(int((middle_ms - width_ms / 2) * MS), int((middle_ms + width_ms / 2) * MS)))
    return found


@given(st.floats(8, 500), st.integers(0, 10_000))
def test_steady_ticks_are_a_comb_whose_period_is_found(period_ms, seed):
    comb = Comb.through(edges(period_ms, 0.02 * period_ms, MOST_EDGES, width_ms=0.01 * period_ms, seed=seed))
    assert comb is not None
    assert abs(comb.period_ns / MS / period_ms - 1) < 0.01


def test_ticks_that_were_not_seen_do_not_stretch_the_period():
    comb = Comb.through(edges(100, 1, MOST_EDGES, skipped=(4, 5, 9)))
    assert comb is not None
    assert abs(comb.period_ns / MS - 100) < 0.5


def test_changes_at_random_times_are_no_comb():
    chance = random.Random(4)
    refused = 0
    for _ in range(50):
        time_ns, found = 0, []
        for _ in range(MOST_EDGES):
            time_ns += int(chance.expovariate(1 / 100) * MS) + 1
            found.append(Edge(time_ns - MS, time_ns))
        refused += Comb.through(found) is None
    assert refused >= 48


def test_the_next_tick_is_predicted_within_the_guard():
    ticks = edges(100, 2, 200)
    comb = Comb.through(ticks[:LEAST_EDGES])
    assert comb is not None
    outside = 0
    for tick in ticks[LEAST_EDGES:]:
        predicted_ns = comb.tick_after(tick.time_ns - 50 * MS)
        outside += abs(predicted_ns - tick.middle_ns) > comb.guard_ns
        comb.caught(tick)
    assert outside <= 2
    assert comb.guard_ns < 5 * MS


def test_a_wide_bracket_moves_no_prediction():
    comb = Comb.through(edges(100, 0.1, LEAST_EDGES))
    assert comb is not None
    before = comb.tick_after(5_001_000 * MS)
    assert not comb.caught(Edge(5_001_000 * MS, 5_001_070 * MS))
    assert comb.tick_after(5_001_000 * MS) == before


def test_the_guard_grows_when_ticks_come_outside_and_shrinks_when_they_do_not():
    comb = Comb.through(edges(100, 0.1, LEAST_EDGES))
    assert comb is not None
    calm_ns = comb.guard_ns
    for _ in range(3):
        comb.missed()
    assert comb.guard_ns > 3 * calm_ns
    for tick in edges(100, 0.1, 60)[LEAST_EDGES:]:
        comb.caught(tick)
    assert comb.guard_ns < 2 * calm_ns


def test_the_guard_is_never_more_than_a_quarter_of_the_period():
    comb = Comb.through(edges(100, 0.1, LEAST_EDGES))
    assert comb is not None
    for _ in range(50):
        comb.missed()
    assert comb.guard_ns == comb.period_ns // 4

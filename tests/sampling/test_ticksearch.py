"""A power that nobody stamps is read where its tick is, at two reads a period."""

import random

import pytest

from wattvlm.sampling.ticksearch import TickSearch

MS = 1_000_000


def places_ms(period_ms, jitter_ms, seconds, seed, renewed=lambda tick: True):
    """How far from its true tick the nearest read was, for each tick; how many reads a period."""
    chance = random.Random(seed)
    first_ns = chance.randrange(round(period_ms * MS))
    ticks = [
        first_ns + round((number * period_ms + chance.uniform(-jitter_ms, jitter_ms)) * MS)
        for number in range(int(seconds * 1000 / period_ms))
    ]
    search, now_ns, reads = TickSearch(100 * MS, 0), 0, list[int]()
    while now_ns < ticks[-1] - 100 * MS:
        reads.append(now_ns)
        value = sum(renewed(number) for number, tick_ns in enumerate(ticks) if tick_ns <= now_ns)
        now_ns = search.due_after(now_ns + 150_000, float(value)) + chance.randrange(100_000)
    nearest = [min(abs(read_ns - tick_ns) for read_ns in reads) / MS for tick_ns in ticks[:-2]]
    return nearest, len(reads) / len(ticks)


@pytest.mark.parametrize(("period_ms", "most_ms"), [(100.0, 2.0), (99.5, 7.0), (101.3, 14.0)])
@pytest.mark.parametrize("seed", range(3))
def test_the_tick_is_found_within_a_second_and_followed_at_two_reads_a_period(period_ms, most_ms, seed):
    nearest, reads = places_ms(period_ms, 0.0, 6.0, seed)
    assert max(nearest[12:]) < most_ms
    assert reads < 2.1


def test_a_jittery_tick_is_found_as_well_as_it_can_be():
    nearest, _ = places_ms(100.0, 3.0, 6.0, 1)
    assert max(nearest[12:]) < 8.0


def test_values_that_are_renewed_with_themselves_do_not_move_the_place():
    nearest, _ = places_ms(100.0, 0.0, 12.0, 2, renewed=lambda tick: tick < 20 or tick > 100)
    assert max(nearest[12:]) < 5.0

"""What reads a period or so apart tell of the ticks between them."""

import numpy as np
import pytest

from wattvlm.attribution.updates import updates_of
from wattvlm.recording import Readings

MS = 1_000_000


def readings(read_ns, tick_ns):
    """What a value shows that grows by one at each tick."""
    read_ns = np.asarray(read_ns, dtype=np.int64)
    value = np.searchsorted(tick_ns, read_ns, "right").astype(np.float64)
    return Readings("gpu-0/power", read_ns + 150_000, read_ns + 150_000, np.full(len(read_ns), 150_000), value)


def test_reads_in_step_with_the_ticks_know_them_only_to_half_of_their_distance():
    tick_ns = np.arange(41 * MS, 3000 * MS, 100 * MS)
    updates = updates_of(readings(range(0, 3000 * MS, 50 * MS), tick_ns), 0)
    assert updates is not None
    assert updates.shift_s == pytest.approx(0.025, abs=0.003)
    off_s = (updates.time_s - 0.041 + 0.05) % 0.1 - 0.05
    assert np.max(np.abs(off_s)) < updates.shift_s + updates.stretch * 1.5


@pytest.mark.parametrize("period_ms", [100.0, 101.3])
def test_reads_on_both_sides_of_the_ticks_know_them_well(period_ms):
    tick_ns = 41 * MS + np.arange(30) * round(period_ms * MS)
    near_ns = tick_ns + np.where(np.arange(30) % 3 == 0, -MS, MS)
    read_ns = np.sort(np.concatenate([near_ns, near_ns + round(period_ms / 2 * MS)]))
    updates = updates_of(readings(read_ns, tick_ns), 0)
    assert updates is not None
    assert updates.comb is not None
    assert updates.comb.period_s == pytest.approx(period_ms / 1000, rel=2e-3)
    assert updates.shift_s < 0.003


def test_values_that_stay_the_same_are_ticks_too_where_reads_saw_them():
    tick_ns = np.arange(41 * MS, 3000 * MS, 100 * MS)
    changing_ns = tick_ns[(tick_ns > 1000 * MS) & (tick_ns < 2000 * MS)]
    updates = updates_of(readings(range(0, 3000 * MS, 47 * MS), changing_ns), 0)
    assert updates is not None
    assert updates.time_s[0] < 0.3
    assert updates.time_s[-1] > 2.7
    assert not np.any(np.diff(updates.value[updates.time_s < 0.98]))


def test_stamps_are_ticks_also_where_even_power_repeats_its_value():
    tick_ns = np.arange(41 * MS, 6000 * MS, 100 * MS)
    value = np.repeat([110.0, 300.0, 600.0, 330.0, 331.0, 90.0], [3, 1, 1, 1, 1, 3])[np.arange(len(tick_ns)) % 10]
    took_ns = np.full(len(tick_ns), 150_000)
    updates = updates_of(Readings("gpu-0/power", tick_ns, tick_ns, took_ns, value), 0)
    assert updates is not None
    assert updates.shift_s == 0.0
    assert updates.time_s == pytest.approx(tick_ns / 1e9)

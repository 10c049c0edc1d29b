from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.sampling.simulated import MS, US, Kept, SimulatedClock, SimulatedCounter, counter, jittered_ticks, read_for
from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.sampling.schedule import read_until
from wattvlm.sensing import Channel, Domain, EnergyReading, PowerReading, Sensors
from wattvlm.units import NS_PER_S


def watch(period_ms, jitter_ms, call_us, seconds, *, stated=True, seed=1, late_ns=lambda: 60 * US):
    """(what was kept, its true ticks, the simulated counter, the start) of a counter watched for a while."""
    clock = SimulatedClock(late_ns)
    ticks = jittered_ticks(clock, period_ms, jitter_ms, int(seconds * 1000 / period_ms) + 20, seed)
    probe = SimulatedCounter(clock, ticks, int(call_us * US))
    start_ns = clock.now_ns
    return read_for(seconds, probe, [counter(period_ms if stated else None)], clock), ticks, probe, start_ns


def errors_ms(kept, ticks, after_ns):
    """How far the middle of each bracket is from its true tick, in ms."""
    return [
        ((edge.unchanged_at_ns + edge.time_ns) / 2 - ticks[round(edge.energy_j / 10) - 1]) / MS
        for edge in kept.edges()
        if edge.time_ns > after_ns
    ]


def rms(values):
    return math.sqrt(sum(value * value for value in values) / len(values))


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_jittering_100_ms_counter_is_caught_to_half_a_millisecond_in_six_polls_a_tick(stated, seed):
    kept, ticks, probe, start_ns = watch(100, 3, 150, 40, stated=stated, seed=seed)
    learned_ns = start_ns + 2 * NS_PER_S
    errors = sorted(abs(error) for error in errors_ms(kept, ticks, learned_ns))
    assert rms(errors[: int(0.98 * len(errors))]) < 0.5
    polls = sum(read_ns > learned_ns for read_ns in probe.reads_ns)
    assert polls / len(errors) < 6


@pytest.mark.parametrize("seed", range(5))
def test_polling_a_20_ms_counter_of_150_us_a_call_stays_under_four_percent_of_a_core(seed):
    kept, ticks, probe, start_ns = watch(20, 1, 150, 30, seed=seed)
    polls = sum(read_ns > start_ns + 2 * NS_PER_S for read_ns in probe.reads_ns)
    assert polls * 210 * US / (28 * NS_PER_S) < 0.04
    errors = sorted(abs(error) for error in errors_ms(kept, ticks, start_ns + 2 * NS_PER_S))
    assert rms(errors[: int(0.97 * len(errors))]) < 0.5


@pytest.mark.parametrize(("period_ms", "jitter_ms", "call_us"), [
    (100, 3, 150), (100, 0, 150), (101.2, 2, 360), (20, 3, 150), (20, 1, 150), (10, 0.5, 50), (50, 3, 1000),
    (100, 15, 150), (1000, 3, 150), (100, 40, 150), (100, 3, 9000), (7, 0.1, 20), (1, 0.2, 10), (4, 0.2, 10),
])  # fmt: skip
def test_every_bracket_holds_its_true_tick(period_ms, jitter_ms, call_us):
    kept, ticks, _, _ = watch(period_ms, jitter_ms, call_us, 20)
    for edge in kept.edges():
        last_tick_ns = ticks[round(edge.energy_j / 10) - 1]
        assert edge.unchanged_at_ns <= last_tick_ns <= edge.time_ns


@pytest.mark.parametrize(("period_ms", "jitter_ms"), [(100, 3), (100, 0.1), (20, 1), (50, 2), (10, 0.3)])
def test_ticks_are_learned_within_fifteen_of_them_and_two_seconds(period_ms, jitter_ms):
    kept, *_ = watch(period_ms, jitter_ms, 150, 15 * period_ms / 1000 + 0.05)
    assert kept.ways
    assert kept.ways[0][1] == "read at its ticks"
    assert kept.ways[0][0] == pytest.approx(period_ms * MS, rel=0.05)


def test_no_tick_is_lost_while_the_ticks_are_learned():
    kept, *_ = watch(100, 3, 150, 1.5)
    assert [edge.energy_j for edge in kept.edges()] == [10.0 * (n + 1) for n in range(len(kept.edges()))]


def test_a_wrong_nominal_period_is_found_out():
    clock = SimulatedClock()
    probe = SimulatedCounter(clock, jittered_ticks(clock, 100, 1, 300), 150 * US)
    kept = read_for(20, probe, [counter(20)], clock)
    assert kept.ways[0][0] == pytest.approx(100 * MS, rel=0.02)


def test_an_undeclared_rapl_like_counter_is_read_at_100_hz_once_seen():
    kept, _, probe, _ = watch(1, 0.1, 10, 10, stated=False)
    assert kept.ways == [(pytest.approx(MS, rel=0.2), "read at 100 Hz")]
    assert len(probe.reads_ns) == pytest.approx(1000, rel=0.05)


def test_a_fast_counters_value_is_at_most_two_of_its_ticks_old():
    kept, _, probe, _ = watch(1, 0.2, 10, 5)
    assert kept.ways == [(MS, "read at 100 Hz")]
    assert len(probe.reads_ns) == pytest.approx(500, rel=0.02)
    assert all(edge.time_ns - edge.unchanged_at_ns <= 2 * MS + 20 * US for edge in kept.edges())


def test_ticks_without_a_comb_are_read_plainly_and_the_report_says_so():
    chance = random.Random(3)
    clock = SimulatedClock()
    time_ns, ticks = clock.now_ns, []
    for _ in range(600):
        time_ns += int(chance.uniform(20, 180) * MS)
        ticks.append(time_ns)
    probe = SimulatedCounter(clock, ticks, 150 * US)
    kept = read_for(40, probe, [counter(100)], clock)
    assert kept.ways[-1][0] is None
    assert "no steady period" in kept.notes[0]
    polls = sum(read_ns > clock.now_ns - 20 * NS_PER_S for read_ns in probe.reads_ns)
    assert polls == pytest.approx(20 / 0.02, rel=0.35)


def test_a_call_longer_than_a_twentieth_of_the_period_is_not_waited_for_with():
    kept, _, probe, _ = watch(100, 1, 9000, 20)
    assert [period_ns for period_ns, _ in kept.ways] == [None]
    assert len(probe.reads_ns) == pytest.approx(5 * 200, rel=0.2)
    assert "one read takes 9.0 ms" in kept.notes[0]


def test_a_counter_that_stands_still_is_seen_to_stand_still_each_second_for_next_to_nothing():
    clock = SimulatedClock()
    probe = SimulatedCounter(clock, [], 150 * US)
    start_ns = clock.now_ns
    kept = read_for(60, probe, [counter(100)], clock)
    times = [reading.time_ns for reading in kept.energies]
    assert len(times) == pytest.approx(60, abs=6)
    assert max(after - before for before, after in pairwise(times)) < 1.2 * NS_PER_S
    assert sum(read_ns > start_ns + 10 * NS_PER_S for read_ns in probe.reads_ns) * 210 * US < 0.005 * 50 * NS_PER_S


def test_a_counter_that_rests_and_goes_on_elsewhere_is_learned_anew():
    clock = SimulatedClock()
    early = jittered_ticks(clock, 100, 1, 100)
    late = [tick_ns + 20 * NS_PER_S + 37 * MS for tick_ns in early]
    probe = SimulatedCounter(clock, early + late, 150 * US)
    kept = read_for(29.5, probe, [counter(100)], clock)
    ways = [how for _, how in kept.ways]
    assert ways == ["read at its ticks", "learning its ticks", "read at its ticks"]
    last = [edge for edge in kept.edges() if edge.time_ns > late[20]]
    assert len(last) >= 70
    assert sorted(edge.time_ns - edge.unchanged_at_ns for edge in last)[len(last) // 2] < 2 * MS


def test_a_busy_machine_leaves_wide_brackets_and_no_lost_joule():
    chance = random.Random(9)
    kept, ticks, _, _ = watch(100, 1, 150, 60, late_ns=lambda: int(chance.choice([0.06] * 20 + [80]) * MS))
    for edge in kept.edges():
        assert edge.unchanged_at_ns <= ticks[round(edge.energy_j / 10) - 1] <= edge.time_ns
    assert kept.energies[-1].energy_j - kept.energies[0].energy_j == 10.0 * (
        round(kept.energies[-1].energy_j / 10) - round(kept.energies[0].energy_j / 10)
    )
    assert len(kept.edges()) > 500


def test_two_gpus_on_one_probe_are_both_caught_at_their_own_ticks():
    clock = SimulatedClock()
    names = ("gpu-0/board", "gpu-1/board")
    counters = {
        name: SimulatedCounter(clock, jittered_ticks(clock, 100, 2, 300, seed=n), 150 * US)
        for n, name in enumerate(names)
    }

    class Both(SimulatedCounter):
        def read(self, channel):
            return counters[channel.name].read(channel)

    kept = read_for(25, Both(clock, [], 0), [counter(100, name) for name in names], clock)
    for name in names:
        own = Kept([reading for reading in kept.readings if reading.channel == name])
        widths = sorted(edge.time_ns - edge.unchanged_at_ns for edge in own.edges()[20:])
        assert len(widths) > 210
        assert widths[len(widths) // 2] < 2 * MS


class Scripted:
    """A probe whose read is a function of the simulated time since the start."""

    domain: Domain = "gpu"

    def __init__(self, clock, answer):
        self._clock, self._answer, self._start_ns, self.reads = clock, answer, clock.now_ns, 0

    def open(self):
        return Sensors(())

    def read(self, channel):
        self.reads += 1
        self._clock.now_ns += 50 * US
        return self._answer(channel, (self._clock.now_ns - self._start_ns) / NS_PER_S, self._clock.now_ns)

    def close(self):
        return


POWER = Channel("gpu-0/power", "simulated", "simulated", "gpu", "power", update_period_ns=100 * MS)
MODEL = Channel("cpu/model", "simulated", "simulated", "cpu", "model")


def test_a_power_is_read_twice_a_period():
    clock = SimulatedClock()
    probe = Scripted(clock, lambda channel, _, now_ns: [PowerReading(channel.name, now_ns, 50 * US, 100.0)])
    assert len(read_for(10, probe, [POWER], clock).powers) == pytest.approx(200, rel=0.02)


def test_a_stamped_power_that_a_counter_holds_is_read_once_a_value_and_loses_none():
    clock = SimulatedClock()
    first_ns, reads = clock.now_ns - 970 * MS, []

    def newest(channel, _, now_ns):
        reads.append(now_ns)
        return [PowerReading(channel.name, now_ns - (now_ns - first_ns) % (100 * MS) - 1, 50 * US, 100.0)]

    beside = replace(POWER, update_period_ns=None, contained_in="gpu-0/board")
    kept = read_for(10, Scripted(clock, newest), [beside], clock)
    assert {round(step / MS) for step in np.diff([each.time_ns for each in kept.powers])} == {100}
    assert len(reads) == pytest.approx(100, rel=0.1)


def test_a_model_is_read_ten_times_a_second():
    clock = SimulatedClock()
    probe = Scripted(clock, lambda channel, _, now_ns: [PowerReading(channel.name, now_ns, 50 * US, 20.0)])
    assert len(read_for(10, probe, [MODEL], clock).powers) == pytest.approx(100, rel=0.02)


def test_a_reading_with_the_drivers_stamp_is_kept_once_however_often_it_is_given():
    clock = SimulatedClock()
    start_ns = clock.now_ns

    def buffered(channel, age_s, now_ns):
        stamps = range(start_ns + 30 * MS, now_ns, 100 * MS)
        return [PowerReading(channel.name, stamp_ns, 0, 100.0) for stamp_ns in stamps][-5:]

    kept = read_for(10, Scripted(clock, buffered), [POWER], clock)
    stamps = [reading.time_ns for reading in kept.powers]
    assert stamps == sorted(set(stamps))
    assert len(stamps) == pytest.approx(100, abs=2)
    assert kept.gaps == []


def test_a_replayed_counter_keeps_its_own_brackets():
    clock = SimulatedClock()
    start_ns = clock.now_ns
    recorded = [EnergyReading("gpu-0/board", start_ns + n * 100 * MS - MS, start_ns + n * 100 * MS, 9, n * 1.0)
                for n in range(1, 90)]  # fmt: skip
    given: list[EnergyReading] = []

    def replay(channel, _, now_ns):
        due = [reading for reading in recorded if reading.time_ns < now_ns - MS and reading not in given]
        given.extend(due)
        return due

    assert read_for(10, Scripted(clock, replay), [counter(100)], clock).energies == recorded


def test_reads_that_fail_for_a_while_are_one_gap_that_ends():
    clock = SimulatedClock()
    start_ns = clock.now_ns

    def flaky(channel, age_s, now_ns):
        if 2 < age_s < 5:
            raise ProbeRetry("the driver was busy")
        return [PowerReading(channel.name, now_ns, 0, 100.0)]

    kept = read_for(10, Scripted(clock, flaky), [POWER], clock)
    last = kept.gaps[-1]
    assert {(name, from_ns, why) for name, from_ns, _, why in kept.gaps} == {
        ("gpu-0/power", last[1], "the driver was busy")
    }
    assert last[1] - start_ns == pytest.approx(2 * NS_PER_S, abs=60 * MS)
    assert 5 * NS_PER_S <= last[2] - start_ns <= 6.1 * NS_PER_S
    assert kept.powers[-1].time_ns - start_ns > 9.9 * NS_PER_S


def test_a_driver_that_stays_busy_is_asked_ever_more_slowly():
    clock = SimulatedClock()

    def busy(channel, age_s, now_ns):
        raise ProbeRetry("busy")

    probe = Scripted(clock, busy)
    kept = read_for(60, probe, [POWER], clock)
    assert probe.reads < 80
    assert kept.gaps[-1][2] - kept.gaps[-1][1] > 58 * NS_PER_S


def test_a_lost_channel_leaves_the_others_of_its_probe_alone():
    clock = SimulatedClock()
    other = Channel("gpu-1/power", "simulated", "simulated", "gpu", "power", update_period_ns=100 * MS)

    def losing(channel, age_s, now_ns):
        if channel is POWER and age_s > 3:
            raise ProbeLost("fell off the bus")
        return [PowerReading(channel.name, now_ns, 0, 100.0)]

    kept = read_for(10, Scripted(clock, losing), [POWER, other], clock)
    assert [(name, why) for name, _, why in kept.losses] == [("gpu-0/power", "fell off the bus")]
    assert sum(reading.channel == "gpu-1/power" for reading in kept.powers) > 190


@pytest.mark.parametrize("nonsense", [None, 7, ["no reading"], [PowerReading("gpu-0/power", 10, 0, None)]])  # type: ignore[arg-type]
def test_nonsense_from_a_probe_ends_its_channel_with_the_reason(nonsense):
    clock = SimulatedClock()
    kept = read_for(1, Scripted(clock, lambda *_: nonsense), [POWER], clock)
    assert kept.powers == []
    assert len(kept.losses) == 1


def test_a_value_that_is_no_number_is_not_stored():
    clock = SimulatedClock()
    values = iter([math.nan, math.inf] * 1000)
    probe = Scripted(clock, lambda channel, _, now_ns: [PowerReading(channel.name, now_ns, 0, next(values))])
    assert read_for(2, probe, [POWER], clock).powers == []


def test_a_power_that_was_not_read_in_time_is_a_gap():
    stalls = iter([60 * US] * 40 + [3 * NS_PER_S] + [60 * US] * 1000)
    clock = SimulatedClock(lambda: next(stalls))
    probe = Scripted(clock, lambda channel, _, now_ns: [PowerReading(channel.name, now_ns, 0, 100.0)])
    kept = read_for(10, probe, [POWER], clock)
    assert len(kept.gaps) == 1
    assert kept.gaps[0][2] - kept.gaps[0][1] > 2.9 * NS_PER_S
    assert "could not keep up" in kept.gaps[0][3]


def test_reading_ends_when_it_is_told_to():
    clock = SimulatedClock()
    probe = SimulatedCounter(clock, [], 150 * US)
    read_until(lambda: True, probe, [counter(100)], clock, Kept())
    assert probe.reads_ns == []

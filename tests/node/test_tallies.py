"""Joules of one channel over months: every joule once, none that was not counted, and what is not known is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattvlm.attribution.domains import sources_of
from wattvlm.host import Host
from wattvlm.node.tallies import Tally, in_totals, worth_reading
from wattvlm.recording import Readings, Recording
from wattvlm.sensing import Channel, EnergyReading, PowerReading
from wattvlm.trace import Block

SECOND = 1_000_000_000


def counter(**facts):
    return Channel("cpu-0/package", "virtual counter", "virtual CPU", "cpu", "counter", **facts)


def counted(channel, values_j, every_ns=SECOND):
    tally = Tally(channel)
    for index, value_j in enumerate(values_j):
        time_ns = index * every_ns
        tally.add([EnergyReading(channel.name, time_ns, time_ns, 0, value_j)])
    return tally


@given(st.lists(st.integers(0, 99), min_size=1, max_size=200), st.integers(0, 99))
def test_a_counter_that_wraps_loses_no_joule_however_long_it_runs(steps, first):
    values = [first]
    for step in steps:
        values.append((values[-1] + step) % 100)
    tally = counted(counter(wraps_at_j=100.0, max_power_w=99.0), values)
    assert tally.energy_j == pytest.approx(sum(steps))
    assert tally.unread_ns == 0


def test_a_counter_that_begins_anew_after_a_new_driver_is_counted_from_zero_and_the_time_is_told():
    tally = counted(counter(max_power_w=400.0), [5000.0, 5100.0, 30.0, 130.0])
    assert tally.energy_j == 100.0 + 30.0 + 100.0
    assert tally.unread_ns == SECOND


def test_a_restart_is_not_taken_for_a_wrap_that_no_power_could_have_made():
    tally = counted(counter(wraps_at_j=262_143.0, max_power_w=400.0), [5000.0, 5100.0, 30.0])
    assert tally.energy_j == 130.0
    assert tally.unread_ns == SECOND


def test_a_stretch_in_which_a_counter_may_have_wrapped_twice_is_told():
    tally = counted(counter(wraps_at_j=1000.0, max_power_w=400.0), [0.0, 10.0], every_ns=10 * SECOND)
    assert tally.unread_ns == 10 * SECOND


@given(st.lists(st.floats(0, 700), min_size=2, max_size=100))
def test_a_power_is_integrated_between_its_readings(powers):
    channel = Channel("gpu-0/board", "virtual power", "virtual GPU", "gpu", "power", update_period_ns=SECOND)
    tally = Tally(channel)
    for index, power_w in enumerate(powers):
        tally.add([PowerReading(channel.name, index * SECOND, 0, power_w)])
    assert tally.energy_j == pytest.approx(sum(powers) - (powers[0] + powers[-1]) / 2)


def test_no_power_is_made_up_for_a_time_in_which_nothing_was_read():
    channel = Channel("gpu-0/board", "virtual power", "virtual GPU", "gpu", "power", update_period_ns=SECOND)
    tally = Tally(channel)
    for time_ns in (0, SECOND, 3601 * SECOND, 3602 * SECOND):
        tally.add([PowerReading(channel.name, time_ns, 0, 100.0)])
    assert tally.energy_j == 200.0
    assert tally.unread_ns == 3600 * SECOND
    assert tally.power_w == pytest.approx(100.0)


def test_readings_that_are_given_twice_count_once():
    channel = counter()
    tally = Tally(channel)
    readings = [EnergyReading(channel.name, t, t, 0, 100.0 * t / SECOND) for t in (0, SECOND, 2 * SECOND)]
    tally.add(readings)
    tally.add(readings)
    assert (tally.energy_j, tally.reads) == (200.0, 2)


def test_a_power_is_the_mean_of_the_last_five_seconds():
    tally = counted(counter(), [0.0, 1000.0, *(1000.0 + 50.0 * index for index in range(1, 8))])
    assert tally.power_w == pytest.approx(50.0)
    assert counted(counter(), [7.0]).power_w is None


def test_the_memory_of_a_tally_does_not_grow():
    assert len(counted(counter(), range(5000))._trail) == 6


def channels(*names, method="counter", domain="gpu", inside=None):
    return [Channel(name, "virtual", "virtual", domain, method, contained_in=inside) for name in names]


def test_parts_of_a_board_and_a_power_beside_its_counter_are_not_read():
    board = channels("gpu-0/board")
    rest = [*channels("gpu-0/instant", method="power"), *channels("gpu-0/memory", inside="gpu-0/board")]
    assert worth_reading([*board, *rest]) == tuple(board)
    assert worth_reading(rest[:1]) == tuple(rest[:1])


NAMES = ("cpu-0/package", "cpu-0/core", "cpu-0/dram", "cpu/model", "gpu-0/board", "gpu-0/instant", "gpu-0/memory")
CHANNELS = st.builds(
    Channel, st.sampled_from(NAMES), st.just("virtual"), st.just("virtual"), st.sampled_from(["cpu", "ram", "gpu"]),
    st.sampled_from(["counter", "power", "model"]), contained_in=st.none() | st.sampled_from(NAMES),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(CHANNELS, max_size=6, unique_by=lambda channel: channel.name))
def test_what_adds_up_to_a_domain_is_what_a_report_adds_up(found):
    time_ns = np.arange(0, 10 * SECOND + 1, SECOND // 2)
    readings, tallies = {}, []
    for channel in found:
        values = time_ns / SECOND if channel.method == "counter" else np.full(len(time_ns), 10.0)
        readings[channel.name] = Readings(channel.name, time_ns, time_ns, np.zeros_like(time_ns), values)
        tallies.append(Tally(channel))
        tallies[-1].add([PowerReading(channel.name, 0, 0, 10.0)])
    recording = Recording(0, 10 * SECOND, tuple(found), readings, (), (), (), (), Host(), virtual=True)
    domains = sources_of(recording, Block(1, SECOND, 9 * SECOND)).domains
    in_report = {curve.channel.name for each in domains for curve in each.curves}
    assert {tally.channel.name for tally in in_totals(tallies)} == in_report


def test_a_lost_sensor_gives_way_to_the_model_and_comes_back():
    measured, model = (
        counted(channel, [0.0, 1.0]) for channel in (counter(), Channel("cpu/model", "model", "CPU", "cpu", "model"))
    )
    assert in_totals([measured, model]) == (measured,)
    measured.lost = True
    assert in_totals([measured, model]) == (model,)


def test_a_channel_that_never_gave_a_reading_has_no_joules_rather_than_zero():
    assert in_totals([Tally(counter())]) == ()

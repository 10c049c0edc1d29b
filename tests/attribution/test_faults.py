"""What counters do wrong: no joule is lost or invented for it, and the report says what happened."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattvlm.attribution import analyze
from wattvlm.attribution.ticks import recover_ticks
from wattvlm.recording import Readings
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
START_NS = 1_000_000 * MS


def session(calls=2, seed=3, **behaviour):
    phases = (ScriptedPhase("prefill", 300 * MS, {"gpu": 500.0}), ScriptedPhase("decode", 1500 * MS, {"gpu": 300.0}))
    sensor = VirtualSensor(**{"name": "gpu-0/board", "max_power_w": 700.0, "phase_ns": 37 * MS, **behaviour})
    return simulate(Script(phases=phases, calls=calls), [sensor], seed)


def holds(simulation):
    """True where the truth of the block and of each phase of each call lies inside its bounds."""
    report = analyze(simulation.recording)
    found = [(report.block, simulation.block_j["gpu"])]
    for call, truth in zip(report.calls, simulation.truth_j["gpu"], strict=True):
        found += [(part, truth[part.name]) for part in (*call.phases, call.total) if not part.unseen]
    return all(
        part.energies["gpu"].bounds_j[0] - 1e-6 <= truth_j <= part.energies["gpu"].bounds_j[1] + 1e-6
        for part, truth_j in found
    )


@settings(max_examples=8, deadline=None)
@given(st.floats(400.0, 3000.0), st.sampled_from([700.0, None]))
def test_a_counter_that_wraps_loses_no_joule(wraps_at_j, max_power_w):
    plain, wrapping = session(max_power_w=max_power_w), session(wraps_at_j=wraps_at_j, max_power_w=max_power_w)
    one, two = analyze(plain.recording), analyze(wrapping.recording)
    assert two.notes == one.notes
    assert two.block.energies["gpu"].energy.mean_j == pytest.approx(one.block.energies["gpu"].energy.mean_j, abs=0.01)
    assert two.block.energies["gpu"].energy.interval_j == pytest.approx(
        one.block.energies["gpu"].energy.interval_j, abs=0.01
    )


def test_wraps_that_cannot_be_counted_are_told_and_bounded():
    simulation = session(wraps_at_j=60.0)
    report = analyze(simulation.recording)
    assert any("wrapped more than once" in note for note in report.notes)
    assert holds(simulation)


def test_a_counter_that_starts_again_invents_no_joules_and_the_report_says_so():
    simulation = session(resets_at_ns=START_NS + 2500 * MS)
    report = analyze(simulation.recording)
    assert any("started again" in note for note in report.notes)
    assert holds(simulation)
    truth_j = simulation.block_j["gpu"]
    assert report.block.energies["gpu"].energy.mean_j == pytest.approx(truth_j, rel=0.05)
    assert report.block.energies["gpu"].resolved


def test_a_counter_that_goes_backwards_takes_no_joules_away():
    simulation = session(falls_at_ns=START_NS + 2500 * MS, falls_by_j=200.0)
    assert holds(simulation)
    assert any("backwards" in note for note in analyze(simulation.recording).notes)


@pytest.mark.parametrize("loses", [False, True], ids=["it catches up", "what it missed is lost"])
def test_a_counter_that_stands_still_bounds_what_it_may_have_missed(loses):
    simulation = session(stuck_ns=(START_NS + 1800 * MS, START_NS + 2800 * MS), stuck_loses=loses)
    report = analyze(simulation.recording)
    assert any("unchanged for" in note for note in report.notes)
    assert holds(simulation)


@pytest.mark.parametrize("seed", range(4))
def test_reads_that_fail_now_and_then_leave_the_truth_inside(seed):
    simulation = session(flaky_fraction=0.4, seed=seed)
    assert simulation.recording.gaps
    assert holds(simulation)


def test_a_sensor_that_is_lost_keeps_what_it_measured_before():
    simulation = session(calls=3, lost_at_ns=START_NS + 4000 * MS)
    report = analyze(simulation.recording)
    assert holds(simulation)
    assert any("lost" in note for note in report.notes)
    assert report.calls[0].phases[-1].energies["gpu"].stands_alone
    assert not report.calls[2].total.energies["gpu"].resolved


def test_a_counter_that_jumps_ahead_adds_no_joules_that_were_not_used():
    recording = session().recording
    readings = recording.readings["gpu-0/board"]
    readings.value[25:] += 500_000.0
    report = analyze(recording)
    assert any("jumped ahead" in note for note in report.notes)
    assert report.block.energies["gpu"].energy.mean_j == pytest.approx(session().block_j["gpu"], rel=0.05)


def test_a_fast_counter_may_have_stood_still_since_the_read_before_its_last_change():
    stuck_ns = (START_NS + 1803 * MS, START_NS + 2303 * MS)
    assert holds(session(period_ns=MS, stuck_ns=stuck_ns, stuck_loses=True))


def test_a_power_above_the_stated_largest_is_told_and_does_not_break_the_bounds():
    simulation = session(max_power_w=250.0)
    assert any("faster than its stated largest power" in note for note in analyze(simulation.recording).notes)
    assert holds(simulation)


@pytest.mark.parametrize("max_power_w", [float("inf"), 0.0, -1.0])
def test_a_largest_power_without_meaning_is_no_largest_power(max_power_w):
    found, plain = session(max_power_w=max_power_w), session(max_power_w=None)
    assert analyze(found.recording).block.energies["gpu"].energy.interval_j == pytest.approx(
        analyze(plain.recording).block.energies["gpu"].energy.interval_j
    )


def test_readings_out_of_order_are_put_in_order():
    recording = session().recording
    readings = recording.readings["gpu-0/board"]
    order = list(range(len(readings)))
    order[5], order[6] = order[6], order[5]
    columns = (readings.time_ns, readings.unchanged_at_ns, readings.took_ns, readings.value)
    mixed = Readings(readings.channel, *(column[order] for column in columns))
    expected = analyze(recording).block.energies["gpu"].energy.interval_j
    recording.readings["gpu-0/board"] = mixed
    assert analyze(recording).block.energies["gpu"].energy.interval_j == expected


def test_the_first_read_of_a_new_sampling_process_is_no_edge():
    """Its bracket holds the read alone, but the counter may have ticked long before it."""
    recording = session().recording
    readings, channel = recording.readings["gpu-0/board"], recording.channels[0]
    readings.unchanged_at_ns[10] = readings.time_ns[10] - readings.took_ns[10]
    count = recover_ticks(channel, readings, recording.start_ns, 700.0)
    assert count is not None
    previous_s = (readings.time_ns[9] - readings.took_ns[9] - recording.start_ns) / 1e9
    assert count.stretches[0].early_s[10] == pytest.approx(previous_s)


def test_a_free_running_counter_is_at_most_two_periods_old():
    simulation = session(period_ns=MS, latency_ns=10_000)
    recording = simulation.recording
    count = recover_ticks(recording.channels[0], recording.readings["gpu-0/board"], recording.start_ns, 700.0)
    assert count is not None
    brackets_s = count.stretches[0].late_s - count.stretches[0].early_s
    assert brackets_s[:-1].max() == pytest.approx(2e-3 + 10e-6)
    assert holds(simulation)

"""The virtual machine: sensors behave as they are told to, on a clock that only moves when told."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.sensing import EnergyReading
from wattvlm.testing import FakeClock, PowerCurve, VirtualMachine, VirtualSensor

MS = 1_000_000
S = 1_000_000_000
CURVE = PowerCurve([(1 * S, 300.0), (2 * S, 100.0)], before_w=100.0)
COUNTER = VirtualSensor("gpu-0/board", phase_ns=7 * MS, latency_ns=100_000)


def recorded(sensor, **settings_):
    recording = VirtualMachine({"gpu": CURVE}, [sensor], **settings_).record(0, 3 * S)
    return recording, recording.readings[sensor.name]


def test_a_fake_clock_moves_only_when_it_is_told_to():
    clock = FakeClock(5)
    wall_ns = clock.wall_ns()
    assert clock.monotonic_ns() == clock.monotonic_ns() == 5
    clock.sleep_ns(10)
    clock.sleep_ns(-10)
    clock.advance(5)
    assert (clock.monotonic_ns(), clock.wall_ns() - wall_ns) == (20, 15)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([MS, 20 * MS, 100 * MS]), st.integers(0, 99), st.integers(0, 48), st.integers(0, 50), st.booleans()
)
def test_every_tick_of_a_counter_lies_inside_its_bracket_with_its_exact_joules(period_ns, phase, jitter, seed, slow):
    sensor = VirtualSensor(
        "gpu-0/board", period_ns=period_ns, phase_ns=phase * period_ns // 100, jitter_ns=jitter * period_ns // 100,
        latency_ns=2 * MS if slow else 50_000, resolution=1e-9, seed=seed,
    )  # fmt: skip
    _, readings = recorded(sensor)
    ticks = [sensor.tick_ns(tick) for tick in range(-2, 3 * S // period_ns + 2)]
    energies = [CURVE.energy_j(0, tick_ns) for tick_ns in ticks]
    for index in range(1, len(readings)):
        inside = [
            energy_j
            for tick_ns, energy_j in zip(ticks, energies, strict=True)
            if readings.unchanged_at_ns[index] < tick_ns <= readings.time_ns[index]
        ]
        assert any(abs(energy_j - readings.value[index]) < 1e-6 for energy_j in inside)


def test_brackets_are_as_wide_as_the_polls_of_an_edge_locked_sampler():
    _, readings = recorded(COUNTER, poll_ns=400_000)
    widths_ns = (readings.time_ns - readings.unchanged_at_ns)[1:]
    assert set(widths_ns.tolist()) == {400_000 + 100_000}
    assert np.diff(readings.time_ns)[1:] == pytest.approx(100 * MS, abs=MS)


def test_a_fast_counter_is_read_at_100_hz():
    _, readings = recorded(replace(COUNTER, period_ns=MS, phase_ns=0))
    assert set(np.diff(readings.time_ns).tolist()) == {10 * MS}


@pytest.mark.parametrize(
    ("behaviour", "expected_w"),
    [
        ({}, 300.0),
        ({"window_ns": 100 * MS}, 100.0 + 200.0 * 0.43),
        ({"window_ns": 25 * MS}, 300.0),
        ({"window_ns": 1 * S}, 100.0 + 200.0 * 0.043),
        ({"rise_ns": 20 * MS}, 100.0 + 200.0 * (1 - np.exp(-43 / 20))),
        ({"gain": 1.05, "offset_w": 2.0}, 317.0),
        ({"resolution": 7.0}, 294.0),
    ],
    ids=["at the tick", "100 ms mean", "25 ms mean", "1 s mean", "first order", "gain and offset", "resolution"],
)
def test_a_power_shows_what_its_window_saw(behaviour, expected_w):
    sensor = VirtualSensor("gpu-0/power", method="power", phase_ns=43 * MS, **behaviour)
    assert sensor.shown(CURVE, 1 * S + 50 * MS) == pytest.approx(expected_w, rel=0.01)


def test_powers_carry_their_ticks_time_or_that_of_the_read():
    stamped = VirtualSensor("gpu-0/power", method="power", phase_ns=43 * MS)
    _, readings = recorded(stamped)
    assert set((readings.time_ns % (100 * MS)).tolist()) == {43 * MS}
    _, readings = recorded(replace(stamped, stamped=False, latency_ns=MS))
    assert set((readings.time_ns % (50 * MS)).tolist()) == {MS}


def test_noise_has_its_stated_size_and_is_the_same_for_the_same_seed():
    sensor = VirtualSensor("gpu-0/power", method="power", period_ns=5 * MS, noise_w=2.0, seed=1)
    values = recorded(sensor)[1].value
    assert np.std(values[:190]) == pytest.approx(2.0, rel=0.2)
    assert recorded(sensor)[1].value.tolist() == values.tolist()
    assert recorded(replace(sensor, seed=2))[1].value.tolist() != values.tolist()


def test_a_counter_wraps_resets_falls_and_stands_still_as_it_is_told():
    def shown(time_ns, **behaviour):
        return replace(COUNTER, phase_ns=0, **behaviour).shown(CURVE, time_ns)

    assert shown(2 * S) == pytest.approx(400.0)
    assert shown(2 * S, wraps_at_j=150.0) == pytest.approx(100.0)
    assert shown(2 * S, resets_at_ns=1500 * MS) == pytest.approx(150.0)
    assert shown(2 * S, falls_at_ns=1500 * MS, falls_by_j=30.0) == pytest.approx(370.0)
    stuck = {"stuck_ns": (1200 * MS, 1600 * MS)}
    assert shown(1500 * MS, **stuck) == pytest.approx(100.0 + 300.0 * 0.1)
    assert shown(2 * S, **stuck) == pytest.approx(400.0)
    assert shown(2 * S, stuck_loses=True, **stuck) == pytest.approx(400.0 - 120.0)


def test_reads_that_fail_leave_a_gap():
    recording, readings = recorded(replace(COUNTER, flaky_fraction=0.3, seed=4))
    assert recording.gaps
    assert len(readings) < 30
    blind, _ = recorded(COUNTER, blind_ns=[(1 * S, 1500 * MS)])
    (gap,) = blind.gaps
    assert gap.from_ns < 1 * S < 1500 * MS < gap.to_ns


def test_a_lost_sensor_has_a_gap_to_the_end():
    recording, readings = recorded(replace(COUNTER, lost_at_ns=1500 * MS))
    assert readings.time_ns[-1] < 1500 * MS
    assert recording.gaps[-1].to_ns == 3 * S


def test_a_denied_sensor_is_an_absence_with_its_cure():
    machine = VirtualMachine({"gpu": CURVE}, [COUNTER, replace(COUNTER, name="gpu-1/board", denied=True)])
    recording = machine.record(0, S)
    assert [channel.name for channel in recording.channels] == ["gpu-0/board"]
    assert "permission denied" in recording.absent[0].what


def test_facts_can_be_kept_from_the_engine():
    channel = replace(COUNTER, facts_known=False, max_power_w=700.0).channel
    assert (channel.update_period_ns, channel.window_ns, channel.max_power_w) == (None, None, None)


def test_jitter_that_would_mix_up_ticks_is_refused():
    with pytest.raises(ValueError, match="jitter"):
        VirtualSensor("gpu-0/board", period_ns=100, jitter_ns=50)


def test_each_sensor_sees_the_curve_of_its_name_its_board_or_its_domain():
    loads = {"gpu-0/board": PowerCurve([(0, 1.0)]), "gpu-1": PowerCurve([(0, 2.0)]), "gpu": PowerCurve([(0, 3.0)])}
    sensors = [replace(COUNTER, name=name) for name in ("gpu-0/board", "gpu-1/board", "gpu-2/board")]
    machine = VirtualMachine(loads, sensors)
    assert [machine.load_of(sensor).power_w(0) for sensor in sensors] == [1.0, 2.0, 3.0]
    with pytest.raises(KeyError, match="no power curve"):
        machine.load_of(VirtualSensor("cpu-0/package", "cpu"))


def test_the_machines_probe_reads_the_same_sensors_on_its_clock():
    clock = FakeClock(2 * S)
    flaky = replace(COUNTER, name="gpu-1/board", flaky_fraction=1.0)
    lost = replace(COUNTER, name="gpu-2/board", lost_at_ns=1 * S)
    probe = VirtualMachine({"gpu": CURVE}, [COUNTER, flaky, lost], clock).probe()
    opened = probe.open()
    (reading,) = probe.read(opened.channels[0])
    assert isinstance(reading, EnergyReading)
    assert reading.energy_j == pytest.approx(CURVE.energy_j(0, 1907 * MS))
    assert (reading.unchanged_at_ns, reading.time_ns, reading.took_ns) == (2 * S, 2 * S + 100_000, 100_000)
    with pytest.raises(ProbeRetry):
        probe.read(opened.channels[1])
    with pytest.raises(ProbeLost):
        probe.read(opened.channels[2])
    probe.close()
    probe.close()


def test_a_machine_whose_sensors_are_all_denied_is_unavailable():
    with pytest.raises(ProbeUnavailable, match="permission denied"):
        VirtualMachine({"gpu": CURVE}, [replace(COUNTER, denied=True)]).probe().open()

"""A whole calibration of virtual boards whose period, window, gain and offset are known: they come back."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from wattvlm.attribution import analyze
from wattvlm.calibrate import findings, meter_file, plan_of, trusted_channel
from wattvlm.calibrate.reference import fit_gain
from wattvlm.calibrate.virtual import BOARD, METER, play_virtually, virtual_sensors
from wattvlm.clock import monotonic_to_wall_ns
from wattvlm.errors import NotResolved, ReportFormatError
from wattvlm.testing import Script, ScriptedPhase, simulate

MS = 1_000_000
NOW = "2026-11-22T14:00:00Z"


@cache
def played(gain=0.954, offset_w=-1.2, window_ms=25, seconds=40.0, *, stairs=True):
    plan = plan_of(100 * MS, seconds, stairs=stairs, seed=3)
    sensors = virtual_sensors(gain, offset_w, window_ms * MS)
    return (*play_virtually(plan, sensors), sensors)


def found_of(recording, played_plan, reference, name="instant"):
    channels = [channel for channel in recording.channels if channel.name == f"{BOARD}/{name}"]
    return findings(recording, played_plan, channels, reference, "square waves", NOW)[0]


@pytest.mark.parametrize(
    ("gain", "offset_w", "window_ms"), [(0.954, -1.2, 25), (1.044, -22.6, 100), (0.908, 6.3, 1000)]
)
def test_period_window_gain_and_offset_of_a_power_sensor_come_back_within_their_intervals(gain, offset_w, window_ms):
    recording, plan, _ = played(gain, offset_w, window_ms)
    record = found_of(recording, plan, trusted_channel(recording, METER)).record
    assert record is not None
    assert record.update_period_ns == pytest.approx(100 * MS, rel=0.01)
    assert record.response == "boxcar"
    assert record.window_ns is not None
    assert record.window_ns[0] <= window_ms * MS <= record.window_ns[1]
    assert record.gain is not None
    assert record.gain_std_fraction is not None
    assert record.gain_std_fraction < 0.004
    assert record.gain == pytest.approx(gain, rel=2.5 * record.gain_std_fraction)
    assert record.offset_w is not None
    assert record.offset_std_w is not None
    assert abs(record.offset_w - offset_w) < 2.5 * record.offset_std_w + 0.2


def test_a_calibrated_board_gives_the_true_joules_of_calls():
    recording, plan, sensors = played(0.92, 6.0, seconds=36.0)
    record = found_of(recording, plan, trusted_channel(recording, METER), "board").record
    assert record is not None
    assert record.response == "counter"
    script = Script((ScriptedPhase("prefill", 300 * MS, {"gpu": 280.0}),), calls=8, power_variation_fraction=0.03)
    session = simulate(script, [replace(sensors[0], jitter_ns=0)], 2, host=recording.host)
    energy = analyze(session.recording, [record]).joules("block")
    assert float(energy) == pytest.approx(session.block_j["gpu"], rel=0.005)
    assert energy.absolute_interval_j[0] <= session.block_j["gpu"] <= energy.absolute_interval_j[1]
    assert abs(float(analyze(session.recording).joules("block")) / session.block_j["gpu"] - 1.0) > 0.03


def test_without_a_reference_there_is_a_window_and_no_gain_and_the_cure_is_said():
    recording, plan, _ = played(seconds=14.0, stairs=False)
    found = found_of(recording, plan, None)
    assert found.record is not None
    assert found.record.gain is None
    assert found.record.window_ns is not None
    assert "--against CHANNEL" in found.gain_reason


def gain_of(recording, plan, reference, name="board"):
    """Gain and offset alone."""
    channel = next(channel for channel in recording.channels if channel.name == f"{BOARD}/{name}")
    return fit_gain(channel, recording.readings[channel.name], plan.levels_ns, reference)


def meter_rows(recording, plan, every_ns, unit_ns, wall, late_ns=0):
    """Lines of a meter's file on the true curve; late_ns: how far its clock is off."""
    readings = recording.readings[METER]
    time_ns = np.arange(plan.start_ns[0] - 500 * MS, plan.end_ns + 500 * MS, every_ns)
    power_w = np.interp(time_ns, readings.time_ns, readings.value)
    stamped = [monotonic_to_wall_ns(int(each), recording.wall_anchors) if wall else int(each) for each in time_ns]
    return [f"{(each + late_ns) / unit_ns!r},{power:.3f}" for each, power in zip(stamped, power_w)]


@pytest.mark.parametrize(
    ("unit_ns", "wall", "late_ns"), [(1, False, 0), (1_000_000, True, 700 * MS), (1_000_000_000, True, -1_300 * MS)]
)
def test_a_meters_file_is_read_in_any_unit_and_clock_and_aligned(tmp_path, unit_ns, wall, late_ns):
    recording, plan, _ = played()
    path = tmp_path / "wall.csv"
    path.write_text(
        "\n".join(["time,power_w", "# a meter", *meter_rows(recording, plan, 50 * MS, unit_ns, wall, late_ns)])
    )
    gain = found_of(recording, plan, meter_file(path, recording), "board").gain
    assert gain is not None
    assert gain.gain == pytest.approx(0.954, rel=0.005)
    assert gain.offset_w == pytest.approx(-1.2, abs=1.0)
    assert gain.shift_ns == pytest.approx(late_ns, abs=150 * MS)


def test_a_meter_that_saw_something_else_gives_no_gain(tmp_path):
    recording, plan, _ = played()
    times = np.arange(plan.start_ns[0], plan.end_ns, 50 * MS)
    noise = np.random.default_rng(0).normal(300.0, 20.0, len(times))
    path = tmp_path / "other.csv"
    path.write_text("\n".join(f"{time_ns},{power:.2f}" for time_ns, power in zip(times, noise)))
    with pytest.raises(NotResolved, match="does not follow this load"):
        gain_of(recording, plan, meter_file(path, recording))


def test_a_load_that_the_meter_hardly_sees_gives_no_gain():
    recording, plan, _ = played()
    readings = recording.readings[METER]
    flat = replace(readings, value=100.0 + 0.01 * (readings.value - 68.0))
    same = replace(recording, readings={**recording.readings, METER: flat})
    with pytest.raises(NotResolved, match="W only, so there is no gain"):
        gain_of(same, plan, trusted_channel(same, METER))


def test_a_gain_that_no_board_has_is_not_kept():
    recording, plan, _ = played()
    readings = recording.readings[METER]
    in_milliwatts = replace(readings, value=readings.value * 1000.0)
    same = replace(recording, readings={**recording.readings, METER: in_milliwatts})
    found = found_of(same, plan, trusted_channel(same, METER), "board")
    assert found.gain is None
    assert "is none: boards lie between" in found.gain_reason


def test_files_that_are_no_meters_are_refused_with_the_reason(tmp_path):
    recording, _, _ = played()
    path = tmp_path / "no.csv"
    for text in ("", "time,power\n", "1,2\nthree,4\n", "1;2\n3;4\n"):
        path.write_text(text)
        with pytest.raises(ReportFormatError):
            meter_file(path, recording)
    path.write_text("1,2\n2,3\n3,4\n")
    with pytest.raises(NotResolved, match="no times inside this run"):
        meter_file(path, recording)
    with pytest.raises(NotResolved, match="name one of"):
        trusted_channel(recording, "meter-9/board")

"""A board whose gain, offset and lag are known: its joules are the true ones, and the report says what it rests on."""

from dataclasses import replace

import pytest

from wattvlm.attribution import analyze
from wattvlm.calibration import Calibration
from wattvlm.host import Host
from wattvlm.recording import Recording
from wattvlm.renderers import render
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
GAIN, OFFSET_W = 0.93, -9.0
COUNTER = VirtualSensor("gpu-0/board", jitter_ns=3 * MS, phase_ns=31 * MS, latency_ns=150_000, max_power_w=700.0,
                        gain=GAIN, offset_w=OFFSET_W, gain_std_fraction=0.045, sensor="counter")  # fmt: skip
RECORD = Calibration(
    "gpu-0/board", "570.86", "2026-11-22T14:00:00Z", "against a meter", "0.1.0",
    gain=GAIN, gain_std_fraction=0.0025, offset_w=OFFSET_W, offset_std_w=0.3,
)  # fmt: skip
SCRIPT = Script(
    phases=tuple(ScriptedPhase(name, ms * MS, {"gpu": power_w}) for name, ms, power_w in
                 (("vision_encode", 90, 310.0), ("prefill", 45, 640.0), ("decode", 450, 380.0))),
    calls=12, power_variation_fraction=0.03, pause_ns=30 * MS, dither_ns=130 * MS,
)  # fmt: skip


def played(sensor=COUNTER, driver="570.86", script=SCRIPT, seed=4):
    return simulate(script, [sensor], seed, host=Host(facts={"driver": driver}))


def with_record(recording: Recording, record=RECORD) -> Recording:
    return replace(recording, calibrations=(record,))


def mean_truth_j(simulation, name):
    calls = simulation.truth_j["gpu"]
    return sum(call[name] for call in calls) / len(calls)


@pytest.mark.parametrize("name", ["vision_encode", "prefill", "decode", "call"])
def test_a_counters_gain_and_offset_are_taken_out_of_every_part(name):
    simulation = played()
    raw, true = analyze(simulation.recording), analyze(with_record(simulation.recording))
    truth_j = mean_truth_j(simulation, name)
    assert float(raw.joules(name)) < 0.945 * truth_j
    assert float(true.joules(name)) == pytest.approx(truth_j, rel=0.02)
    low_j, high_j = true.joules(name).absolute_interval_j
    assert low_j <= truth_j <= high_j
    assert true.joules(name).gain_fraction < 0.2 * raw.joules(name).gain_fraction


def test_bounds_of_a_calibrated_counter_hold_the_truth_of_single_calls_and_add_up():
    simulation = played()
    report = analyze(with_record(simulation.recording))
    for call, truth_j in zip(report.calls, simulation.truth_j["gpu"]):
        for part in (*call.phases, call.total):
            low_j, high_j = part.energies["gpu"].bounds_j
            assert low_j - 0.3 <= truth_j[part.name] <= high_j + 0.3
    assert float(report.joules("block")) == pytest.approx(simulation.block_j["gpu"], rel=2e-3)


def test_a_counter_that_wraps_still_loses_no_joule_when_it_is_calibrated():
    simulation = played(replace(COUNTER, wraps_at_j=2_000.0))
    report = analyze(with_record(simulation.recording))
    assert float(report.joules("block")) == pytest.approx(simulation.block_j["gpu"], rel=2e-3)


def test_a_power_sensors_gain_offset_window_and_lag_are_taken_out():
    late_ns = 40 * MS
    sensor = replace(COUNTER, method="power", window_ns=100 * MS, jitter_ns=0, resolution=0.001)
    simulation = played(sensor, script=replace(SCRIPT, calls=30))
    readings = simulation.recording.readings["gpu-0/board"]
    late = replace(readings, time_ns=readings.time_ns + late_ns, unchanged_at_ns=readings.unchanged_at_ns + late_ns)
    recording = replace(simulation.recording, readings={"gpu-0/board": late})
    record = replace(RECORD, response="boxcar", window_ns=(99 * MS, 101 * MS), lag_ns=(39 * MS, 41 * MS))
    report = analyze(with_record(recording, record))
    assert float(report.joules("block")) == pytest.approx(simulation.block_j["gpu"], rel=5e-3)
    channel = report.channels[0].channel
    assert channel.window_ns == 100 * MS
    assert channel.source["window_ns"].startswith("calibration of 2026-11-22")
    in_time = analyze(with_record(simulation.recording, replace(record, lag_ns=(-MS, MS))))
    assert float(report.joules("decode")) == pytest.approx(float(in_time.joules("decode")), rel=1e-9)
    assert float(report.joules("block")) == pytest.approx(float(in_time.joules("block")), rel=1e-3)


def test_a_record_of_another_driver_is_not_used_and_the_report_says_so_with_the_cure():
    recording = played(driver="580.1").recording
    report = analyze(with_record(recording))
    assert float(report.joules("call")) == float(analyze(recording).joules("call"))
    note = next(note for note in report.notes if "calibration" in note)
    assert "570.86" in note
    assert "580.1" in note
    assert "Cure: wattvlm calibrate" in note


def test_the_newest_record_of_the_driver_counts_and_an_empty_list_uses_none():
    recording = played().recording
    older = replace(RECORD, gain=1.2, found_at="2026-01-01T00:00:00Z")
    both = replace(recording, calibrations=(RECORD, older))
    assert float(analyze(both).joules("call")) == float(analyze(with_record(recording)).joules("call"))
    assert float(analyze(both, []).joules("call")) == float(analyze(recording).joules("call"))
    assert float(analyze(recording, [RECORD]).joules("call")) == float(analyze(both).joules("call"))


def test_a_replay_gives_the_same_numbers_as_the_run(tmp_path):
    recording = with_record(played().recording)
    recording.save(tmp_path / "run.json.gz")
    loaded = Recording.load(tmp_path / "run.json.gz")
    assert loaded.calibrations == (RECORD,)
    assert analyze(loaded).to_dict() == analyze(recording).to_dict()


def test_the_list_of_sensors_says_that_a_gain_is_calibrated_and_how_surely():
    recording = played().recording
    assert "gain ±9 %" in str(render(analyze(recording), "console", width=120, colour=False))
    shown = str(render(analyze(with_record(recording)), "console", width=120, colour=False))
    assert "gain calibrated ±0.5 %" in shown


def test_records_that_a_meter_finds_are_kept_in_its_recording_and_a_broken_one_is_a_note(tmp_path):
    recording = played().recording
    path = RECORD.keep(tmp_path)
    assert recording.with_calibrations(folder=tmp_path).calibrations == (RECORD,)
    assert recording.with_calibrations([path]).calibrations == (RECORD,)
    path.write_text("{")
    broken = recording.with_calibrations(folder=tmp_path)
    assert broken.calibrations == ()
    assert any("calibration record" in note for note in analyze(broken).notes)

"""Idle power: seen in quiet moments, followed where it drifts, with an error that reaches the joules above it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wattvlm.attribution import analyze
from wattvlm.recording import States
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark

MS = 1_000_000
S = 1_000 * MS
GPU = VirtualSensor("gpu-0/board", max_power_w=700.0, gain_std_fraction=0.05)
POWER = VirtualSensor("gpu-0/board", method="power", window_ns=25 * MS, resolution=0.001, max_power_w=700.0)


def run(before_w, after_w, sensor=GPU, busy_w=300.0):
    """Two quiet seconds, a block of a call of two seconds, two quiet seconds."""
    curve = PowerCurve.of_segments(0, [(before_w, 2 * S), (busy_w, 2 * S), (after_w, 2 * S)], after_w=after_w)
    block = (Mark(2 * S, "block_start", 1), Mark(4 * S, "block_end", 1))
    call = (Mark(2 * S, "phase_start", name="decode"), Mark(4 * S - 1, "phase_end", name="decode"))
    return analyze(VirtualMachine({"gpu": curve}, [sensor]).record(0, 6 * S, (*block, *call)))


@pytest.mark.parametrize("sensor", [GPU, POWER], ids=["counter", "power"])
def test_an_idle_power_that_stays_has_no_drift_and_no_line(sensor):
    report = run(60.0, 60.0, sensor)
    idle = report.idle["gpu"]
    assert idle.power_w == pytest.approx(60.0, rel=0.02)
    assert idle.drift_w == 0.0
    assert not any("drifted" in note for note in report.notes)


@pytest.mark.parametrize("sensor", [GPU, POWER], ids=["counter", "power"])
def test_an_idle_power_that_drifts_lies_between_before_and_after_and_is_less_sure(sensor):
    report = run(60.0, 80.0, sensor)
    idle = report.idle["gpu"]
    assert idle.power_w == pytest.approx(70.0, rel=0.03)
    assert idle.interval_w[0] <= 60.5
    assert idle.interval_w[1] >= 79.5
    assert idle.drift_w == pytest.approx(20.0, rel=0.05)
    assert any("drifted by 20" in note and "Cure:" in note for note in report.notes)


def test_a_drift_is_in_the_interval_of_the_joules_above_idle():
    steady, drifting = (run(60.0, after_w).joules("call", above_idle=True) for after_w in (60.0, 80.0))
    assert drifting.half_width_j >= steady.half_width_j + 10.0
    low_j, high_j = drifting.interval_j
    assert low_j <= 600.0 - 2 * 70.0 <= high_j


def test_clocks_that_stay_up_for_a_moment_after_work_are_a_drift_and_no_sure_idle():
    curve = PowerCurve.of_segments(0, [(60.0, 2 * S), (300.0, 2 * S), (110.0, S // 2), (60.0, 2 * S)], after_w=60.0)
    block = (Mark(2 * S, "block_start", 1), Mark(4 * S, "block_end", 1))
    idle = analyze(VirtualMachine({"gpu": curve}, [GPU]).record(0, 6 * S, block)).idle["gpu"]
    assert idle.interval_w[0] <= 60.5
    assert idle.interval_w[1] >= 105.0


def test_the_gain_of_the_board_errs_in_idle_as_in_the_joules_that_idle_is_taken_from():
    report = run(60.0, 60.0)
    gross, net = report.joules("call"), report.joules("call", above_idle=True)
    assert gross.gain_fraction == pytest.approx(0.098, rel=0.02)
    assert net.gain_fraction == pytest.approx(gross.gain_fraction, rel=0.02)


def test_one_idle_power_errs_in_every_row_in_the_same_way():
    phases = (ScriptedPhase("prefill", 300 * MS, {"gpu": 500.0}), ScriptedPhase("decode", 900 * MS, {"gpu": 300.0}))
    report = analyze(simulate(Script(phases=phases, calls=20), [GPU], 3).recording)
    report = replace(report, idle={"gpu": replace(report.idle["gpu"], interval_w=(40.0, 80.0))})
    prefill, decode = (report.idle_energy("gpu", duration_ns) for duration_ns in (300 * MS, 900 * MS))
    assert prefill.draws_j is not None
    assert decode.draws_j is not None
    assert np.corrcoef(prefill.draws_j, decode.draws_j)[0, 1] == pytest.approx(1.0)
    both = prefill + decode
    assert both.half_width_j == pytest.approx(prefill.half_width_j + decode.half_width_j, rel=0.02)
    net = report.joules("call", above_idle=True)
    assert net.draws_j is not None
    assert net.half_width_j >= 0.98 * report.idle_energy("gpu", 1200 * MS).half_width_j


def test_calls_that_run_at_the_same_time_share_one_idle():
    """Of two calls that fill the same two seconds, the joules above idle add up to those of the time, once."""
    curve = PowerCurve.of_segments(0, [(60.0, 2 * S), (300.0, 2 * S), (60.0, 2 * S)], after_w=60.0)
    marks = [Mark(2 * S, "block_start", 1), Mark(4 * S, "block_end", 1)]
    for call in (1, 2):
        marks += [Mark(2 * S, "call_start", call, "generate", call), Mark(4 * S, "call_end", call, "", call)]
    report = analyze(VirtualMachine({"gpu": curve}, [GPU]).record(0, 6 * S, marks))
    assert len(report.calls) == 2
    assert 2 * float(report.joules("call", above_idle=True)) == pytest.approx(2 * (300.0 - 60.0), rel=0.03)


# at which clock


def clocked(after_work_hz, high_for_ns=2 * S, sensor=GPU):
    """60 W before a call of two seconds; after it 110 W while the clock stays up, then 60 W. Looks once a second."""
    watts = [(60.0, 3 * S), (300.0, 2 * S), (110.0, high_for_ns), (60.0, 3 * S)]
    curve = PowerCurve.of_segments(0, watts, after_w=60.0)
    marks = (Mark(3 * S, "block_start", 1), Mark(3 * S, "phase_start", name="decode"),
             Mark(5 * S - 1, "phase_end", name="decode"), Mark(5 * S, "block_end", 1))  # fmt: skip
    recording = VirtualMachine({"gpu": curve}, [sensor]).record(0, 8 * S + high_for_ns, marks)
    time_ns = np.arange(S // 2, 8 * S + high_for_ns, S)
    after_work = (time_ns > 5 * S) & (time_ns < 5 * S + high_for_ns)
    clock_hz = np.where((time_ns > 3 * S) & (time_ns < 5 * S), 1.755e9, np.where(after_work, after_work_hz, 0.345e9))
    return replace(recording, conditions=(States("gpu-0", "core_clock_hz", time_ns, clock_hz),))


@pytest.mark.parametrize("sensor", [GPU, POWER], ids=["counter", "power"])
def test_idle_at_the_clock_of_the_calls_is_preferred_to_deep_idle_and_that_is_said(sensor):
    report = analyze(clocked(after_work_hz=1.755e9, sensor=sensor))
    assert report.idle["gpu"].power_w == pytest.approx(110.0, rel=0.03)
    (note,) = [note for note in report.notes if "idle power" in note]
    assert "at the clock of the calls (1,755 MHz)" in note
    assert report.idle["gpu"].clock_hz == 1.755e9


def test_idle_that_was_seen_at_low_clocks_only_says_at_which():
    report = analyze(clocked(after_work_hz=0.345e9, high_for_ns=1))
    assert report.idle["gpu"].power_w == pytest.approx(60.0, rel=0.03)
    assert report.idle["gpu"].clock_hz == 0.345e9
    assert not any("idle power" in note for note in report.notes)


def test_idle_at_the_clock_of_the_calls_for_a_moment_only_is_not_enough_to_be_preferred():
    report = analyze(clocked(after_work_hz=1.755e9, high_for_ns=S // 4))
    assert report.idle["gpu"].power_w < 90.0
    (note,) = [note for note in report.notes if "idle power drifted" in note]
    assert "mostly at 345 MHz" in note


def test_a_device_that_keeps_one_clock_has_nothing_to_say():
    recording = clocked(after_work_hz=1.755e9)
    steady = replace(recording.conditions[0], value=np.full(len(recording.conditions[0]), 1.755e9))
    report = analyze(replace(recording, conditions=(steady,)))
    assert not any("clock of the calls" in note for note in report.notes)

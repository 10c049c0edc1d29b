"""The power curve that a Report carries: it adds up to the joules, keeps extremes, and is bounded in size."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattvlm.attribution import analyze
from wattvlm.attribution.tracks import MOST_STEPS
from wattvlm.clock import WallAnchor
from wattvlm.recording import Recording
from wattvlm.report import PowerTrack, Report
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark

MS = 1_000_000
S = 1_000_000_000
GPU = VirtualSensor("gpu-0/board", max_power_w=700.0, period_ns=20 * MS)
SECOND = replace(GPU, name="gpu-1/board", phase_ns=7 * MS)
PACKAGE = VirtualSensor("cpu-0/package", "cpu", period_ns=MS, resolution=61e-6)
WATTS = VirtualSensor("gpu-0/board", method="power", max_power_w=700.0, period_ns=20 * MS, window_ns=20 * MS)
MODEL = VirtualSensor("ram/model", "ram", "model", period_ns=100 * MS)
SCRIPT = Script(
    phases=(
        ScriptedPhase("preprocess", 100 * MS, {"gpu": 80.0, "cpu": 120.0, "ram": 20.0}),
        ScriptedPhase("prefill", 250 * MS, {"gpu": 640.0, "cpu": 100.0, "ram": 20.0}),
        ScriptedPhase("decode", 1000 * MS, {"gpu": 380.0, "cpu": 110.0, "ram": 20.0}),
    ),
    calls=2, idle_w={"gpu": 70.0, "cpu": 40.0, "ram": 20.0}, between_w={"gpu": 110.0, "cpu": 90.0, "ram": 20.0},
)  # fmt: skip


def recorded(*sensors: VirtualSensor) -> Recording:
    return simulate(SCRIPT, sensors, 5).recording


def track(report: Report, domain: str) -> PowerTrack:
    return next(each for each in report.power if each.domain == domain)


def joules(shown: PowerTrack) -> float:
    return float(np.sum(shown.power_w * np.diff(shown.edge_ns) / S))


@pytest.mark.parametrize("sensors", [(GPU,), (GPU, SECOND), (WATTS,)], ids=["counter", "two boards", "power"])
def test_the_power_over_time_adds_up_to_the_joules_of_the_block(sensors):
    report = analyze(recorded(*sensors))
    shown = track(report, "gpu")
    assert shown.edge_ns[0] == report.block.spans_ns[0][0]
    assert shown.edge_ns[-1] == report.block.spans_ns[0][1]
    assert joules(shown) == pytest.approx(report.block.energies["gpu"].energy.middle_j, rel=2e-3)


def test_a_prefill_stands_out_of_the_curve_at_the_time_of_its_span():
    report = analyze(recorded(GPU))
    shown = track(report, "gpu")
    for call in report.calls:
        ((start_ns, end_ns),) = next(part.spans_ns for part in call.phases if part.name == "prefill")
        inside = (shown.edge_ns[:-1] > start_ns) & (shown.edge_ns[1:] < end_ns)
        assert shown.power_w[inside] == pytest.approx(640.0, rel=0.1)


def test_a_counter_shows_its_ticks_and_a_free_running_one_or_a_model_shows_none():
    report = analyze(recorded(GPU, PACKAGE, MODEL))
    block_ns = report.block.duration_ns or 0.0
    assert len(track(report, "gpu").tick_ns) == pytest.approx(block_ns / (20 * MS), abs=3)
    assert [len(track(report, domain).tick_ns) for domain in ("cpu", "ram")] == [0, 0]
    assert [each.modelled for each in report.power] == [False, False, True]


@settings(max_examples=15, deadline=None)
@given(seconds=st.integers(1, 300), spike_ms=st.integers(500, 900))
def test_a_long_recording_is_thinned_and_no_spike_and_no_joule_is_lost(seconds, spike_ms):
    loads = {"gpu": PowerCurve([(0, 100.0), (spike_ms * MS, 650.0), ((spike_ms + 60) * MS, 100.0)])}
    marks = [Mark(0, "block_start", 1), Mark(seconds * S, "block_end", 1)]
    report = analyze(VirtualMachine(loads, [GPU]).record(0, seconds * S, marks))
    shown = track(report, "gpu")
    assert len(shown.power_w) <= MOST_STEPS
    assert len(shown.tick_ns) <= MOST_STEPS
    assert float(np.max(shown.most_w)) == pytest.approx(650.0, rel=0.05)
    assert np.all(shown.least_w <= shown.power_w)
    assert np.all(shown.power_w <= shown.most_w)
    covered_s = (shown.edge_ns[-1] - shown.edge_ns[0]) / S
    assert joules(shown) == pytest.approx(100.0 * covered_s + 550.0 * 0.06, rel=0.02)


def test_without_a_sensor_there_is_no_curve_and_not_one_of_zero_watts():
    assert analyze(recorded()).power == ()


def test_each_phase_of_a_call_knows_when_it_was_and_pooled_rows_do_not():
    simulation = simulate(SCRIPT, [GPU], 5)
    report = analyze(simulation.recording)
    starts = [mark.time_ns for mark in simulation.recording.marks if mark.kind == "phase_start"]
    assert [part.spans_ns[0][0] for call in report.calls for part in call.phases] == starts
    assert all(part.spans_ns == () for part in report.phases)
    assert [call.total.spans_ns[0][0] for call in report.calls] == [
        call.phases[0].spans_ns[0][0] for call in report.calls
    ]


def test_the_wall_clock_of_the_block_is_that_of_the_last_anchor_before_it():
    recording = replace(recorded(GPU), wall_anchors=(WallAnchor(1, 1000), WallAnchor(10**18, 5)))
    assert analyze(recording).wall_anchor == WallAnchor(1, 1000)
    assert analyze(replace(recording, wall_anchors=())).wall_anchor is None


def test_a_report_of_before_the_curves_is_still_read():
    plain = analyze(recorded(GPU)).to_dict()
    for name in ("power", "wall_anchor"):
        del plain[name]
    for part in (plain["block"], *(each for call in plain["calls"] for each in call["phases"])):
        del part["spans_ns"]
    report = Report.from_dict(plain)
    assert (report.power, report.wall_anchor, report.block.spans_ns) == ((), None, ())


def test_the_curves_survive_the_file():
    report = analyze(recorded(GPU, PACKAGE))
    assert Report.from_dict(report.to_dict()).to_dict() == report.to_dict()

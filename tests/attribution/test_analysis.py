"""From a Recording to a Report: calls, blocks, threads, and what happened where nothing was seen."""

from dataclasses import replace

import pytest

from wattvlm.attribution import analyze
from wattvlm.errors import NotResolved
from wattvlm.recording import Recording, SamplerCost
from wattvlm.report import PREPROCESS_UNSEEN
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark, TokenCounts

MS = 1_000_000
S = 1_000_000_000
GPU = VirtualSensor("gpu-0/board", max_power_w=700.0, period_ns=20 * MS)
PACKAGE = VirtualSensor("cpu-0/package", "cpu", period_ns=MS, resolution=61e-6)
PHASES = (
    ScriptedPhase("preprocess", 100 * MS, {"gpu": 80.0, "cpu": 120.0}),
    ScriptedPhase("vision_encode", 200 * MS, {"gpu": 310.0, "cpu": 100.0}),
    ScriptedPhase("prefill", 250 * MS, {"gpu": 640.0, "cpu": 100.0}),
    ScriptedPhase("decode", 1000 * MS, {"gpu": 380.0, "cpu": 110.0}),
)
SCRIPT = Script(
    phases=PHASES, calls=2, idle_w={"gpu": 70.0, "cpu": 40.0}, between_w={"gpu": 110.0, "cpu": 90.0}, images=1,
    tokens=TokenCounts(text_input=30, visual_input=400, output=41), decode_steps=40,
)  # fmt: skip


def played(marks, seconds=4.0, power_w=300.0, sensors=(GPU,)):
    """A machine at constant power under hand-written marks, of which times are given in ms."""
    marks = [replace(mark, time_ns=mark.time_ns * MS) for mark in marks]
    loads = {"gpu": PowerCurve([(0, power_w)]), "cpu": PowerCurve([(0, 100.0)])}
    return VirtualMachine(loads, sensors).record(0, round(seconds * S), marks)


def call_marks(call_id, start_ms, end_ms, *phases, lane=0, ended="returned"):
    marks = [Mark(start_ms, "call_start", call_id, "test", lane), Mark(end_ms, "call_end", call_id, text=ended)]
    for name, phase_start_ms, phase_end_ms in phases:
        marks.append(Mark(phase_start_ms, "phase_start", call_id, name, lane))
        marks.append(Mark(phase_end_ms, "phase_end", call_id, name, lane))
    return marks


def block(start_ms=500, end_ms=3500):
    return [Mark(start_ms, "block_start", 1, "label"), Mark(end_ms, "block_end", 1)]


def middle_j(part, domain="gpu"):
    return part.energies[domain].energy.mean_j


def test_times_and_counts_of_calls_come_with_their_joules():
    simulation = simulate(SCRIPT, [GPU, PACKAGE], 5)
    report = analyze(simulation.recording)
    assert len(report.calls) == 2
    assert [part.name for part in report.phases] == ["preprocess", "vision_encode", "prefill", "decode"]
    assert report.ttft_s == pytest.approx(0.1 + 0.002 * 2 + 0.2 + 0.25)
    assert report.tpot_s == pytest.approx(1.0 / 40)
    assert report.latency_s == pytest.approx(0.1 + 1.45 + 4 * 0.002)
    assert report.tokens.output == 82
    assert middle_j(report.phase("decode")) == pytest.approx(380.0, rel=0.02)
    assert middle_j(report.phase("decode"), "cpu") == pytest.approx(110.0, rel=0.02)
    assert report.total is not None
    assert report.total.energies["gpu"].ticks is not None
    assert report.total.energies["cpu"].ticks is None
    assert report.virtual


def test_a_recording_that_was_saved_gives_the_same_report_again(tmp_path):
    recording = simulate(SCRIPT, [GPU, PACKAGE, replace(GPU, name="gpu-1/board", denied=True)], 5).recording
    recording.save(tmp_path / "run.json.gz")
    again = analyze(Recording.load(tmp_path / "run.json.gz"))
    assert again.to_dict() == analyze(recording).to_dict()


def test_a_block_without_calls_has_joules_of_its_own():
    report = analyze(played(block(1000, 3000)))
    assert report.calls == ()
    assert report.phases == ()
    assert report.total is None
    assert middle_j(report.block) == pytest.approx(600.0, rel=0.01)
    assert middle_j(report.outside) == pytest.approx(600.0, rel=0.01)
    with pytest.raises(NotResolved, match="no call"):
        report.joules("call")


def test_a_recording_without_any_mark_is_one_block():
    report = analyze(played([]))
    assert report.block.duration_ns == 4 * S
    assert report.idle == {}


def test_an_empty_recording_gives_an_empty_report():
    report = analyze(Recording(0, 0))
    assert report.domains == ()
    assert report.block.duration_ns == 0


def test_a_call_that_was_killed_keeps_what_was_recorded():
    simulation = simulate(replace(SCRIPT, ended=""), [GPU], 5)
    report = analyze(simulation.recording)
    assert report.calls[1].ended == "not ended"
    assert "call 2 not ended" in report.interrupted
    assert middle_j(report.calls[1].phases[2]) == pytest.approx(160.0, rel=0.05)
    assert analyze(simulate(SCRIPT, [GPU], 5).recording).interrupted == ""


def test_a_call_that_raised_is_said():
    report = analyze(played([*block(), *call_marks(1, 1000, 2000, ended="raised KeyboardInterrupt")]))
    assert "raised KeyboardInterrupt" in report.interrupted
    assert middle_j(report.calls[0].total) == pytest.approx(300.0, rel=0.02)


def test_a_batch_is_several_requests_and_one_call():
    report = analyze(simulate(replace(SCRIPT, batch_size=4), [GPU], 5).recording)
    assert report.requests == 8
    assert report.total is not None
    assert report.joules_per_request.mean_j == pytest.approx(middle_j(report.total) / 4)


def test_a_preprocess_that_nobody_saw_is_before_the_block_and_not_zero():
    marks = [*block(), *call_marks(1, 1000, 2000, ("decode", 1100, 2000)), Mark(1500, "count", 1, "images", value=1)]
    report = analyze(played(marks))
    for parts in (report.phases, report.calls[0].phases):
        assert parts[0].name == "preprocess"
        assert parts[0].unseen == PREPROCESS_UNSEEN
        assert parts[0].duration_ns is None
        assert parts[0].energies == {}
    with pytest.raises(NotResolved, match="before the block"):
        report.joules("preprocess")


def test_a_text_only_call_has_no_row_for_vision():
    marks = [*block(), *call_marks(1, 1000, 2000, ("prefill", 1000, 1300), ("decode", 1300, 2000))]
    assert [part.name for part in analyze(played(marks)).phases] == ["prefill", "decode"]


def test_a_preprocess_before_the_block_is_not_this_blocks():
    marks = [
        Mark(200, "phase_start", 0, "preprocess"),
        Mark(400, "phase_end", 0, "preprocess"),
        *block(500, 3500),
        *call_marks(1, 1000, 2000),
        Mark(1500, "count", 1, "output", value=3),
    ]
    report = analyze(played(marks))
    assert report.phases[0].unseen == PREPROCESS_UNSEEN
    assert report.calls[0].duration_ns == 1000 * MS


def test_phases_of_ones_own_are_whole_spans_outside_of_calls():
    marks = [*block()]
    for start_ms in (800, 2500):
        marks += [Mark(start_ms, "phase_start", 0, "retrieval"), Mark(start_ms + 400, "phase_end", 0, "retrieval")]
    report = analyze(played(marks))
    (part,) = report.own_phases
    assert (part.name, part.calls, part.duration_ns) == ("retrieval", 2, 400 * MS)
    assert middle_j(part) == pytest.approx(120.0, rel=0.02)
    assert report.joules("retrieval").mean_j == middle_j(part)


def test_calls_in_several_threads_share_their_time_and_no_joule_is_lost():
    marks = [
        *block(),
        *call_marks(1, 1000, 2000, ("prefill", 1000, 1400), ("decode", 1400, 2000), lane=1),
        *call_marks(2, 1500, 2500, ("prefill", 1500, 1900), ("decode", 1900, 2500), lane=2),
    ]
    report = analyze(played(marks))
    first, second = (middle_j(call.total) for call in report.calls)
    assert first == pytest.approx(300.0 * (0.5 + 0.25), rel=0.02)
    assert first + second + middle_j(report.outside) == pytest.approx(middle_j(report.block))
    for call in report.calls:
        assert sum(middle_j(part) for part in (*call.phases, call.between)) == pytest.approx(middle_j(call.total))
        assert call.duration_ns == 1000 * MS
    assert any("shared: model" in note for note in report.notes)
    assert (
        report.calls[0].total.energies["gpu"].bounds_j[0] <= 225.0 <= report.calls[0].total.energies["gpu"].bounds_j[1]
    )


def test_gpu_joules_follow_the_devices_clock_and_cpu_joules_the_hosts():
    curve = PowerCurve([(0, 70.0), (1200 * MS, 600.0), (1600 * MS, 70.0)], before_w=70.0)
    marks = [*block(), *call_marks(1, 1000, 2000, ("prefill", 1000, 1050))]
    marks += [Mark(1200, "phase_start", 1, "prefill", device="cuda:0")]
    marks += [Mark(1600, "phase_end", 1, "prefill", device="cuda:0")]
    marks = [replace(mark, time_ns=mark.time_ns * MS) for mark in marks]
    machine = VirtualMachine({"gpu": curve, "cpu": PowerCurve([(0, 100.0)])}, [GPU, PACKAGE])
    prefill = analyze(machine.record(0, 4 * S, marks)).phase("prefill")
    assert middle_j(prefill) == pytest.approx(240.0, rel=0.05)
    assert middle_j(prefill, "cpu") == pytest.approx(5.0, rel=0.2)
    assert prefill.duration_ns == 50 * MS


def test_phases_that_overlap_within_a_call_are_counted_once():
    marks = [*block(), *call_marks(1, 1000, 2000, ("vision_encode", 1000, 1600), ("projector", 1500, 1600))]
    report = analyze(played(marks))
    assert middle_j(report.phase("vision_encode")) == pytest.approx(150.0, rel=0.03)
    assert middle_j(report.phase("projector")) == pytest.approx(30.0, rel=0.15)
    assert any("overlapped" in note for note in report.notes)


def test_a_phase_that_only_some_calls_have_is_a_mean_over_all_calls():
    marks = [*block(), *call_marks(1, 1000, 1500, ("vision_encode", 1000, 1400)), *call_marks(2, 2000, 2500)]
    report = analyze(played(marks))
    encode = report.phase("vision_encode")
    assert encode.calls == 1
    assert encode.duration_ns == 200 * MS
    assert middle_j(encode) == pytest.approx(60.0, rel=0.03)
    assert report.between is not None
    assert report.total is not None
    assert middle_j(encode) + middle_j(report.between) == pytest.approx(middle_j(report.total))


def test_idle_is_measured_outside_the_block_and_net_is_absent_where_there_is_none():
    seen = analyze(simulate(SCRIPT, [GPU, PACKAGE], 5).recording)
    assert seen.idle["gpu"].power_w == pytest.approx(70.0, rel=0.01)
    assert seen.idle["gpu"].interval_w[0] <= 70.0 <= seen.idle["gpu"].interval_w[1]
    assert seen.idle["cpu"].power_w == pytest.approx(40.0, rel=0.01)
    assert seen.idle["gpu"].seen_ns > 1.8 * S
    assert seen.joules("decode", above_idle=True).mean_j == pytest.approx(310.0, rel=0.02)
    unseen = analyze(simulate(replace(SCRIPT, quiet_ns=10 * MS), [GPU], 5).recording)
    assert unseen.idle == {}
    with pytest.raises(NotResolved, match="idle power"):
        unseen.joules("decode", above_idle=True)


def test_a_counter_gives_idle_power_to_the_sharpness_of_its_ticks():
    slow = replace(GPU, period_ns=100 * MS, phase_ns=37 * MS)
    idle = analyze(played(block(500, 3000), sensors=(slow,))).idle["gpu"]
    assert idle.seen_ns == pytest.approx(900 * MS + 400 * MS, abs=5 * MS)
    assert idle.interval_w[1] - idle.interval_w[0] < 3.0


def test_a_block_that_has_not_ended_lasts_until_now_and_is_no_idle():
    marks = [mark for mark in [*block(), *call_marks(1, 1000, 2000)] if mark.kind != "block_end"]
    report = analyze(played(marks))
    assert report.block.duration_ns == 3500 * MS
    assert report.label == "label"
    quiet_ms = report.idle["gpu"].seen_ns / MS
    assert quiet_ms < 500


def test_of_nested_blocks_the_outer_one_is_reported():
    marks = [*block(500, 3500), Mark(1000, "block_start", 2, "inner"), Mark(2000, "block_end", 2, "inner")]
    report = analyze(played(marks))
    assert report.label == "label"
    assert report.block.duration_ns == 3000 * MS


def test_calls_of_other_blocks_are_not_reported_and_are_no_idle():
    marks = [*block(2000, 3500), *call_marks(1, 500, 1500), *call_marks(2, 2500, 3000)]
    report = analyze(played(marks))
    assert [call.call_id for call in report.calls] == [2]
    assert report.idle["gpu"].seen_ns < 1500 * MS


def test_a_preprocess_inside_a_call_made_by_hand_is_not_counted_twice_in_the_time_to_the_first_token():
    marks = [*block()]
    for name, start_ms, end_ms in (("preprocess", 1000, 1200), ("prefill", 1200, 1500), ("decode", 1500, 2000)):
        marks += [Mark(start_ms, "phase_start", 0, name), Mark(end_ms, "phase_end", 0, name)]
    report = analyze(played(marks))
    assert report.ttft_s == pytest.approx(0.5)
    assert report.calls[0].duration_ns == 1000 * MS


def test_readings_that_end_before_the_block_does_are_told():
    machine = VirtualMachine({"gpu": PowerCurve([(0, 300.0)])}, [GPU])
    recording = machine.record(0, 3 * S, [replace(mark, time_ns=mark.time_ns * MS) for mark in block(500, 3500)])
    report = analyze(replace(recording, end_ns=4 * S))
    assert any("no reading in the" in note and "end" in note for note in report.notes)
    low_j, high_j = report.block.energies["gpu"].energy.interval_j
    assert low_j <= 900.0 <= high_j
    assert high_j - low_j > 0.5 * 600


def test_what_sampling_took_is_passed_on():
    recording = replace(played(block()), sampler_cost=SamplerCost(20 * MS, 4 * S))
    assert analyze(recording).overhead.sampler_core_fraction == pytest.approx(0.005)


def test_sensors_are_described_as_they_were_seen():
    use = analyze(simulate(SCRIPT, [GPU, PACKAGE], 5).recording).channels
    assert use[0].observed_period_ns == pytest.approx(20 * MS, rel=0.05)
    assert use[0].ticks == use[0].readings - 1
    assert use[1].ticks is None
    assert use[1].observed_period_ns is None

"""Scripted sessions: marks as a program would write them, and the exact joules of every part."""

from dataclasses import replace

import pytest

from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import TokenCounts

MS = 1_000_000
SCRIPT = Script(
    phases=(
        ScriptedPhase("preprocess", 50 * MS, {"gpu": 80.0}),
        ScriptedPhase("prefill", 100 * MS, {"gpu": 600.0}),
        ScriptedPhase("decode", 500 * MS, {"gpu": 300.0}),
    ),
    calls=3, tokens=TokenCounts(text_input=3, visual_input=16, output=5), images=2, decode_steps=4, batch_size=2,
)  # fmt: skip
SENSOR = VirtualSensor("gpu-0/board")


def test_the_truth_of_each_part_is_power_times_time_and_adds_up():
    simulation = simulate(SCRIPT, [SENSOR])
    for call in simulation.truth_j["gpu"]:
        assert call["prefill"] == pytest.approx(60.0)
        assert call["decode"] == pytest.approx(150.0)
        parts = sum(joules for name, joules in call.items() if name != "call")
        assert parts == pytest.approx(call["call"])
    assert simulation.block_j["gpu"] > sum(call["call"] for call in simulation.truth_j["gpu"])


def test_what_a_phase_causes_lasts_from_when_power_has_risen_until_it_has_fallen():
    late = simulate(replace(SCRIPT, rise_ns=4 * MS, fall_ns=2 * MS, gap_ns=60 * MS), [SENSOR])
    for caused, between_marks in zip(late.caused_j["gpu"], late.truth_j["gpu"]):
        assert caused["prefill"] == pytest.approx(600.0 * (0.1 - 0.004 + 0.002), rel=1e-4)
        assert between_marks["prefill"] < caused["prefill"]
        assert caused["call"] == pytest.approx(sum(caused.values()) - caused["call"])
    sharp = simulate(SCRIPT, [SENSOR])
    for caused, between_marks in zip(sharp.caused_j["gpu"], sharp.truth_j["gpu"]):
        assert caused == pytest.approx(between_marks)


def test_ramps_that_rise_as_they_fall_move_joules_and_lose_none():
    late = simulate(replace(SCRIPT, rise_ns=3 * MS, fall_ns=3 * MS, calls=1), [SENSOR])
    sharp = simulate(replace(SCRIPT, calls=1), [SENSOR])
    assert late.caused_j["gpu"][0] == pytest.approx(sharp.caused_j["gpu"][0], rel=1e-4)
    whole = sharp.recording.start_ns, sharp.recording.end_ns
    assert late.curves["gpu"].energy_j(*whole) == pytest.approx(sharp.curves["gpu"].energy_j(*whole), rel=1e-6)


def test_marks_make_up_the_calls_of_the_script():
    calls = simulate(SCRIPT, [SENSOR]).recording.trace.calls
    assert [[phase.name for phase in call.phases] for call in calls] == [["preprocess", "prefill", "decode"]] * 3
    call = calls[0]
    assert (call.tokens.output, call.images, call.decode_steps, call.batch_size) == (5, 2, 4, 2)
    assert call.phases[0].spans[0].end_ns == call.start_ns
    assert call.first_token_ns == call.phases[1].spans[0].end_ns


def test_the_same_seed_gives_the_same_session_and_another_one_another():
    one, two, other = (simulate(SCRIPT, [SENSOR], seed).recording.to_dict() for seed in (1, 1, 2))
    assert one == two
    assert one["marks"] != other["marks"]


def test_powers_vary_from_call_to_call_as_they_are_told():
    varied = simulate(replace(SCRIPT, calls=200, power_variation_fraction=0.1), [SENSOR])
    joules = [call["prefill"] for call in varied.truth_j["gpu"]]
    mean_j = sum(joules) / len(joules)
    std_j = (sum((each - mean_j) ** 2 for each in joules) / len(joules)) ** 0.5
    assert mean_j == pytest.approx(60.0, rel=0.03)
    assert std_j == pytest.approx(6.0, rel=0.2)


def test_a_process_that_is_killed_writes_no_mark_after_it():
    recording = simulate(replace(SCRIPT, ended=""), [SENSOR]).recording
    assert recording.marks[-1].kind == "phase_start"
    assert recording.trace.calls[-1].ended == "not ended"
    assert recording.end_ns > recording.marks[-1].time_ns

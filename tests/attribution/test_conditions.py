"""What a report says of throttling, limits, clocks and other processes: what is so, and nothing on a normal run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wattvlm.attribution import analyze
from wattvlm.recording import States
from wattvlm.report import Report
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
S = 1_000 * MS
OWN, OTHER = 100, 1234


@pytest.fixture(scope="module")
def simulation():
    phases = (ScriptedPhase("prefill", 300 * MS, {"gpu": 500.0}), ScriptedPhase("decode", 1500 * MS, {"gpu": 300.0}))
    sensor = VirtualSensor("gpu-0/board", max_power_w=700.0)
    return simulate(Script(phases=phases, calls=8), [sensor], 3)


def states(recording, quantity, value, pid=0, process="", is_own=None, every_ns=S):
    """The condition once a second; value: a number, or a function of (time in ns)."""
    time_ns = np.arange(recording.start_ns, recording.end_ns, every_ns, dtype=np.int64)
    values = np.array([value(int(each)) if callable(value) else value for each in time_ns], dtype=np.float64)
    return States("gpu-0", quantity, time_ns, values, pid, process, is_own)


def normal(recording):
    """A board at work: full clocks in calls, low ones between them, its own process alone on it."""
    calls = recording.trace.calls

    def in_call(time_ns):
        return any(call.start_ns <= time_ns < call.end_ns for call in calls)

    return (
        states(recording, "core_clock_hz", lambda time_ns: 1.755e9 if in_call(time_ns) else 0.345e9),
        states(recording, "power_state", lambda time_ns: 0.0 if in_call(time_ns) else 8.0),
        states(recording, "temperature_celsius", lambda time_ns: 40 + (time_ns - recording.start_ns) / S),
        states(recording, "power_limit_w", 350.0),
        states(recording, "busy_fraction", lambda time_ns: float(in_call(time_ns))),
        *(states(recording, f"slowed_by_{why}", 0.0) for why in ("power", "heat", "hardware")),
        states(recording, "process", 1.0, OWN, "python", True),
        states(recording, "busy_fraction", lambda time_ns: float(in_call(time_ns)), OWN, "python", True),
    )


def notes(simulation, *more, without=()):
    recording = simulation.recording
    kept = [each for each in normal(recording) if each.quantity not in without]
    fresh = {(each.quantity, each.pid) for each in more}
    conditions = [each for each in kept if (each.quantity, each.pid) not in fresh]
    report = analyze(replace(recording, conditions=(*conditions, *more)))
    return [note for note in report.notes if note.startswith("gpu-0: ")]


def test_a_normal_run_has_nothing_to_say(simulation):
    assert notes(simulation) == []


def test_a_recording_without_conditions_has_nothing_to_say(simulation):
    assert [note for note in analyze(simulation.recording).notes if note.startswith("gpu-0: ")] == []


def test_the_joules_are_the_same_whatever_the_conditions(simulation):
    recording = simulation.recording
    hot = replace(recording, conditions=(states(recording, "slowed_by_heat", 1.0),))
    plain, told = analyze(recording).block.energies["gpu"].energy, analyze(hot).block.energies["gpu"].energy
    assert (told.mean_j, told.interval_j) == (plain.mean_j, plain.interval_j)


@pytest.mark.parametrize(("why", "word"), [("heat", "heat"), ("hardware", "protection"), ("power", "350 W")])
def test_lowered_clocks_are_told_with_the_calls_they_touched(simulation, why, word):
    recording = simulation.recording
    second, fourth = recording.trace.calls[1], recording.trace.calls[3]
    slowed = states(recording, f"slowed_by_{why}", lambda time_ns: second.start_ns <= time_ns < fourth.end_ns)
    (note,) = notes(simulation, slowed)
    assert word in note
    assert "during 3 of 8 calls" in note or "during 4 of 8 calls" in note
    assert "not comparable" in note
    assert "Cure:" in note


def test_clocks_that_were_low_before_the_first_call_are_no_news(simulation):
    recording = simulation.recording
    first_ns = recording.trace.calls[0].start_ns - 3 * S
    assert notes(simulation, states(recording, "slowed_by_heat", lambda time_ns: time_ns < first_ns)) == []


def test_a_power_cap_for_a_moment_is_no_news(simulation):
    recording = simulation.recording
    moment_ns = recording.trace.calls[2].start_ns
    capped = states(recording, "slowed_by_power", lambda time_ns: moment_ns <= time_ns < moment_ns + S)
    assert notes(simulation, capped) == []


def test_a_limit_that_is_changed_in_the_block_is_told_with_both_values(simulation):
    recording = simulation.recording
    middle_ns = (recording.start_ns + recording.end_ns) // 2
    limit = states(recording, "power_limit_w", lambda time_ns: 350.0 if time_ns < middle_ns else 250.0)
    (note,) = notes(simulation, limit)
    assert "from 350 W to 250 W" in note


@pytest.mark.parametrize("later_hz", [1.2e9, 1.7e9])
def test_a_clock_that_drifts_over_the_calls_is_told_and_a_small_change_is_not(simulation, later_hz):
    recording = simulation.recording
    middle_ns = (recording.trace.calls[0].start_ns + recording.trace.calls[-1].end_ns) // 2
    clock = states(recording, "core_clock_hz", lambda time_ns: 1.755e9 if time_ns < middle_ns else later_hz)
    found = notes(simulation, clock)
    assert len(found) == (later_hz == 1.2e9)
    assert all("1,755 MHz" in note and "1,200 MHz" in note and "-32%" in note for note in found)


# who else


def test_another_process_on_the_same_gpu_is_told_with_its_part_of_the_time(simulation):
    recording = simulation.recording
    (note,) = notes(
        simulation,
        states(recording, "process", 1.0, OTHER, "train", False),
        states(recording, "busy_fraction", 0.4, OTHER, "train", False),
    )
    assert "pid 1234 train, 40% of it" in note
    assert "too high for this program" in note


def test_a_process_that_only_keeps_memory_there_is_no_news(simulation):
    assert notes(simulation, states(simulation.recording, "process", 1.0, OTHER, "jupyter", False)) == []


def test_where_the_driver_tells_no_shares_another_process_is_told_all_the_same(simulation):
    other = states(simulation.recording, "process", 1.0, OTHER, "train", False)
    (note,) = notes(simulation, other, without=("busy_fraction",))
    assert "pid 1234 train" in note


def test_a_worker_that_the_program_started_is_no_stranger(simulation):
    recording = simulation.recording
    worker = (states(recording, "process", 1.0, 101, "python", True),
              states(recording, "busy_fraction", 0.5, 101, "python", True))  # fmt: skip
    assert notes(simulation, *worker) == []


def test_a_gpu_that_only_others_used_is_told_as_theirs(simulation):
    recording = simulation.recording
    other = states(recording, "process", 1.0, OTHER, "vllm", False)
    kept = tuple(each for each in normal(recording) if not each.pid)
    report = analyze(replace(recording, conditions=(*kept, other)))
    assert any("not this program used it" in note and "pid 1234 vllm" in note for note in report.notes)


@pytest.mark.parametrize("others", [1, 2])
def test_in_a_container_one_process_that_cannot_be_told_is_taken_for_the_program_and_two_are_not(simulation, others):
    recording = simulation.recording
    kept = tuple(each for each in normal(recording) if not each.pid)
    unknown = [states(recording, "process", 1.0, 7000 + number) for number in range(others)]
    report = analyze(replace(recording, conditions=(*kept, *unknown)))
    untold = [note for note in report.notes if "cannot be told" in note]
    assert len(untold) == (others > 1)
    assert all("2 processes" in note and "--pid=host" in note for note in untold)


def test_a_gpu_shared_by_a_server_says_that_single_clients_are_not_measured(simulation):
    server = states(simulation.recording, "shared_by_server", 1.0, 55, "nvidia-cuda-mps", False)
    (note,) = notes(simulation, server)
    assert "MPS" in note


def test_two_sampling_processes_that_saw_one_device_are_one_story(simulation):
    recording = simulation.recording
    middle_ns = (recording.start_ns + recording.end_ns) // 2
    limit = states(recording, "power_limit_w", lambda time_ns: 350.0 if time_ns < middle_ns else 250.0)
    halves = limit.between(0, middle_ns - 1), limit.between(middle_ns, recording.end_ns)
    report = analyze(replace(recording, conditions=halves))
    assert sum("changed during the block" in note for note in report.notes) == 1
    (seen,) = report.conditions
    assert (seen.quantity, seen.least, seen.most) == ("power_limit_w", 250.0, 350.0)


def test_what_was_seen_is_in_the_report_and_in_its_file(simulation, tmp_path):
    recording = simulation.recording
    report = analyze(replace(recording, conditions=normal(recording)))
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json").conditions == report.conditions
    heat = next(seen for seen in report.conditions if seen.quantity == "temperature_celsius")
    assert 40 <= heat.least < heat.mean < heat.most

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tests.sampling.programs import ROOT, printed
from wattvlm.sampling.journal import segments
from wattvlm.sampling.needs import read_needs
from wattvlm.sampling.sampler import Sampler, shared_sampler
from wattvlm.sensing import ProbeSource
from wattvlm.trace import Mark

pytestmark = pytest.mark.alone

NS = 1_000_000_000


def source(probe, **arguments):
    return ProbeSource(f"tests.sampling.tiny_probes:{probe}", arguments)


@pytest.fixture
def start():
    """Starts samplers that end with the test."""
    running = []

    def started(*sources):
        running.append(Sampler.start(sources))
        assert running[-1].problem == ""
        return running[-1]

    yield started
    for sampler in running:
        sampler.stop()


def metered(sampler, seconds, meter_id=1, inside=lambda: None):
    """The recording of a block of so many seconds."""
    start_ns = time.monotonic_ns()
    sampler.mark(Mark(start_ns, "block_start", meter_id))
    inside()
    time.sleep(seconds)
    end_ns = time.monotonic_ns()
    sampler.mark(Mark(end_ns, "block_end", meter_id))
    sampler.wait_past(end_ns, NS)
    return sampler.recording(start_ns, end_ns, meter_id=meter_id)


def test_a_constant_power_is_found_again_in_the_readings(start):
    recording = metered(start(source("Counter", power_w=100.0, period_ms=20)), 0.8)
    readings = recording.readings["gpu-0/board"]
    seconds = (readings.time_ns[-1] - readings.time_ns[0]) / NS
    assert (readings.value[-1] - readings.value[0]) / seconds == pytest.approx(100, rel=0.1)


def test_each_bracket_of_a_real_run_holds_its_tick(start):
    recording = metered(start(source("Counter", power_w=100.0, period_ms=20, call_us=100)), 1.0)
    readings = recording.readings["gpu-0/board"]
    changed = np.flatnonzero(np.diff(readings.value)) + 1
    ticks_ns = np.round(readings.value[changed] / 100.0 * 50) * (NS // 50)
    assert len(changed) > 20
    assert np.all(readings.unchanged_at_ns[changed] <= ticks_ns)
    assert np.all(ticks_ns <= readings.time_ns[changed])


def test_the_recording_reaches_past_the_end_of_the_block(start):
    recording = metered(start(source("Counter"), source("Power")), 0.3)
    block_end_ns = recording.marks[-1].time_ns
    assert {name for name, own in recording.readings.items() if own.time_ns[-1] > block_end_ns} == set(
        recording.readings
    )
    assert recording.end_ns > block_end_ns


def test_a_recording_says_what_it_was_made_with(start):
    recording = metered(start(source("Counter")), 0.2)
    assert recording.virtual
    assert recording.host.facts["driver"] == "1.2"
    assert recording.host.cpu_threads
    assert [absence.what for absence in recording.absent] == ["no counter of the CPU"]
    assert len(recording.wall_anchors) >= 2
    assert recording.channels[0].source == {}
    assert recording.notes == ()
    assert [gap.why for gap in recording.gaps if "to start" not in gap.why] == []


def test_what_sampling_took_is_in_the_recording(start):
    recording = metered(start(source("Counter")), 1.5)
    assert recording.sampler_cost is not None
    assert 0 < recording.sampler_cost.cpu_ns < recording.sampler_cost.wall_ns


def test_a_recording_can_be_saved_and_loaded(start, tmp_path):
    recording = metered(start(source("Counter"), source("Power")), 0.3)
    recording.save(tmp_path / "run.json.gz")
    assert type(recording).load(tmp_path / "run.json.gz").to_dict() == recording.to_dict()


def test_a_probe_that_fails_is_an_absence_and_nothing_else(start):
    recording = metered(
        start(
            source("Broken", how="out of luck"), source("Broken", how="exit"), source("Broken", how="nonsense"),
            source("Unavailable"), source("Missing"), ProbeSource("no_such_module:PROBE"),
            source("Counter", unknown_argument=1), source("Power"),
        ),
        0.3,
    )  # fmt: skip
    what = " | ".join(absence.what for absence in recording.absent)
    for reason in ("out of luck", "SystemExit", "no NVIDIA driver", "Missing", "no_such_module", "unknown_argument"):
        assert reason in what
    assert len(recording.absent) == 7
    assert all(absence.effect and absence.remedy for absence in recording.absent)
    assert [absence.domain for absence in recording.absent if absence.what == "no NVIDIA driver"] == ["gpu"]
    assert len(recording.readings["cpu-0/package"]) > 5


def test_a_slow_driver_holds_up_neither_the_program_nor_the_other_sensors(start):
    sampler = start(source("Counter", open_s=1.0), source("Power"))
    early = metered(sampler, 0.1)
    assert [channel.name for channel in early.channels] == ["cpu-0/package"]
    assert "still starting" in early.absent[0].what
    late = metered(sampler, 1.4, meter_id=2)
    assert len(late.readings["gpu-0/board"]) > 2
    gaps = [gap for gap in late.gaps if gap.channel == "gpu-0/board"]
    assert [gap.from_ns for gap in gaps] == [late.marks[0].time_ns]
    assert "to start" in gaps[0].why
    assert late.readings["gpu-0/board"].time_ns[0] >= gaps[0].to_ns
    assert len(late.readings["cpu-0/package"]) > 40


def test_a_sensor_that_is_lost_is_a_gap_to_the_end_and_a_note(start):
    recording = metered(start(source("Counter", lost_after_s=0.3), source("Power")), 0.8)
    (gap,) = (each for each in recording.gaps if "to start" not in each.why)
    assert (gap.channel, gap.to_ns) == ("gpu-0/board", recording.end_ns)
    assert "the GPU fell off the bus" in gap.why
    assert any("gpu-0/board was lost" in note for note in recording.notes)
    assert len(recording.readings["cpu-0/package"]) > 20


def test_reads_that_fail_for_a_while_are_a_gap(start):
    recording = metered(start(source("Counter", retries_from_s=0.3, retries_until_s=0.6)), 1.2)
    (gap,) = (each for each in recording.gaps if "to start" not in each.why)
    assert gap.why == "the driver was busy"
    assert 0.25 * NS < gap.to_ns - gap.from_ns < 1.1 * NS
    assert recording.readings["gpu-0/board"].time_ns[-1] > gap.to_ns


def test_a_counter_that_stands_still_is_known_to_stand_still(start):
    sampler = start(source("Counter", stands_after_s=0.2))
    time.sleep(0.4)
    recording = metered(sampler, 2.2)
    readings = recording.readings["gpu-0/board"].between(recording.marks[0].time_ns, recording.marks[-1].time_ns)
    assert len(set(readings.value.tolist())) == 1
    assert len(readings) >= 2


def test_two_probes_of_one_name_are_not_added_up(start):
    recording = metered(start(source("Power"), source("Power")), 0.3)
    assert [channel.name for channel in recording.channels] == ["cpu-0/package"]
    assert any("given twice" in note for note in recording.notes)


def test_a_meter_gets_its_own_blocks_and_the_calls_that_began_in_it(start):
    sampler = start(source("Power"))

    def call(call_id):
        now_ns = time.monotonic_ns()
        sampler.mark(Mark(now_ns, "call_start", call_id, "transformers"))
        sampler.mark(Mark(now_ns + 1, "phase_start", call_id, "prefill", device="cuda:0"))
        sampler.mark(Mark(now_ns + 2, "phase_end", call_id, "prefill", device="cuda:0"))
        sampler.mark(Mark(now_ns + 3, "call_end", call_id, text="returned"))

    call(10)
    inner = {}

    def nested():
        call(11)
        inner["recording"] = metered(sampler, 0.05, meter_id=2, inside=lambda: call(12))

    outer = metered(sampler, 0.05, meter_id=1, inside=nested)
    call(13)
    assert {mark.call_id for mark in outer.marks if mark.kind == "call_start"} == {11, 12}
    assert {mark.call_id for mark in inner["recording"].marks if mark.kind == "call_start"} == {12}
    assert [mark.call_id for mark in outer.marks if mark.kind == "block_start"] == [1]
    assert [block.meter_id for block in inner["recording"].trace.blocks] == [2]
    assert len(outer.trace.calls) == 2


def test_boundaries_that_are_written_after_the_block_still_belong_to_their_call(start):
    sampler = start(source("Power"))
    start_ns = time.monotonic_ns()
    sampler.mark(Mark(start_ns, "block_start", 1))
    sampler.mark(Mark(start_ns + 5, "call_start", 7))
    end_ns = time.monotonic_ns()
    sampler.mark(Mark(end_ns, "block_end", 1))
    sampler.mark(Mark(start_ns + 6, "phase_start", 7, "prefill", device="cuda:0"))
    sampler.mark(Mark(end_ns + 10, "call_end", 7))
    kinds = [mark.kind for mark in sampler.recording(start_ns, end_ns, meter_id=1).marks]
    assert sorted(kinds) == ["block_end", "block_start", "call_end", "call_start", "phase_start"]


def test_marks_of_many_threads_are_all_there(start):
    sampler = start(source("Power"))

    def work(lane):
        for _ in range(200):
            sampler.mark(Mark(time.monotonic_ns(), "note", lane=lane, text=f"thread {lane}" * 30))

    def inside():
        threads = [threading.Thread(target=work, args=(lane,)) for lane in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    recording = metered(sampler, 0.0, inside=inside)
    notes = [mark for mark in recording.marks if mark.kind == "note"]
    assert len(notes) == 800
    assert all(mark.text == f"thread {mark.lane}" * 30 for mark in notes)


def test_readings_and_marks_are_kept_until_their_meter_is_forgotten(start):
    sampler = start(source("Power"))
    long_text = "x" * 100_000
    metered(sampler, 0.0, meter_id=1, inside=lambda: [sampler.mark(Mark(1, "note", text=long_text)) for _ in range(50)])
    metered(sampler, 0.0, meter_id=2)
    needs = read_needs(sampler.folder)
    assert (needs.open_blocks, needs.kept_blocks) == (0, 2)
    assert len(segments(sampler.folder, "marks")) == 2
    sampler.forget(1)
    assert read_needs(sampler.folder).kept_blocks == 1
    assert len(segments(sampler.folder, "marks")) == 1
    sampler.forget(2)
    sampler.forget(3)
    assert not read_needs(sampler.folder).is_kept


def test_one_sampler_serves_every_meter_of_a_process():
    sources = [source("Power")]
    first = shared_sampler(sources)
    assert shared_sampler([source("Power")]) is first
    assert shared_sampler([source("Power", power_w=7.0)]) is not first


def test_waiting_for_a_reading_ends_at_the_time_out(start):
    sampler = start(source("Power"))
    assert not sampler.wait_past(time.monotonic_ns() + 60 * NS, NS // 20)
    assert sampler.wait_past(time.monotonic_ns(), 2 * NS)


def test_a_stopped_sampler_still_takes_marks_and_answers():
    sampler = Sampler.start([source("Power")])
    sampler.stop()
    sampler.stop()
    sampler.mark(Mark(5, "note", text="late"))
    recording = sampler.recording(0, 10)
    assert [mark.text for mark in recording.marks] == ["late"]
    assert "stopped" in recording.absent[0].what


def test_a_program_without_an_interpreter_to_start_runs_on_and_is_told_why(monkeypatch):
    for executable in (None, "/no/such/python"):
        monkeypatch.setattr(sys, "executable", executable)
        sampler = Sampler.start([source("Power")])
        assert "could not be started" in sampler.problem
        recording = metered(sampler, 0.0)
        assert recording.absent[0].what == sampler.problem
        assert [mark.kind for mark in recording.marks] == ["block_start", "block_end"]


def test_arguments_that_are_no_data_are_a_problem_not_an_exception():
    sampler = Sampler.start([source("Power", power_w=object())])
    assert "JSON" in sampler.problem


def test_a_mark_that_cannot_be_written_is_kept_and_raises_nothing(start):
    sampler = start(source("Power"))
    start_ns = time.monotonic_ns()
    sampler.mark(Mark(start_ns, "note", 2**80, text="too large a number for a record"))
    recording = sampler.recording(start_ns - 1, time.monotonic_ns())
    assert "1 marks could not be written" in recording.notes[0]


def test_a_full_disk_loses_no_mark_of_the_running_program():
    lines = printed("""
import resource
sampler = Sampler.start(COUNTER)
start = time.monotonic_ns()
sampler.mark(Mark(start, "block_start", 1))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
for number in range(20):
    sampler.mark(Mark(time.monotonic_ns(), "note", text=str(number)))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
recording = sampler.recording(start, time.monotonic_ns(), meter_id=1)
print([mark.text for mark in recording.marks if mark.kind == "note"] == [str(n) for n in range(20)])
print(recording.notes[0])
""")
    assert lines[0] == "True"
    assert "20 marks could not be written to disk" in lines[1]


def test_what_the_measured_program_imports_for_it_is_light():
    program = "import sys; import wattvlm.sampling.sampler; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    assert not loaded & {"numpy", "torch", "psutil", "rich", "pynvml", "importlib.metadata", "multiprocessing"}

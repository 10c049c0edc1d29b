from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.sampling.programs import comes_true, end, ends, is_running, printed, started
from wattvlm.sampling.recovery import recover, unfinished_runs
from wattvlm.sampling.sampler import Sampler
from wattvlm.sensing import ProbeSource
from wattvlm.trace import Mark

pytestmark = pytest.mark.alone

NS = 1_000_000_000
COUNTER = [ProbeSource("tests.sampling.tiny_probes:Counter")]


def test_a_killed_program_loses_no_mark_and_no_reading_and_its_sampler_ends_by_itself():
    program = started("""
sampler = Sampler.start(COUNTER)
print(sampler.folder, sampler.child_pid)
sampler.mark(Mark(time.monotonic_ns(), "block_start", 1, "killed"))
number = 0
while True:
    sampler.mark(Mark(time.monotonic_ns(), "note", text=f"{number} " * (1 + number % 90)))
    number += 1
    if number % 1000 == 0:
        time.sleep(0.05)
        print(number)
""")
    assert program.stdout is not None
    folder, sampler_pid = program.stdout.readline().split()
    marked = 0
    for _ in range(12):
        marked = int(program.stdout.readline())
    assert unfinished_runs() == []
    end(program)
    assert ends(int(sampler_pid))
    assert unfinished_runs() == [Path(folder)]
    recording = recover(folder)
    notes = [mark.text for mark in recording.marks if mark.kind == "note"]
    assert len(notes) >= marked
    assert notes == [f"{number} " * (1 + number % 90) for number in range(len(notes))]
    assert recording.trace.blocks[0].label == "killed"
    values = recording.readings["gpu-0/board"].value
    assert len(values) > 10
    assert "killed before it ended" in recording.notes[0]
    shutil.rmtree(folder)


def test_a_killed_sampler_keeps_what_it_recorded_and_the_next_meter_has_a_new_one():
    sampler = Sampler.start(COUNTER)
    start_ns = time.monotonic_ns()
    sampler.mark(Mark(start_ns, "block_start", 1))
    time.sleep(0.5)
    assert sampler.child_pid is not None
    os.kill(sampler.child_pid, signal.SIGKILL)
    killed_ns = time.monotonic_ns()
    time.sleep(0.2)
    end_ns = time.monotonic_ns()
    sampler.mark(Mark(end_ns, "block_end", 1))
    assert not sampler.wait_past(end_ns, NS)
    recording = sampler.recording(start_ns, end_ns, meter_id=1)
    assert "killed by signal 9" in recording.notes[0]
    assert len(recording.readings["gpu-0/board"]) > 5
    gap = recording.gaps[-1]  # on a busy machine the sensor's late start is one too
    assert gap.from_ns <= killed_ns
    assert gap.to_ns >= end_ns
    sampler.mark(Mark(time.monotonic_ns(), "block_start", 2))
    time.sleep(0.3)
    both = sampler.recording(start_ns, time.monotonic_ns())
    assert [channel.name for channel in both.channels] == ["gpu-0/board"]
    readings = both.readings["gpu-0/board"]
    assert readings.time_ns[-1] > end_ns
    assert (readings.time_ns[1:] > readings.time_ns[:-1]).all()
    dead, starting = both.gaps[-2:]
    assert dead.from_ns <= killed_ns < end_ns < dead.to_ns == starting.from_ns
    assert "to start" in starting.why
    sampler.stop()


def test_a_probe_that_takes_the_whole_sampling_process_down_does_not_take_the_program():
    sampler = Sampler.start([*COUNTER, ProbeSource("tests.sampling.tiny_probes:Broken", {"how": "crash"})])
    now_ns = time.monotonic_ns()
    sampler.mark(Mark(now_ns, "note", text="still here"))
    assert comes_true(lambda: not sampler.is_alive)
    recording = sampler.recording(now_ns - 1, time.monotonic_ns())
    assert [mark.text for mark in recording.marks] == ["still here"]
    assert "killed by signal 6" in recording.notes[0]
    sampler.stop()


def test_a_sampling_process_that_ended_for_want_of_a_meter_is_followed_by_another():
    sampler = Sampler.start(COUNTER)
    assert sampler.folder is not None
    (sampler.folder / "closing-1").touch()
    start_ns = time.monotonic_ns()
    sampler.mark(Mark(start_ns, "block_start", 1))
    assert sampler.is_alive
    time.sleep(0.3)
    recording = sampler.recording(start_ns, time.monotonic_ns(), meter_id=1)
    assert recording.notes == ()
    assert recording.readings["gpu-0/board"].time_ns[-1] > start_ns + NS // 10
    sampler.stop()


def test_the_last_words_of_a_sampling_process_are_in_the_note():
    sampler = Sampler.start(COUNTER)
    assert sampler.folder is not None
    assert sampler.child_pid is not None
    (sampler.folder / "errors-1").write_text("Traceback\n  ...\nMemoryError: out of it\n")
    os.kill(sampler.child_pid, signal.SIGKILL)
    time.sleep(0.1)
    note = sampler.recording(0, time.monotonic_ns()).notes[0]
    assert "killed by signal 9 (MemoryError: out of it)" in note
    sampler.stop()


def test_ctrl_c_in_the_terminal_reaches_the_program_and_not_the_sampler():
    program = started(
        """
sampler = Sampler.start(COUNTER)
print("ready")
start = time.monotonic_ns()
try:
    time.sleep(30)
except KeyboardInterrupt:
    pass
time.sleep(0.3)
recording = sampler.recording(start, time.monotonic_ns())
gaps = [gap.why for gap in recording.gaps if "to start" not in gap.why]
print(sampler.is_alive, gaps, len(recording.readings["gpu-0/board"]) > 5)
""",
        own_group=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.2)
    os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert (out, err) == ("True [] True\n", "")


def test_a_program_that_ends_takes_its_journals_along():
    (folder,) = printed("sampler = shared_sampler(COUNTER)\nprint(sampler.folder)")
    assert not Path(folder).exists()


def test_a_program_that_ends_by_an_exception_takes_its_journals_along():
    program = started("sampler = shared_sampler(COUNTER)\nprint(sampler.folder)\nraise RuntimeError('of the user')")
    out, err = program.communicate(timeout=30)
    assert "of the user" in err
    assert not Path(out.strip()).exists()


def test_a_forked_worker_leaves_its_parents_sampler_alone_and_opens_its_own():
    lines = printed("""
sampler = shared_sampler(COUNTER)
start = time.monotonic_ns()
sampler.mark(Mark(start, "block_start", 1))
worker = os.fork()
if worker == 0:
    sampler.mark(Mark(time.monotonic_ns(), "note", text="from the worker"))
    own = shared_sampler(COUNTER)
    print(own is not sampler, own.folder != sampler.folder, own.is_alive)
    sampler.stop()
    sys.exit(0)  # runs atexit, as a careless worker does
os.waitpid(worker, 0)
time.sleep(0.2)
sampler.mark(Mark(time.monotonic_ns(), "note", text="from the parent"))
recording = sampler.recording(start, time.monotonic_ns(), meter_id=1)
gaps = [gap.why for gap in recording.gaps if "to start" not in gap.why]
print(sampler.is_alive, sampler.folder.exists(), gaps)
print([mark.text for mark in recording.marks if mark.kind == "note"])
""")
    assert lines == ["True True True", "True True []", "['from the parent']"]


def test_workers_that_outlive_the_program_keep_no_sampler_alive():
    program = started("""
sampler = shared_sampler(COUNTER)
worker = os.fork()
if worker == 0:
    time.sleep(60)
    os._exit(0)
print(sampler.folder, sampler.child_pid, worker)
time.sleep(60)
""")
    assert program.stdout is not None
    folder, sampler_pid, worker = program.stdout.readline().split()
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    assert ends(int(sampler_pid))
    assert is_running(int(worker))
    os.kill(int(worker), signal.SIGKILL)
    program.communicate()
    shutil.rmtree(folder)


def test_a_sampler_outlives_the_thread_that_started_it():
    assert printed("""
import threading
box = []
thread = threading.Thread(target=lambda: box.append(shared_sampler(COUNTER)))
thread.start()
thread.join()
time.sleep(0.6)
print(box[0].is_alive)
""") == ["True"]


def test_a_users_struct_py_is_not_run_by_the_sampler(tmp_path):
    for name in ("struct", "json", "zlib", "threading"):
        (tmp_path / f"{name}.py").write_text("open(__file__ + '.was_run', 'w')\nraise RuntimeError('not the real one')")
    lines = printed(f"""
import struct, json, zlib, threading, subprocess, tempfile, wattvlm.sampling.readback
os.chdir({str(tmp_path)!r})
sys.path[:0] = ["", {str(tmp_path)!r}]
sampler = Sampler.start(COUNTER)
sampler.wait_past(time.monotonic_ns(), 2 * 10**9)
print(sampler.problem, list(sampler.recording(0, time.monotonic_ns()).readings))
sampler.stop()
""")
    assert lines == [" ['gpu-0/board']"]
    assert list(tmp_path.glob("*.was_run")) == []


def test_the_sampler_inherits_no_descriptor_of_the_program():
    (line,) = printed("""
readable, writable = os.pipe()
os.set_inheritable(writable, True)
sampler = Sampler.start(COUNTER)
held = [os.readlink(f"/proc/{sampler.child_pid}/fd/{n}") for n in os.listdir(f"/proc/{sampler.child_pid}/fd")]
print(os.readlink(f"/proc/self/fd/{writable}") in held, os.getsid(sampler.child_pid) == sampler.child_pid)
sampler.stop()
""")
    assert line == "False True"


def test_a_program_without_standard_streams_can_be_metered(tmp_path):
    printed(f"""
os.close(0); os.close(1); os.close(2)
sampler = Sampler.start(COUNTER)
now = time.monotonic_ns()
sampler.wait_past(now, 2 * 10**9)
with open({str(tmp_path / "out")!r}, "w") as file:
    print(sampler.problem, list(sampler.recording(0, time.monotonic_ns()).readings), file=file)
sampler.stop()
""")
    assert (tmp_path / "out").read_text() == " ['gpu-0/board']\n"


def test_a_working_folder_that_was_deleted_does_not_matter(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    assert printed(
        f"""
os.rmdir({str(gone)!r})
sampler = Sampler.start(COUNTER)
print(sampler.problem == "", sampler.is_alive)
sampler.stop()
""",
        cwd=gone,
    ) == ["True True"]


def test_the_journals_are_private_to_the_user():
    sampler = Sampler.start(COUNTER)
    assert sampler.folder is not None
    assert sampler.folder.parent == Path(tempfile.gettempdir())
    assert sampler.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in sampler.folder.iterdir()} == {0o600}
    sampler.stop()

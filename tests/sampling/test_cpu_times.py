"""CPU time of the measured program and all it started: no second counted twice, none lost when a process ends."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.sampling.simulated import SimulatedClock
from wattvlm.clock import SystemClock
from wattvlm.sampling.cpu_times import CpuTimes

TICK_NS = 10_000_000
PROGRAM = 7


@pytest.fixture
def proc(tmp_path):
    """A /proc with the measured program alone: it ran 100 ticks, of 1,000 that all processes ran."""
    machine(tmp_path, 1000)
    process(tmp_path, PROGRAM, own=100)
    return tmp_path


def machine(proc, busy):
    """user, nice, system, irq and softirq add up to `busy`; idle, iowait and steal are other numbers."""
    parts = busy - 40, 10, 10, 55_555, 777, 10, 10, 999, 0, 0
    (proc / "stat").write_text(f"cpu  {' '.join(map(str, parts))}\ncpu0 1 2 3\nintr 5\n")


def process(proc, pid, own=0, waited=0, children=(), started=50):
    thread = proc / str(pid) / "task" / str(pid)
    thread.mkdir(parents=True, exist_ok=True)
    (thread / "children").write_text(" ".join(map(str, children)))
    times = f"{own - own // 4} {own // 4} {waited - waited // 4} {waited // 4}"
    (proc / str(pid) / "stat").write_text(
        f"{pid} (a name) of) S 1 {pid} {pid} 0 -1 4194304 1 2 3 4 {times} 20 0 1 0 {started} 9 9"
    )


def ends(proc, pid):
    for path in sorted((proc / str(pid)).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (proc / str(pid)).rmdir()


def ticks(times):
    """(own, all) of one look."""
    everybody, own = times.look()
    assert (everybody.pid, own.pid) == (0, PROGRAM)
    return round(own.value / TICK_NS), round(everybody.value / TICK_NS)


@pytest.fixture
def times(proc):
    return CpuTimes(PROGRAM, SimulatedClock(), proc, TICK_NS)


def test_busy_time_is_what_cpus_ran_and_not_what_they_waited(proc, times):
    assert ticks(times) == (100, 1000)
    machine(proc, 1500)
    process(proc, PROGRAM, own=300)
    assert ticks(times) == (300, 1500)


def test_a_child_and_its_child_are_the_programs_own(proc, times):
    ticks(times)
    process(proc, PROGRAM, own=100, children=[8])
    process(proc, 8, own=20, children=[9])
    process(proc, 9, own=5)
    process(proc, 10, own=1000)
    assert ticks(times)[0] == 125


def test_a_child_that_ends_between_two_looks_is_counted_once_whether_it_was_seen_before_or_not(proc, times):
    process(proc, PROGRAM, own=100, children=[8])
    process(proc, 8, own=20)
    assert ticks(times)[0] == 120
    ends(proc, 8)
    process(proc, PROGRAM, own=100, waited=30 + 50)  # child 8 went on to 30; another came, ran 50, and ended
    assert ticks(times)[0] == 100 + 30 + 50


def test_what_a_program_waited_for_before_it_was_measured_is_no_new_time(proc, times):
    process(proc, PROGRAM, own=100, waited=4000)
    first = ticks(times)[0]
    process(proc, PROGRAM, own=110, waited=4000)
    assert ticks(times)[0] - first == 10


def test_a_child_whose_parent_ended_stays_the_programs(proc, times):
    process(proc, PROGRAM, own=100, children=[8])
    process(proc, 8, own=0, children=[9])
    process(proc, 9, own=0)
    ticks(times)
    ends(proc, 8)
    process(proc, PROGRAM, own=100)
    process(proc, 9, own=40)
    assert ticks(times)[0] == 140


def test_a_number_that_another_process_has_now_is_not_the_programs(proc, times):
    process(proc, PROGRAM, own=100, children=[8])
    process(proc, 8, own=10)
    ticks(times)
    process(proc, PROGRAM, own=100, waited=10)
    process(proc, 8, own=5000, started=99)
    assert ticks(times)[0] == 110


def test_a_child_for_which_nobody_waits_takes_no_counted_time_back(proc, times):
    process(proc, PROGRAM, own=100, children=[8])
    process(proc, 8, own=50)
    assert ticks(times)[0] == 150
    ends(proc, 8)
    process(proc, PROGRAM, own=101)
    assert ticks(times)[0] == 151


@pytest.mark.parametrize("missing", ["stat", "7/stat", "7/task/7/children"])
def test_where_proc_does_not_tell_there_is_no_look_and_no_error(proc, times, missing):
    (proc / missing).unlink()
    assert list(times.look()) == []


def test_a_look_at_no_proc_at_all_is_empty(tmp_path):
    assert list(CpuTimes(PROGRAM, SimulatedClock(), tmp_path / "none").look()) == []


def test_a_real_process_that_computes_is_counted_and_so_is_one_that_it_waited_for():
    spin = "import time\nwhile time.process_time() < {}: pass\n"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {spin.format(0.3)!r}])\n{spin.format(0.3)}"
    program = subprocess.Popen([sys.executable, "-c", code + "input()"], stdin=subprocess.PIPE)  # waits to be looked at
    try:
        times = CpuTimes(program.pid, SystemClock())
        own_s, deadline = 0.0, time.monotonic() + 30
        while own_s < 0.55 and time.monotonic() < deadline:
            time.sleep(0.05)
            everybody, own = times.look()
            own_s = own.value / 1e9
        assert 0.55 <= own_s < 3.0
        assert own.value < everybody.value
    finally:
        program.communicate(b"\n")

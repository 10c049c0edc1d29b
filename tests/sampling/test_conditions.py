"""The state of devices: asked about between reads, journaled, read back, and whose a process is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.sampling.journals import GPU
from tests.sampling.simulated import MS, SimulatedClock, SimulatedCounter, counter, jittered_ticks, read_for
from wattvlm.recording import Recording
from wattvlm.sampling.child import JournalSink
from wattvlm.sampling.processes import ProcessTree
from wattvlm.sampling.readback import read_back
from wattvlm.sampling.records import CONDITION, encode_sample
from wattvlm.sensing import Condition, EnergyReading, Quantity, Sensors
from wattvlm.units import NS_PER_S


class Telling(SimulatedCounter):
    """A counter that can also tell its clock and heat; each answer takes `answer_ns`."""

    answer_ns = 300_000
    fails = False

    def conditions(self) -> Iterator[Condition]:
        told: tuple[tuple[Quantity, float], ...] = (("core_clock_hz", 1.7e9), ("temperature_celsius", 60.0))
        for quantity, value in told:
            self._clock.now_ns += self.answer_ns
            if self.fails:
                raise RuntimeError("no answer")
            yield Condition("gpu-0", quantity, self._clock.now_ns, value)


def told(seconds, period_ms=100.0, probe_type=Telling, **facts):
    clock = SimulatedClock()
    probe = probe_type(clock, jittered_ticks(clock, period_ms, 1.0, int(seconds * 1000 / period_ms)), 150_000)
    for name, value in facts.items():
        setattr(probe, name, value)
    return read_for(seconds, probe, [counter(period_ms)], clock)


def test_a_device_is_asked_for_its_state_about_once_a_second():
    kept = told(60)
    clocks = [each for each in kept.conditions if each.quantity == "core_clock_hz"]
    assert 55 <= len(clocks) <= 61
    assert len(kept.conditions) == 2 * len(clocks)


@pytest.mark.parametrize("period_ms", [20.0, 100.0])
def test_asking_for_the_state_makes_no_tick_less_sharp(period_ms):
    def widths(kept):
        return sorted(edge.time_ns - edge.unchanged_at_ns for edge in kept.edges()[30:])

    asked, plain = told(60, period_ms), told(60, period_ms, SimulatedCounter)
    assert len(asked.edges()) >= 0.99 * len(plain.edges())
    assert widths(asked)[-len(widths(asked)) // 20] <= 1.2 * widths(plain)[-len(widths(plain)) // 20]


def test_a_device_whose_answers_never_fit_between_reads_is_asked_all_the_same_but_seldom():
    kept = told(60, 100.0, answer_ns=40 * MS)
    assert 5 <= len(kept.conditions) <= 62


def test_a_device_that_fails_to_tell_its_state_still_gives_its_joules_and_is_left_alone():
    kept = told(30, fails=True)
    assert len(kept.edges()) >= 280
    assert kept.conditions == []
    assert kept.losses == []


def condition(quantity, value, time_ns, pid=0):
    return Condition("gpu-0", quantity, time_ns, value, pid)


def test_what_a_device_told_is_in_the_recording_and_in_its_file(tmp_path):
    clock = SimulatedClock()
    sink = JournalSink(tmp_path, 1, clock, os.getpid())
    sink.opened("tiny", Sensors((GPU,)))
    for second in range(4):
        clock.now_ns += NS_PER_S
        sink.reading(EnergyReading(GPU.name, clock.now_ns - MS, clock.now_ns, MS, 10.0 * second))
        sink.condition(condition("core_clock_hz", 1.7e9 + second, clock.now_ns))
        sink.condition(condition("process", 1.0, clock.now_ns, os.getpid()))
        sink.condition(condition("temperature_celsius", float("nan"), clock.now_ns))
    recording = read_back(tmp_path, None)
    clocks, process = recording.conditions
    assert (clocks.device, clocks.quantity, clocks.value.tolist()) == (
        "gpu-0", "core_clock_hz", [1.7e9, 1.7e9 + 1, 1.7e9 + 2, 1.7e9 + 3],
    )  # fmt: skip
    assert (process.pid, process.is_own) == (os.getpid(), True)
    recording.save(tmp_path / "saved.json")
    assert Recording.load(tmp_path / "saved.json").to_dict() == recording.to_dict()


def test_a_recording_from_before_conditions_were_kept_still_loads(tmp_path):
    plain = Recording(0, 1).to_dict()
    del plain["conditions"]
    assert Recording.from_dict(plain).conditions == ()


def test_a_condition_of_no_known_index_or_quantity_is_passed_over(tmp_path):
    clock = SimulatedClock()
    sink = JournalSink(tmp_path, 1, clock)
    sink.condition(condition("core_clock_hz", 1e9, clock.now_ns))
    sink._write(encode_sample(CONDITION, 7, 0, clock.now_ns, 0, 1.0))
    with (tmp_path / "sensors-1").open("a") as log:
        log.write('{"is": "condition", "index": 3, "device": "x", "quantity": "mood", "pid": 0, "process": ""}\n')
    recording = read_back(tmp_path, None)
    assert [each.quantity for each in recording.conditions] == ["core_clock_hz"]
    assert any("damaged" in note for note in recording.notes)


def test_processes_without_end_take_a_bounded_place(tmp_path):
    clock = SimulatedClock()
    sink = JournalSink(tmp_path, 1, clock)
    for pid in range(10_000, 13_000):
        sink.condition(condition("process", 1.0, clock.now_ns, pid))
    assert len(read_back(tmp_path, None).conditions) == 2000


def test_a_process_that_the_measured_one_started_is_its_own_and_its_parent_is_not():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        tree = ProcessTree(os.getpid())
        assert tree.whose(child.pid).is_own
        assert tree.whose(os.getpid()).is_own
        assert not tree.whose(os.getppid()).is_own
    finally:
        child.communicate(b"\n")


def process_files(proc, pid, parent, name):
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{name}\n")
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 0 0")


def test_in_a_container_a_foreign_number_is_nobody_that_can_be_named(tmp_path):
    for pid, parent, name in ((1, 0, "bash"), (7, 1, "python"), (8, 7, "worker (1)"), (9, 1, "other")):
        process_files(tmp_path, pid, parent, name)
    (tmp_path / "self/ns").mkdir(parents=True)
    namespace = tmp_path / "self/ns/pid"
    namespace.symlink_to("pid:[4026532500]")
    tree = ProcessTree(7, tmp_path)
    assert [tree.whose(pid).is_own for pid in (7, 8, 9, 4711)] == [True, True, None, None]
    namespace.unlink()
    namespace.symlink_to("pid:[4026531836]")
    assert [tree.whose(pid).is_own for pid in (7, 8, 9, 4711)] == [True, True, False, False]
    assert tree.whose(9).name == "other"

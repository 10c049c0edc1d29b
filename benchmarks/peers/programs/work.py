"""Plays planned sessions of calls to one virtual GPU in real time, and tells a meter of each boundary.

It runs in the meter's own environment: standard library only. `play(meter)` reads the plan's path and the result's
path from the command line. A meter has `open()`, `begin(phase)`, `end(phase)` and `close()`, which gives the joules of
each call by phase. An exception out of a meter ends the run, as it would end a user's program.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

RECORD = struct.Struct("<qd")
AHEAD_NS = 30_000
"""A step of power is written this long before its time."""

SPIN_NS = 500_000


class Gpu:
    """The virtual GPU's load file: power from now on, or for a stretch that begins in a moment."""

    def __init__(self, path: str, between_w: float, idle_w: float) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.between_w, self.idle_w = between_w, idle_w
        self._last_ns = 0

    def draw(self, power_w: float) -> None:
        """From now on."""
        self._write((time.monotonic_ns(), power_w))

    def work(self, power_w: float, duration_ns: int) -> tuple[int, int]:
        """Draw power for a while and wait until it is over; gives its beginning and its end."""
        start_ns = time.monotonic_ns() + AHEAD_NS
        end_ns = start_ns + duration_ns
        self._write((start_ns, power_w), (end_ns, self.between_w))
        wait_until(end_ns)
        return start_ns, end_ns

    def _write(self, *steps: tuple[int, float]) -> None:
        kept = []
        for time_ns, power_w in steps:
            self._last_ns = max(self._last_ns, time_ns)
            kept.append(RECORD.pack(self._last_ns, power_w))
        os.write(self._descriptor, b"".join(kept))


def hurry(on: bool) -> None:
    """Go before all other processes where that is allowed, or no more: a boundary that is late is no meter's error."""
    try:
        if on:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        else:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return


def wait_until(time_ns: int) -> None:
    """Sleep, and spin for the last half millisecond."""
    left_ns = time_ns - time.monotonic_ns()
    if left_ns > SPIN_NS:
        time.sleep((left_ns - SPIN_NS) * 1e-9)
    while time.monotonic_ns() < time_ns:
        pass


def play(meter: Any) -> None:
    """All sessions of the plan; the result is written after each."""
    plan_path, result_path = sys.argv[1:3]
    plan = json.loads(Path(plan_path).read_text())
    gpu = Gpu(plan["load"], plan["between_w"], plan["idle_w"])
    gpu.draw(gpu.idle_w)
    result: dict[str, Any] = {"sessions": [], "raised": "", "pid": os.getpid()}
    for session in plan["sessions"]:
        try:
            result["sessions"].append(_session(meter, gpu, session, plan.get("start_ns", 0)))
        except Exception as error:
            result["raised"] = f"{type(error).__name__}: {error}".strip()
            result["sessions"].append(meter.told)
            break
        finally:
            Path(result_path).write_text(json.dumps(result))
    gpu.draw(gpu.idle_w)


def _session(meter: Any, gpu: Gpu, session: dict[str, Any], not_before_ns: int) -> dict[str, Any]:
    told: dict[str, Any] = {"seed": session["seed"], "calls": [], "added_ns": [], "start_ns": time.monotonic_ns()}
    meter.told = told
    time.sleep(session["rest_ns"] * 1e-9)
    hurry(True)
    before_ns = time.perf_counter_ns()
    meter.open()
    told["open_ns"] = time.perf_counter_ns() - before_ns
    wait_until(not_before_ns)
    cpu_s, start_s = tree_cpu_s(os.getpid()), time.monotonic()
    for call in session["calls"]:
        told["calls"].append({})
        told["added_ns"].append(0)
        time.sleep(call["pause_ns"] * 1e-9)
        gpu.draw(gpu.between_w)
        for name, duration_ns, power_w in call["phases"]:
            told["calls"][-1][name] = _phase(meter, gpu, name, duration_ns, power_w, told["added_ns"])
        gpu.draw(gpu.idle_w)
    told["cpu_s"], told["wall_s"] = tree_cpu_s(os.getpid()) - cpu_s, time.monotonic() - start_s
    hurry(False)
    told["said"] = meter.close()
    return told


def _phase(meter: Any, gpu: Gpu, name: str, duration_ns: int, power_w: float, added_ns: list[int]) -> dict[str, Any]:
    """One phase between two boundaries that the meter is told of; the truth is what was drawn between these."""
    before_ns = time.monotonic_ns()
    meter.begin(name)
    begun_ns = time.monotonic_ns()
    start_ns, end_ns = gpu.work(power_w, duration_ns)
    ending_ns = time.monotonic_ns()
    meter.end(name)
    added_ns[-1] += begun_ns - before_ns + time.monotonic_ns() - ending_ns
    beside_ns = max(start_ns - begun_ns, 0) + max(ending_ns - end_ns, 0)
    return {
        "joules": (power_w * duration_ns + gpu.between_w * beside_ns) * 1e-9,
        "from_ns": begun_ns,
        "to_ns": ending_ns,
    }


def tree_cpu_s(root: int) -> float:
    """CPU seconds of a process and all that live below it, from /proc."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            spent[int(entry.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return sum(own for pid, own in spent.items() if _is_below(pid, root, parents))


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = parents.get(pid, 0)
    return False

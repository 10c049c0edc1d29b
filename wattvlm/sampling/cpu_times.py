"""CPU time of the measured process with all that it started, and of all processes of the machine, as /proc counts it.

Both are sums since some start, so that it does not matter how often they are looked at.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wattvlm.clock import Clock
from wattvlm.sensing import CPU_DEVICE, Condition
from wattvlm.units import NS_PER_S

# /proc/stat, first line: user nice system idle iowait irq softirq steal ... (proc_stat(5)); guests are in user.
_BUSY = (1, 2, 3, 6, 7)
# /proc/<pid>/stat after the name: utime stime cutime cstime starttime (fields 14-17 and 22 of proc_pid_stat(5)).
_OWN, _WAITED, _STARTED = slice(11, 13), slice(13, 15), 19

_LARGEST_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class _Ticks:
    """CPU time of one process: its own, and that of its ended children for which it has waited."""

    own: int
    waited: int
    started: int


class CpuTimes:
    """Looks at the measured process and its descendants. Never raises: where /proc does not tell, a look is empty.

    proc: where /proc is. tick_ns: the unit of /proc's CPU times (default: this machine's).
    """

    def __init__(self, measured_pid: int, clock: Clock, proc: Path = Path("/proc"), tick_ns: int | None = None) -> None:
        self._measured_pid = measured_pid
        self._clock = clock
        self._proc = proc
        self._tick_ns = NS_PER_S // os.sysconf("SC_CLK_TCK") if tick_ns is None else tick_ns
        self._last: dict[int, _Ticks] = {}
        self._own_ticks = 0

    def look(self) -> Sequence[Condition]:
        """CPU time so far: of all processes, and (with its pid) of the measured one and all that it started."""
        pid = str(self._measured_pid)
        if not (self._proc / pid / "task" / pid / "children").exists():  # a kernel without CONFIG_PROC_CHILDREN
            return ()
        try:
            self._count()
            first_line = _text(f"{self._proc}/stat").split("\n", 1)[0].split()
            busy = sum(int(first_line[number]) for number in _BUSY)
        except (OSError, LookupError, ValueError):
            return ()
        now_ns = self._clock.monotonic_ns()
        told = ((busy, 0), (self._own_ticks, self._measured_pid))
        return [Condition(CPU_DEVICE, "cpu_time_ns", now_ns, float(ticks * self._tick_ns), pid) for ticks, pid in told]

    def _count(self) -> None:
        """Add what the processes ran since the last look.

        The time of a process that has ended is in its parent's, less what was counted already; where nobody of the
        measured ones waited for it, what it ran after the last look is lost.
        """
        now = self._tree()
        own = waited = 0
        for pid, ticks in now.items():
            before = self._last.get(pid)
            known = before if before is not None and before.started == ticks.started else _Ticks(0, 0, 0)
            own += max(0, ticks.own - known.own)
            waited += max(0, ticks.waited - known.waited)
        gone = [
            each for pid, each in self._last.items() if pid not in now or now[pid].started != each.started
        ]  # fmt: skip
        self._own_ticks += own + max(0, waited - sum(each.own + each.waited for each in gone))
        self._last = now

    def _tree(self) -> dict[int, _Ticks]:
        """The measured process, its descendants, and those seen before whose parent has ended meanwhile."""
        found = {self._measured_pid: self._ticks(self._measured_pid)}
        for pid, before in self._last.items():
            ticks = self._ticks_if_there(pid)
            if ticks is not None and ticks.started == before.started:
                found[pid] = ticks
        waiting = list(found)
        while waiting:
            for pid in self._children(waiting.pop()):
                ticks = None if pid in found else self._ticks_if_there(pid)
                if ticks is not None:
                    found[pid] = ticks
                    waiting.append(pid)
        return found

    def _children(self, pid: int) -> list[int]:
        found: list[int] = []
        folder = f"{self._proc}/{pid}/task"
        try:
            with os.scandir(folder) as entries:
                threads = [entry.name for entry in entries]
        except OSError:  # it has just ended
            return found
        for thread in threads:
            try:
                found += map(int, _text(f"{folder}/{thread}/children").split())
            except OSError:  # this thread has just ended
                continue
        return found

    def _ticks_if_there(self, pid: int) -> _Ticks | None:
        try:
            return self._ticks(pid)
        except OSError:
            return None

    def _ticks(self, pid: int) -> _Ticks:
        # The name, in parentheses, may hold blanks and parentheses itself.
        fields = _text(f"{self._proc}/{pid}/stat").rpartition(")")[2].split()
        return _Ticks(sum(map(int, fields[_OWN])), sum(map(int, fields[_WAITED])), int(fields[_STARTED]))


def _text(path: str) -> str:
    """A small file's text. Not by pathlib: a program may have hundreds of threads, each with a file of its own."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LARGEST_BYTES).decode(errors="replace")
    finally:
        os.close(descriptor)

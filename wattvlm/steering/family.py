"""Whose a process is: of the program that steers, of somebody else, or not to be told."""

from __future__ import annotations

from pathlib import Path

_DEEPEST = 64


def is_of(pid: int, program: int, proc: Path = Path("/proc")) -> bool | None:
    """True for the program and what it started, False for others; None where this /proc does not know the process.

    Inside a container NVML may tell numbers of the machine's own, which are nobody's here.
    """
    for _ in range(_DEEPEST):
        if pid == program:
            return True
        parent = _parent(pid, proc)
        if parent is None:
            return None
        if parent <= 1:
            return False
        pid = parent
    return False


def started_at(pid: int, proc: Path = Path("/proc")) -> int | None:
    """When a process was started, in the kernel's ticks since boot; None where there is none of that number.

    With the number it names one process: a number is given anew when its process is gone.
    """
    return _word(pid, 22, proc)


def _parent(pid: int, proc: Path) -> int | None:
    """The process that started it."""
    return _word(pid, 4, proc)


def _word(pid: int, number: int, proc: Path) -> int | None:
    """A word of its stat (proc(5)), whose second one is a name in brackets that may hold anything."""
    try:
        words = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(words[number - 3])
    except (OSError, ValueError, IndexError):
        return None

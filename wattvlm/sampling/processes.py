"""Whose a process is: the measured program's, somebody else's, or not to be told from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of linux/proc_ns.h: the namespace in which drivers number processes."""

_MOST_ANCESTORS = 100


@dataclass(frozen=True, slots=True)
class Whose:
    """A process by its name, and whether it is the measured program or one that it started (None: cannot be told)."""

    name: str
    is_own: bool | None


class ProcessTree:
    """The measured process and all that it started, as /proc shows them."""

    def __init__(self, measured_pid: int, proc: Path = Path("/proc")) -> None:
        self._measured_pid = measured_pid
        self._proc = proc

    def whose(self, pid: int) -> Whose:
        """Whose a process is that a driver names; never raises."""
        name = self._text(pid, "comm").strip()
        if self._is_in_tree(pid):
            return Whose(name, True)
        # Drivers number processes as the machine does: in a container the same number may be another process.
        return Whose(name, False) if self._sees_all() else Whose("", None)

    def _sees_all(self) -> bool:
        try:
            return str((self._proc / "self/ns/pid").readlink()) == _INITIAL_PID_NAMESPACE
        except OSError:
            return False

    def _is_in_tree(self, pid: int) -> bool:
        for _ in range(_MOST_ANCESTORS):
            if pid == self._measured_pid:
                return True
            if pid <= 1:
                return False
            pid = self._parent(pid)
        return False

    def _parent(self, pid: int) -> int:
        fields = self._text(pid, "stat").rpartition(")")[2].split()
        return int(fields[1]) if len(fields) > 1 else 0

    def _text(self, pid: int, name: str) -> str:
        try:
            return (self._proc / str(pid) / name).read_text(errors="replace")
        except OSError:
            return ""

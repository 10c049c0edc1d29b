"""The guardian: a process that sets limits and clocks for a program, and gives them back however that program ends.

It is told what to do by lines of JSON on its standard input, and answers each with one. It ends, and gives back, when
its input is closed, when the program is gone (kill -9 included), and when it is itself asked to end (SIGTERM).
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, cast

from wattvlm.steering.family import is_of, started_at
from wattvlm.steering.nvml import Kept, NotSteerable, NvmlBoards
from wattvlm.sweep import Setting

_ENDS_IT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_EVERY_S = 0.2
"""How often the program is looked for where the kernel does not tell of its end (before Linux 5.3)."""


class _Ended(BaseException):
    """This process was asked to end."""


def run(plan: Mapping[str, Any]) -> None:
    """Serve the program until it ends.

    plan: program and started (its pid, and when it was started: see `started_at`), file (where is written what is to be
    given back; "" for nowhere), kept (what an earlier guardian left there, or None), settings (all that will be set).
    """
    for each in _ENDS_IT:
        signal.signal(each, _end)
    guardian: _Guardian | None = None
    try:
        guardian = _Guardian(plan)
        _answer(guardian=os.getpid(), kept=[asdict(each) for each in guardian.kept])
        for line in _lines(int(plan["program"]), plan["started"]):
            _answer(**guardian.obey(json.loads(line)))
    except NotSteerable as error:
        _answer(error=str(error))
    except _Ended:
        pass
    finally:
        for each in _ENDS_IT:
            signal.signal(each, signal.SIG_IGN)
        failed = [] if guardian is None else guardian.give_back()
        _answer(failed=failed)


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended


class _Guardian:
    """What was there before, and what has been set since."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._program = int(plan["program"])
        self._file = Path(plan["file"]) if plan["file"] else None
        self.boards = NvmlBoards()
        left = cast("list[dict[str, Any]] | None", plan["kept"])
        self.kept = self.boards.kept() if left is None else [Kept(**each) for each in left]
        self._limits = self._clocks = left is not None
        failed = self.give_back()
        if failed:
            raise NotSteerable(f"what an earlier run set could not be given back: {'; '.join(failed)}")
        self.boards.check([Setting(**each) for each in plan["settings"]], self._whose)

    def obey(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Set what is wished for, once nobody else is harmed by it; else everything is given back."""
        setting = Setting(**wish)
        try:
            self.boards.refuse_others(self._whose, unknown_too=False)
            self._remember(setting)
            return {"limits": self.boards.set(setting)}
        except NotSteerable as error:
            failed = self.give_back()
            return {"error": "; ".join([str(error), *failed])}

    def give_back(self) -> list[str]:
        """Everything as it was; a line with its cure for each thing that could not be."""
        failed: list[str] = []
        if self._limits or self._clocks:
            failed = self.boards.give_back(self.kept, limits=self._limits, clocks=self._clocks)
        if not failed:
            self._limits = self._clocks = False
            if self._file is not None:
                self._file.unlink(missing_ok=True)
        return failed

    def _remember(self, setting: Setting) -> None:
        """Before anything is set, for whoever has to give it back."""
        self._limits |= setting.power_limit_w is not None
        self._clocks |= setting.core_clock_hz is not None
        if self._file is not None and not self._file.exists():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self._file.with_name(f"{self._file.name}.{os.getpid()}")
            unfinished.write_text(json.dumps([asdict(each) for each in self.kept]))
            unfinished.replace(self._file)

    def _whose(self, pid: int) -> bool | None:
        return is_of(pid, self._program)


def _answer(**words: Any) -> None:
    try:
        os.write(1, json.dumps(words).encode() + b"\n")
    except OSError:  # nobody is left to be told
        return


def _lines(program: int, started: int | None) -> Iterator[bytes]:
    """What the program writes, line by line, until it is gone."""
    ended = _end_of(program)
    waiting = b""
    while started_at(program) == started:
        ready, _, _ = select.select([0, *ended], [], [], None if ended else _LOOK_EVERY_S)
        if any(each in ready for each in ended):
            return
        if 0 not in ready:
            continue
        got = os.read(0, 65536)
        if not got:
            return
        *whole, waiting = (waiting + got).split(b"\n")
        yield from whole


def _end_of(program: int) -> list[int]:
    """A descriptor that becomes readable when the program ends; none where the kernel gives none."""
    try:
        return [os.pidfd_open(program)]
    except (AttributeError, OSError):
        return []

"""Signals to the meter are meant for the program that it runs."""

from __future__ import annotations

import os
import signal
import threading
from subprocess import Popen
from types import FrameType
from typing import Any

_PASSED = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGQUIT")
    if hasattr(signal, name)
)  # fmt: skip
_OF_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


class PassedSignals:
    """While it is open, signals to this process go to the program, and the program decides what they do.

    What was typed on the terminal (Ctrl-C) reaches the program by itself, since it is in the same process group, and
    is not sent to it twice. Ignored signals stay ignored (nohup). Does nothing outside of the main thread.
    """

    def __init__(self) -> None:
        self._process: Popen[bytes] | None = None
        self._early: list[int] = []
        self._former: dict[int, Any] = {}

    def __enter__(self) -> PassedSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _PASSED:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def send_to(self, process: Popen[bytes]) -> None:
        """The program is there; signals that came before are sent now."""
        self._process = process
        while self._early:
            self._send(self._early.pop(0))

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if number in _OF_KEYBOARD and _is_in_foreground():
            return
        self._send(number)

    def _send(self, number: int) -> None:
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


def _is_in_foreground() -> bool:
    """This process's group has the terminal, so that what is typed there reaches all of the group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)

"""Reading along what a program writes to stderr, which passes on byte by byte as it came."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from time import monotonic_ns
from typing import IO

from wattvlm.running.program import Program
from wattvlm.runtimes.llama_cpp.timing_lines import TimingLines, is_of_llama_cpp
from wattvlm.trace import Mark

_AFTER_THE_END_S = 0.5
"""A process that the program left behind may hold its stderr open: what comes later is not waited for."""

_LONGEST_LINE_BYTES = 2**16


class ErrorReader:
    """Passes a program's stderr on to this process's, and reads the timing lines in it."""

    def __init__(self) -> None:
        self._lines = TimingLines()
        self._thread: threading.Thread | None = None

    def start(self, stream: IO[bytes]) -> None:
        """Read from now on, in a thread."""
        self._thread = threading.Thread(target=self._read, args=(stream.fileno(),), daemon=True)
        self._thread.start()

    def marks(self) -> Sequence[Mark]:
        """The calls that the lines told of; to be asked for after the program's end."""
        if self._thread is not None:
            self._thread.join(_AFTER_THE_END_S)
        return tuple(self._lines.marks)

    def _read(self, descriptor: int) -> None:
        waiting = b""
        while piece := os.read(descriptor, 2**16):
            now_ns = monotonic_ns()
            _write_all(piece)
            *lines, waiting = (waiting + piece).split(b"\n")
            waiting = waiting[-_LONGEST_LINE_BYTES:]
            for line in lines:
                self._lines.take(now_ns, line.decode(errors="replace"))


def _write_all(piece: bytes) -> None:
    try:
        while piece:
            piece = piece[os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, piece) :]
    except OSError:  # nobody reads it any more: the program is not to notice
        return


def reader_for(program: Program) -> ErrorReader | None:
    """A reader where the program is one of llama.cpp's; None for others, whose stderr is not touched."""
    is_read = program.kind == "command" and is_of_llama_cpp((program.target, *program.arguments))
    return ErrorReader() if is_read else None

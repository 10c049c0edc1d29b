"""Marks of processes that another process meters: each has a journal of its own in the folder of that one's sampler."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns

from wattvlm.sampling.journal import JournalWriter, read_segments
from wattvlm.sampling.marks import decode_marks, encode_mark
from wattvlm.trace import PREPROCESS, Mark

_STEM = re.compile(r"(marks\.(\d+)\.\d+)-\d{6,}")

_CALL_BITS = 32
"""Calls and threads are numbered in each process anew: the process's own number goes above these bits."""

_LANE_BITS = 20


class ChildMarks:
    """Where a metered process that is not the meter's own writes its marks, and each process that it forks.

    folder: of the meter's sampler. is_seen_elsewhere: asked in each process before its first mark: whether what it does
    is a part of calls that another process marks, so that it marks nothing. Never raises: a mark that cannot be written
    is lost, as is all that follows once the folder is gone.
    """

    def __init__(self, folder: Path, is_seen_elsewhere: Callable[[], bool] = lambda: False) -> None:
        self._folder = folder
        self._is_seen_elsewhere = is_seen_elsewhere
        self._lock = threading.RLock()
        self._journal: JournalWriter | None = None
        self._is_mute: bool | None = None
        os.register_at_fork(after_in_child=self._begin_anew)

    @property
    def has_written(self) -> bool:
        """This process has marked something."""
        return self._journal is not None

    def mark(self, /, *marks: Mark) -> None:
        """Write marks in one piece: the MarkSink."""
        with suppress(Exception):  # the measured call goes on, and there is nowhere to tell
            if self._is_mute is None:
                self._is_mute = self._is_seen_elsewhere()
            if not self._is_mute:
                self._own_journal().append(b"".join(map(encode_mark, marks)))

    def _own_journal(self) -> JournalWriter:
        with self._lock:
            if self._journal is None:
                self._journal = JournalWriter(self._folder, f"marks.{os.getpid()}.{monotonic_ns()}")
            return self._journal

    def _begin_anew(self) -> None:
        """A forked process; the lock may have been held by a thread that is not here."""
        self._lock = threading.RLock()
        self._journal = None
        self._is_mute = None


def child_marks(folder: Path) -> list[Mark]:
    """The marks of all metered processes other than the meter's own, calls and threads numbered apart."""
    found: list[Mark] = []
    for number, stem in enumerate(_stems(folder), start=1):
        own = [mark for content in read_segments(folder, stem) for mark in decode_marks(content)]
        found += _renumbered(_whole_calls(own), number)
    return found


def _stems(folder: Path) -> list[str]:
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    matches = [match for match in map(_STEM.fullmatch, names) if match is not None]
    return sorted({match[1] for match in matches})


def _whole_calls(marks: Sequence[Mark]) -> list[Mark]:
    """Without calls that began before the process was forked; a call that it left open ends with its last mark.

    A process that only prepares inputs (a data loader's) has no call that they could be prepared for: those phases
    are left out.
    """
    began = {mark.call_id for mark in marks if mark.kind == "call_start"}
    ended = {mark.call_id for mark in marks if mark.kind == "call_end"}
    kept = [mark for mark in marks if mark.call_id in began or not mark.call_id]
    if not began:
        kept = [mark for mark in kept if mark.name != PREPROCESS]
    last_ns = max((mark.time_ns for mark in marks), default=0)
    left = [Mark(last_ns, "call_end", call_id, text="not ended") for call_id in sorted(began - ended)]
    return kept + left


def _renumbered(marks: Sequence[Mark], number: int) -> list[Mark]:
    lanes = {lane: index for index, lane in enumerate(dict.fromkeys(mark.lane for mark in marks))}
    return [
        replace(
            mark,
            call_id=mark.call_id + (number << _CALL_BITS) if mark.call_id else 0,
            lane=lanes[mark.lane] + (number << _LANE_BITS),
        )
        for mark in marks
    ]

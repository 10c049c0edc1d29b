"""The sensor log: a text file of JSON lines in which the sampling process says what it found and did.

Its lines are few (channels, absences, notes, a wall anchor a minute), so that a reader always reads all of it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from wattvlm.clock import WallAnchor
from wattvlm.sampling.journal import create, read_from
from wattvlm.sampling.processes import Whose
from wattvlm.sensing import Absence, Channel, Condition, Sensors

LARGEST_LOG_BYTES = 16 * 2**20
"""A month of wall anchors is 3 MB; what is larger was not written by us, and is read so far only."""

_MOST_NOTES = 500
_MOST_REASONS = 200
_MOST_CONDITIONS = 2000
_LONGEST_TEXT = 2000


class SensorLog:
    """Writes the log; from many threads, one whole line at a time. Never raises on a full disk: the line is lost."""

    def __init__(self, path: Path) -> None:
        self._descriptor = create(path)
        self._lock = threading.Lock()
        self._channels = 0
        self._reasons: dict[str, int] = {}
        self._notes: set[str] = set()
        self._conditions: dict[tuple[str, str, int], int] = {}

    def _write(self, what: str, **entry: Any) -> None:
        line = json.dumps({"is": what, **entry}) + "\n"
        try:
            os.write(self._descriptor, line.encode())
        except OSError:  # a full disk; the next line may fit again
            return

    def started(self, at_ns: int, anchor: WallAnchor) -> None:
        """The sampling process runs."""
        self._write("started", at_ns=at_ns)
        self.anchored(anchor)

    def anchored(self, anchor: WallAnchor) -> None:
        """One moment on both clocks."""
        self._write("anchor", monotonic_ns=anchor.monotonic_ns, wall_ns=anchor.wall_ns)

    def opening(self, target: str, at_ns: int) -> None:
        """A probe is being opened, which may take seconds."""
        self._write("opening", target=target, at_ns=at_ns)

    def opened(self, target: str, at_ns: int, sensors: Sensors) -> dict[str, int]:
        """A probe is open: its channels, by name, with the index that records give them."""
        with self._lock:
            first = self._channels
            self._channels += len(sensors.channels)
        indices = {channel.name: first + number for number, channel in enumerate(sensors.channels)}
        self._write(
            "opened",
            target=target,
            at_ns=at_ns,
            channels=[{"index": indices[each.name], "channel": _plain(each)} for each in sensors.channels],
            absent=[_plain(each) for each in sensors.absent],
            facts={str(key): str(value) for key, value in sensors.facts.items()},
        )
        return indices

    def absent(self, target: str, at_ns: int, absence: Absence) -> None:
        """A probe could not be opened at all."""
        self._write("opened", target=target, at_ns=at_ns, channels=[], absent=[_plain(absence)], facts={})

    def settled(self, at_ns: int) -> None:
        """Every probe is open or absent."""
        self._write("settled", at_ns=at_ns)

    def learned(self, channel: str, period_ns: int | None, how: str) -> None:
        """How a channel is read from now on, and its tick period where it keeps one."""
        self._write("learned", channel=channel, period_ns=period_ns, how=how)

    def lost(self, channel: str, at_ns: int, why: str) -> None:
        """A channel gives no more readings in this run."""
        self._write("lost", channel=channel, at_ns=at_ns, why=why[:_LONGEST_TEXT])

    def note(self, text: str) -> None:
        """A line for the report; the same line once only, and a bounded number of lines."""
        text = text[:_LONGEST_TEXT]
        with self._lock:
            if text in self._notes or len(self._notes) >= _MOST_NOTES:
                return
            self._notes.add(text)
        self._write("note", text=text)

    def reason(self, text: str) -> int:
        """The number that gap records give a reason; beyond a bounded number of reasons, one for all others."""
        text = text[:_LONGEST_TEXT]
        with self._lock:
            if text not in self._reasons and len(self._reasons) >= _MOST_REASONS:
                text = "other reasons"
            if text not in self._reasons:
                self._reasons[text] = len(self._reasons)
                self._write("reason", index=self._reasons[text], text=text)
            return self._reasons[text]

    def condition(self, condition: Condition, whose: Callable[[int], Whose]) -> int | None:
        """The number that records give this condition of a device or a process; None beyond a bounded number."""
        key = condition.device, condition.quantity, condition.pid
        with self._lock:
            if key not in self._conditions:
                if len(self._conditions) >= _MOST_CONDITIONS:
                    return None
                self._conditions[key] = len(self._conditions)
                process = whose(condition.pid) if condition.pid else Whose("", None)
                self._write(
                    "condition",
                    index=self._conditions[key],
                    device=condition.device[:_LONGEST_TEXT],
                    quantity=condition.quantity,
                    pid=condition.pid,
                    process=process.name[:_LONGEST_TEXT],
                    is_own=process.is_own,
                )
            return self._conditions[key]

    def ended(self, at_ns: int, why: str, anchor: WallAnchor) -> None:
        """The sampling process ends of its own will."""
        self.anchored(anchor)
        self._write("ended", at_ns=at_ns, why=why)


def _plain(noun: Channel | Absence) -> dict[str, Any]:
    plain: dict[str, Any] = {each.name: getattr(noun, each.name) for each in fields(noun)}
    if isinstance(noun, Channel):
        plain["source"] = {str(key): str(value) for key, value in noun.source.items()}
    return plain


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a log that are whole JSON objects, in their order; a torn last line is not one."""
    for line in read_from(path, 0, LARGEST_LOG_BYTES).split(b"\n"):
        try:
            entry: object = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield cast("dict[str, Any]", entry)

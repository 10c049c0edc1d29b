"""Journals: files of fixed-size records in a private folder, appended by one os.write each, read while they grow.

Not shared memory: a memory map let the reader see torn records, killed it by SIGBUS when the file was truncated, and
killed its writer on a full disk. An appended record is whole or, at the very end, cut off; a crash loses none before.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SEGMENT_BYTES = 4 * 2**20

FOLDER_PREFIX = "wattvlm-"

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe that somebody put in the journal's place must not wait for its other end.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_LARGEST_SEGMENT_BYTES = 2 * SEGMENT_BYTES
"""A segment ends once it has passed SEGMENT_BYTES, by one mark at most; what is larger was not written by us."""


def create(path: Path) -> int:
    """The descriptor of a new private file for appending; OSError where anything of that name exists."""
    return os.open(path, _CREATE, 0o600)


def open_regular(path: Path) -> int | None:
    """The descriptor of a regular file for reading; None where it is missing, a link, a pipe or a device."""
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor


def read_from(path: Path, offset: int, most_bytes: int) -> bytes:
    """The bytes of a regular file from an offset on; nothing where it cannot be read."""
    descriptor = open_regular(path)
    if descriptor is None:
        return b""
    pieces: list[bytes] = []
    try:
        while most_bytes > 0 and (piece := os.pread(descriptor, min(most_bytes, 2**20), offset)):
            pieces.append(piece)
            offset += len(piece)
            most_bytes -= len(piece)
    except (OSError, OverflowError):  # an unreadable disk block: what came before it is kept
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces)


class Position(NamedTuple):
    """A place in a journal: the number of a segment and an offset in it, in bytes."""

    segment: int
    offset: int


BEGINNING = Position(0, 0)


class JournalWriter:
    """Appends records to `<stem>-000000`, `<stem>-000001`, ... in a folder. Safe to use from many threads."""

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._stem = stem
        # Re-entrant: a signal handler of the user's may mark while the same thread is inside append.
        self._lock = threading.RLock()
        self._segment = 0
        self._written_bytes = 0
        self._is_torn = False
        self._descriptor: int | None = create(self._path(0))

    def _path(self, segment: int) -> Path:
        return self._folder / f"{self._stem}-{segment:06d}"

    @property
    def position(self) -> Position:
        """Where the next record goes."""
        return Position(self._segment, self._written_bytes)

    def append(self, record: bytes) -> None:
        """Write one record (or several that belong together) in one piece; OSError on a full or broken disk."""
        with self._lock:
            if self._descriptor is None:
                raise OSError("the journal is closed")
            if self._is_torn or self._written_bytes >= SEGMENT_BYTES:
                self._next_segment(self._descriptor)
            written = os.write(self._descriptor, record)
            self._written_bytes += written
            if written != len(record):  # a full disk took a part of it: the next record begins a new, aligned segment
                self._is_torn = True
                raise OSError(f"the disk took {written} of {len(record)} bytes")

    def _next_segment(self, old: int) -> None:
        self._descriptor = create(self._path(self._segment + 1))
        self._segment += 1
        self._written_bytes = 0
        self._is_torn = False
        os.close(old)

    def delete_before(self, segment: int) -> None:
        """Delete the closed segments whose number is lower."""
        for number, path in segments(self._folder, self._stem):
            if number < min(segment, self._segment):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """No more records; may be called twice."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def segments(folder: Path, stem: str) -> list[tuple[int, Path]]:
    """The segments of a journal that are there, by number."""
    found: list[tuple[int, Path]] = []
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    for name in names:
        head, _, digits = name.rpartition("-")
        if head == stem and digits.isascii() and digits.isdecimal() and len(digits) >= 6:
            found.append((int(digits[:12]), folder / name))
    return sorted(found)


def read_segments(folder: Path, stem: str, since: Position = BEGINNING) -> Iterator[bytes]:
    """The bytes of each segment of a journal from a position on."""
    for number, path in segments(folder, stem):
        if number >= since.segment:
            offset = since.offset if number == since.segment else 0
            yield read_from(path, offset, _LARGEST_SEGMENT_BYTES)

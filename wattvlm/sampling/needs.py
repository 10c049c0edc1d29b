"""What the measured process needs of the sampling process: one small control record, rewritten in place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from zlib import crc32

from wattvlm.sampling.journal import create, read_from

_NAME = "needs"
_BODY = Struct("<qII")
_CRC = Struct("<I")
_READ_AGAIN = 3


@dataclass(frozen=True, slots=True)
class Needs:
    """How many blocks are open, how many closed ones still want their readings, and since when any of them does."""

    since_ns: int = 0
    open_blocks: int = 0
    kept_blocks: int = 0

    @property
    def is_open(self) -> bool:
        return self.open_blocks > 0

    @property
    def is_kept(self) -> bool:
        return self.open_blocks + self.kept_blocks > 0


_UNKNOWN = Needs(0, 1, 0)
"""Where the record cannot be read, nothing is deleted and nothing ends."""


class NeedsFile:
    """The record's writer, in the measured process."""

    def __init__(self, folder: Path) -> None:
        # Not for appending: pwrite to a file opened O_APPEND appends, whatever its offset.
        os.close(create(folder / _NAME))
        self._descriptor: int | None = os.open(folder / _NAME, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.write(Needs())

    def write(self, needs: Needs) -> None:
        """Replace the record; OSError on a broken disk."""
        if self._descriptor is not None:
            body = _BODY.pack(needs.since_ns, needs.open_blocks, needs.kept_blocks)
            os.pwrite(self._descriptor, _CRC.pack(crc32(body)) + body, 0)

    def close(self) -> None:
        """No more changes; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_needs(folder: Path) -> Needs:
    """The record now."""
    for _ in range(_READ_AGAIN):  # read while it is being written, it may be torn
        record = read_from(folder / _NAME, 0, _CRC.size + _BODY.size)
        if len(record) == _CRC.size + _BODY.size and _CRC.unpack_from(record)[0] == crc32(record[_CRC.size :]):
            return Needs(*_BODY.unpack_from(record, _CRC.size))
    return _UNKNOWN

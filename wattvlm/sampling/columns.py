"""Sampler records as numpy columns: a journal of hours is read in a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from wattvlm.sampling.journal import SEGMENT_BYTES, read_from, segments
from wattvlm.sampling.records import LATEST_NS, SAMPLE_BYTES, decode_sample

_RECORD = np.dtype([
    ("crc", "<u4"), ("kind", "u1"), ("spare", "u1"), ("channel", "<u2"),
    ("from_ns", "<i8"), ("time_ns", "<i8"), ("took_ns", "<i8"), ("value", "<f8"),
])  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Records of one journal in order of time: one row a record, its fields as in `records.Sample`."""

    kind: NDArray[np.uint8]
    channel: NDArray[np.uint16]
    from_ns: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    took_ns: NDArray[np.int64]
    value: NDArray[np.float64]

    def of(self, kind: int, channel: int | None) -> Columns:
        """The rows of one kind, and of one channel where it is given."""
        chosen = self.kind == kind
        if channel is not None:
            chosen &= self.channel == channel
        return Columns(
            self.kind[chosen], self.channel[chosen], self.from_ns[chosen], self.time_ns[chosen], self.took_ns[chosen],
            self.value[chosen],
        )  # fmt: skip


def read_columns(folder: Path, stem: str, from_ns: int, until_ns: int) -> Columns:
    """The undamaged records of a journal, at least those written between two times."""
    pieces: list[NDArray[np.void]] = []
    for _, path in segments(folder, stem):
        content = read_from(path, _offset_of(path, from_ns), 2 * SEGMENT_BYTES)
        records = _undamaged(content)
        pieces.append(records)
        if len(records) and int(records["time_ns"][0]) > until_ns:
            break
    table = np.concatenate(pieces) if pieces else np.empty(0, _RECORD)
    table = table[np.argsort(table["time_ns"], kind="stable")]
    return Columns(
        table["kind"], table["channel"], table["from_ns"], table["time_ns"], table["took_ns"], table["value"]
    )  # fmt: skip


def _undamaged(content: bytes) -> NDArray[np.void]:
    whole = len(content) - len(content) % SAMPLE_BYTES
    table = np.frombuffer(content[:whole], _RECORD)
    view = memoryview(content)
    own = (crc32(view[start + 4 : start + SAMPLE_BYTES]) for start in range(0, whole, SAMPLE_BYTES))
    sums = np.fromiter(own, np.uint32, len(table))
    is_sound = (sums == table["crc"]) & (table["time_ns"] >= 0)
    for name in ("from_ns", "time_ns", "took_ns"):
        is_sound &= (table[name] > -LATEST_NS) & (table[name] < LATEST_NS)
    sound: NDArray[np.void] = table[is_sound & np.isfinite(table["value"])]
    return sound


def _offset_of(path: Path, time_ns: int) -> int:
    """Where reading must begin for the records of a time on: by halving, since records are in order of time."""
    try:
        low, high = 0, path.stat().st_size // SAMPLE_BYTES
    except OSError:
        return 0
    while low < high:
        middle = (low + high) // 2
        sample = decode_sample(read_from(path, middle * SAMPLE_BYTES, SAMPLE_BYTES))
        if sample is None:  # damage: begin before it
            high = middle
        elif sample.time_ns < time_ns:
            low = middle + 1
        else:
            high = middle
    return low * SAMPLE_BYTES

"""Sampler records: a reading, a gap, a cost or a condition in 40 bytes with its own crc32.

All records of a journal have one size, so that a damaged one costs only itself.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

ENERGY, POWER, GAP, COST, CONDITION = 1, 2, 3, 4, 5
"""Kinds of sampler records: a counter's value, a power, a stretch without readings, CPU time used so far, a device's
state."""

SAMPLE_BYTES = 40
_CRC = Struct("<I")
_SAMPLE = Struct("<BxHqqqd")

LATEST_NS = 2**62
"""No clock gives a later time (146 years); a record that claims one is damage, and sums of two times still fit."""


class Sample(NamedTuple):
    """One sampler record: what `kind`, `channel` index, and its three times in ns and one value.

    ENERGY, POWER   unchanged_at_ns, time_ns, took_ns, joules or watts
    GAP             from_ns, to_ns, the reason's index, 0
    COST            0, time_ns, CPU ns of the sampling process so far, 0
    CONDITION       0, time_ns, 0, value; `channel` is the condition's index
    """

    kind: int
    channel: int
    from_ns: int
    time_ns: int
    took_ns: int
    value: float


def encode_sample(kind: int, channel: int, from_ns: int, time_ns: int, took_ns: int, value: float) -> bytes:
    """A sampler record as 40 bytes; struct.error where a number does not fit."""
    body = _SAMPLE.pack(kind, channel, from_ns, time_ns, took_ns, value)
    return _CRC.pack(crc32(body)) + body


def decode_sample(record: bytes | memoryview) -> Sample | None:
    """The sampler record in 40 bytes; None where they are damaged."""
    if len(record) != SAMPLE_BYTES or _CRC.unpack_from(record)[0] != crc32(record[_CRC.size :]):
        return None
    sample = Sample(*_SAMPLE.unpack_from(record, _CRC.size))
    return sample if 0 <= sample.time_ns < LATEST_NS and -LATEST_NS < sample.from_ns < LATEST_NS else None

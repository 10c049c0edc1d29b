"""Mark records: a mark in 128 bytes, or more records that follow each other where its texts are long.

All records have one size and a crc32 each, so that a damaged one costs only its own mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import get_args
from zlib import crc32

from wattvlm.sampling.records import LATEST_NS
from wattvlm.trace import Mark, MarkKind

_CRC = Struct("<I")

MARK_BYTES = 128
LONGEST_MARK_BYTES = 2**20
"""A longer text is cut: one os.write of a mark must stay short enough never to hold the measured program up."""

_MARK_HEAD = Struct("<BxxxIIIIqqqd")
_MARK_ROOM = MARK_BYTES - _CRC.size - _MARK_HEAD.size
_MORE_HEAD = Struct("<BxxxIq")
_MORE_ROOM = MARK_BYTES - _CRC.size - _MORE_HEAD.size
_MORE = 255
_KINDS: tuple[MarkKind, ...] = get_args(MarkKind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}


def encode_mark(mark: Mark) -> bytes:
    """A mark as one record, or several that follow each other where its texts are long.

    struct.error or TypeError where a field is not what Mark says.
    """
    name, device, text = mark.name, mark.device, mark.text
    # surrogatepass: file names that are not UTF-8 reach Python as lone surrogates and may stand in a label
    payload = (name + device + text).encode("utf-8", "surrogatepass")
    if len(payload) > LONGEST_MARK_BYTES:
        name, device, text, payload = _cut(name, device, text)
    body = _MARK_HEAD.pack(
        _CODES[mark.kind], len(payload), len(name), len(device), 0, mark.time_ns, mark.call_id, mark.lane, mark.value
    ) + payload[:_MARK_ROOM].ljust(_MARK_ROOM, b"\0")
    first = _CRC.pack(crc32(body)) + body
    if len(payload) <= _MARK_ROOM:
        return first
    return first + b"".join(_continuations(payload[_MARK_ROOM:], mark.time_ns))


def _cut(name: str, device: str, text: str) -> tuple[str, str, str, bytes]:
    most = LONGEST_MARK_BYTES // 16  # a character takes at most 4 bytes, and there are three texts
    name, device, text = name[:most], device[:most], text[: 2 * most]
    return name, device, text, (name + device + text).encode("utf-8", "surrogatepass")


def _continuations(rest: bytes, time_ns: int) -> Iterator[bytes]:
    for number, start in enumerate(range(0, len(rest), _MORE_ROOM), start=1):
        body = _MORE_HEAD.pack(_MORE, number, time_ns) + rest[start : start + _MORE_ROOM].ljust(_MORE_ROOM, b"\0")
        yield _CRC.pack(crc32(body)) + body


def decode_marks(content: bytes | memoryview) -> Iterator[Mark]:
    """The whole marks in a journal's bytes, in their order; damaged and torn ones are passed over."""
    records = (content[start : start + MARK_BYTES] for start in range(0, len(content), MARK_BYTES))
    waiting: _LongMark | None = None
    for record in _undamaged(records):
        if record[_CRC.size] == _MORE:
            if waiting is not None and waiting.take(record):
                yield from waiting.finished()
                waiting = waiting if waiting.is_short_of_bytes else None
            else:
                waiting = None
            continue
        waiting = _LongMark(record)
        yield from waiting.finished()
        waiting = waiting if waiting.is_short_of_bytes else None


def _undamaged(records: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    for record in records:
        if len(record) == MARK_BYTES and _CRC.unpack_from(record)[0] == crc32(record[_CRC.size :]):
            yield record


class _LongMark:
    """A mark whose records are still coming."""

    def __init__(self, first: bytes | memoryview) -> None:
        self._head: tuple[int, int, int, int, int, int, int, int, float] = _MARK_HEAD.unpack_from(first, _CRC.size)
        self._length = self._head[1]
        self._parts = [bytes(first[_CRC.size + _MARK_HEAD.size :])]

    @property
    def is_short_of_bytes(self) -> bool:
        return _MARK_ROOM + (len(self._parts) - 1) * _MORE_ROOM < self._length

    def take(self, record: bytes | memoryview) -> bool:
        """Add the next record; False where it belongs to another mark or one before it is missing."""
        _, number, time_ns = _MORE_HEAD.unpack_from(record, _CRC.size)
        if number != len(self._parts) or time_ns != self._head[5]:
            return False
        self._parts.append(bytes(record[_CRC.size + _MORE_HEAD.size :]))
        return True

    def finished(self) -> Iterator[Mark]:
        """The mark, once all its bytes are there and make sense."""
        if self.is_short_of_bytes:
            return
        code, length, name_length, device_length, _, time_ns, call_id, lane, value = self._head
        try:
            whole = b"".join(self._parts)[:length].decode("utf-8", "surrogatepass")
            kind = _KINDS[code]
        except (UnicodeDecodeError, IndexError):
            return
        if not 0 <= time_ns < LATEST_NS or name_length + device_length > len(whole):
            return
        name, rest = whole[:name_length], whole[name_length:]
        device, text = rest[:device_length], rest[device_length:]
        yield Mark(time_ns, kind, call_id, name, lane, device, value, text)

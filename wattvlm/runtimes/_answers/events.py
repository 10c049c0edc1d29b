"""What comes back: server-sent events or one JSON body, read as they pass and never changed."""

from __future__ import annotations

import json
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

KEPT_EVENTS = 4
"""Usage and times stand in the last events of a stream: at most a finish, a usage and an end mark."""

LARGEST_BODY_BYTES = 2**25


class AnswerReader:
    """An answer as it passes. first_ns: when the first generated text arrived; last_ns: the last event.

    is_stream: whether it came as events. is_done: whether its end was seen. A body whose compression only the client
    knows is not read: is_opaque.
    """

    def __init__(self) -> None:
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.is_stream: bool | None = None
        self.is_done = False
        self.is_opaque = False
        self._inflate: Any = None
        self._rest = b""
        self._events: deque[bytes | Mapping[str, Any]] = deque(maxlen=KEPT_EVENTS)

    def expect(self, content_encoding: str) -> None:
        """How the bytes are compressed, by the header of that name."""
        if content_encoding in ("gzip", "deflate"):
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif content_encoding not in ("", "identity"):
            self.is_opaque = True

    def take(self, chunk: bytes | str, now_ns: int) -> bool:
        """The next piece of the answer. True where it holds the first generated text."""
        if self.is_opaque:
            return False
        content = chunk.encode() if isinstance(chunk, str) else chunk
        if self._inflate is not None:
            content = self._inflate.decompress(content)
        if self.is_stream is None and content.strip():
            self.is_stream = not content.lstrip().startswith((b"{", b"["))
        self._rest += content
        if not self.is_stream:
            self.last_ns = now_ns
            if len(self._rest) > LARGEST_BODY_BYTES:
                self._rest, self.is_opaque = b"", True
            return False
        return self._take_lines(now_ns)

    def take_parsed(self, part: Mapping[str, Any], now_ns: int, is_event: bool) -> bool:
        """An event of a stream, or a whole answer, that is parsed already; otherwise as `take`."""
        self.is_stream, self.last_ns = is_event, now_ns
        self._events.append(part)
        is_first = is_event and self.first_ns is None and has_content(part)
        if is_first:
            self.first_ns = now_ns
        return is_first

    def read_whole(self, content: bytes) -> None:
        """The whole answer, as the client unpacked it; its times are not known."""
        self._inflate, self._rest, self.is_opaque, self.is_stream = None, b"", False, None
        self.take(content, time.monotonic_ns())
        self.first_ns = None

    def _take_lines(self, now_ns: int) -> bool:
        *lines, self._rest = self._rest.split(b"\n")
        was_first = False
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self.is_done = True
                continue
            self.last_ns = now_ns
            self._events.append(payload)
            if self.first_ns is None and has_content(_mapping(payload)):
                self.first_ns, was_first = now_ns, True
        return was_first

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come, as far as can be told: its end mark, a reason to finish, or one body."""
        if self.is_done or self.is_opaque or self.is_stream is False:
            return True
        choices = [choice for event in self._events for choice in sequence(_mapping(event).get("choices"))]
        return any(mapping(choice).get("finish_reason") for choice in choices)

    def answer(self) -> Mapping[str, Any]:
        """What the server said of the whole answer: usage, timings, metrics, model; {} where nothing was understood."""
        bodies = list(self._events) or [self._rest]
        said: dict[str, Any] = {}
        for body in bodies:
            whole = _mapping(body)
            for part in (whole, mapping(whole.get("response"))):
                for name in ("usage", "timings", "metrics", "model"):
                    if part.get(name):
                        said[name] = part[name]
        return said


def has_content(event: Mapping[str, Any]) -> bool:
    """Whether an event carries generated text, reasoning or a tool call (and not only a role)."""
    for choice in sequence(event.get("choices")):
        part = mapping(choice)
        delta = mapping(part.get("delta"))
        if part.get("text") or any(value for name, value in delta.items() if name != "role"):
            return True
    kind = event.get("type")
    if isinstance(kind, str) and kind.endswith(".delta"):
        return bool(event.get("delta"))
    return isinstance(event.get("content"), str) and bool(event["content"])


def _mapping(payload: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(payload, bytes):
        return payload
    try:
        return mapping(json.loads(payload))
    except (ValueError, RecursionError):
        return {}


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()

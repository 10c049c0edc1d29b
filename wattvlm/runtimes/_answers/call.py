"""One request and its answer as a call: what passes is looked at, and at the end it becomes marks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from wattvlm.runtimes import next_call_id
from wattvlm.runtimes._answers.asked import Asked
from wattvlm.runtimes._answers.counts import ServerTimes, counts_of, times_of
from wattvlm.runtimes._answers.events import AnswerReader, mapping
from wattvlm.runtimes._answers.image_tokens import ModelFiles
from wattvlm.runtimes._watching import Watching
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE, Mark, MarkKind, ModelFacts
from wattvlm.units import NS_PER_MS

TRIP_STD_NS = NS_PER_MS
"""What lies between an event in a server of this machine and its sight here: one trip through the loopback."""


class AnsweredCall:
    """A call whose answer is read piece by piece. `arrived` never raises.

    trip_std_ns: how unsure the moment is at which something happened in the engine.
    """

    def __init__(self, watching: Watching, trip_std_ns: int = TRIP_STD_NS) -> None:
        self._watching = watching
        self._trip_std_ns = trip_std_ns
        self.call_id = next_call_id()
        self._lane = threading.get_ident()
        self.reader = AnswerReader()
        self.is_over = False
        self.is_split = False
        self._start_ns = time.monotonic_ns()
        self._mark("call_start", self._start_ns, watching.name)

    def arrived(self, chunk: bytes | str) -> None:
        """A piece of the answer has come."""
        now_ns = time.monotonic_ns()
        if self.is_over:
            return
        try:
            if self.reader.take(chunk, now_ns):
                self._mark("first_token", now_ns)
        except Exception as error:
            self.reader.is_opaque = True
            self._watching.fault("reading an answer", error)

    def said(self, part: object, is_event: bool) -> None:
        """An event or a whole answer has come as a dictionary or as JSON."""
        now_ns = time.monotonic_ns()
        if self.is_over:
            return
        try:
            parsed: object = json.loads(part) if isinstance(part, (str, bytes)) else part
            if self.reader.take_parsed(mapping(parsed), now_ns, is_event):
                self._mark("first_token", now_ns)
        except Exception as error:
            self._watching.fault("reading an answer", error)

    def close(self, how: str, now_ns: int) -> tuple[Mapping[str, Any], ServerTimes | None]:
        """End the call. Gives what the server said of the whole answer, and its own times."""
        self.is_over = True
        reader = self.reader
        end_ns = reader.last_ns if not how and reader.last_ns is not None else now_ns
        answer: Mapping[str, Any] = {} if reader.is_opaque else reader.answer()
        times = times_of(answer)
        first_ns, end_ns = self._first_token_ns(times, end_ns)
        self.is_split = first_ns is not None
        if first_ns is not None:
            self._phases(first_ns, end_ns, times)
        self._mark("call_end", end_ns, self._watching.name, text=how)
        return answer, times

    def count(self, asked: Asked | None, answer: Mapping[str, Any], files: ModelFiles | None) -> None:
        """Mark the model's name and all counts that can be known."""
        name = answer.get("model") or (asked.model if asked is not None else "")
        if isinstance(name, str) and name:
            self._mark("facts", self._start_ns, text=ModelFacts(name=name).to_json())
        if answer or self.is_split:
            for count in counts_of(asked, answer, files):
                self._mark("count", self._start_ns, count.name, count.value, count.how)

    def _first_token_ns(self, times: ServerTimes | None, end_ns: int) -> tuple[int | None, int]:
        """(when the first token was there, when the last one was), by what was seen and what the server says.

        The first text may come later than the first token (letters of several tokens are held back), and it may be
        read late; the server's own decode time, counted back from the last event, can only move it to an earlier time.
        """
        seen_ns = self.reader.first_ns
        if times is None:
            return seen_ns, end_ns
        told_ns = max(end_ns - times.decode_ns, self._start_ns)
        first_ns = told_ns if seen_ns is None else min(seen_ns, told_ns)
        return first_ns, min(end_ns, first_ns + times.decode_ns)

    def _phases(self, first_ns: int, end_ns: int, times: ServerTimes | None) -> None:
        prefill_ns = self._start_ns if times is None else max(self._start_ns, first_ns - times.prefill_ns)
        self._mark("phase_start", prefill_ns, PREFILL, self._trip_std_ns, f"{PREPROCESS},{VISION_ENCODE}")
        self._mark("first_token", first_ns)
        self._mark("phase_end", first_ns, PREFILL, self._trip_std_ns)
        self._mark("phase_start", first_ns, DECODE, self._trip_std_ns)
        self._mark("phase_end", end_ns, DECODE, self._trip_std_ns)

    def _mark(self, kind: MarkKind, time_ns: int, name: str = "", value: float = 0.0, text: str = "") -> None:
        self._watching.sink(Mark(time_ns, kind, self.call_id, name, self._lane, value=float(value), text=text))

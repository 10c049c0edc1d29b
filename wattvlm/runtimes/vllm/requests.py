"""One request of vLLM: what is seen of it, and the marks that it makes."""

from __future__ import annotations

import threading
import time
from typing import Any

from wattvlm.runtimes import next_call_id
from wattvlm.runtimes._watching import Watching
from wattvlm.runtimes.vllm.places import places_of
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE, Mark, MarkKind, ModelFacts
from wattvlm.units import NS_PER_S

SCHEDULED = 2
"""vllm.v1.engine.EngineCoreEventType.SCHEDULED; such events come only with disable_log_stats=False."""


class Request:
    """A call: a prompt with its images, and one or several sequences that answer it.

    prepared_since_ns: since when its inputs were prepared, None where that was not seen.
    """

    def __init__(
        self, watching: Watching, request: Any, prepared_since_ns: int | None, facts: ModelFacts | None
    ) -> None:
        self._watching = watching
        self._call_id = next_call_id()
        self._lane = threading.get_ident()
        self.sequences: set[str] = set()
        self._output = 0
        self._steps: dict[str, int] = {}
        self._scheduled_ns: int | None = None
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._is_over = False
        self._start_ns = time.monotonic_ns()
        if prepared_since_ns is not None:
            self._mark("phase_start", prepared_since_ns, PREPROCESS)
            self._mark("phase_end", self._start_ns, PREPROCESS)
        self._mark("call_start", self._start_ns, watching.name)
        if facts is not None:
            self._mark("facts", self._start_ns, text=facts.to_json())
        self._count_input(request)

    def _count_input(self, request: Any) -> None:
        """Prompt tokens as the engine gets them, with a place for each visual one."""
        places = places_of((feature.modality, feature.mm_position) for feature in request.mm_features or ())
        self._count("visual_input", places.visual, "places of images and videos in the prompt, as vLLM lays them out")
        if places.images is not None:
            self._count("images", places.images, "images of the prompt")
        self._count("batch_size", 1, "one prompt a request")
        ids = request.prompt_token_ids
        if places.audio:
            self._count("audio_input", places.audio, "places of sounds in the prompt, as vLLM lays them out")
        if ids is not None:
            text = len(ids) - places.visual - places.audio
            self._count("text_input", text, "prompt tokens of the engine less those of media")

    def step(self, output: Any, stamp_ns: int) -> None:
        """A step of the engine has given tokens of one of the sequences."""
        for event in output.events or ():
            if int(event.type) == SCHEDULED and self._scheduled_ns is None:
                self._scheduled_ns = round(event.timestamp * NS_PER_S)
        cached = getattr(getattr(output, "prefill_stats", None), "num_cached_tokens", None)
        if cached is not None and self._first_ns is None:
            self._count("cached_input", int(cached), "prefix cache of the engine")
        if not output.new_token_ids:
            return
        self._output += len(output.new_token_ids)
        name = str(output.request_id)
        self._steps[name] = self._steps.get(name, 0) + 1
        self._last_ns = stamp_ns
        if self._first_ns is None:
            self._first_ns = stamp_ns
            self._prefilled(stamp_ns)

    def _prefilled(self, first_ns: int) -> None:
        start_ns = self._start_ns if self._scheduled_ns is None else max(self._scheduled_ns, self._start_ns)
        self._mark("phase_start", min(start_ns, first_ns), PREFILL, text=VISION_ENCODE)
        self._mark("phase_end", first_ns, PREFILL)
        self._mark("first_token", first_ns)
        self._mark("phase_start", first_ns, DECODE)
        if self._scheduled_ns is None:
            self._watching.note(
                "vllm: prefill begins when a request enters the engine, so it holds the wait for its turn and the "
                "vision encoder. Cure for the wait: LLM(..., disable_log_stats=False)",
                self._call_id,
            )
        else:
            line = "vllm: prefill begins when the engine schedules a request; it holds the vision encoder"
            self._watching.note(line, self._call_id)

    def let_go(self, sequence: str, how: str) -> bool:
        """The front end has let go of a sequence. True where it was the call's last one."""
        self.sequences.discard(sequence)
        if self.sequences:
            return False
        self.end(how)
        return True

    def end(self, how: str) -> None:
        """Close the call at its last token."""
        if self._is_over:
            return
        self._is_over = True
        end_ns = self._last_ns if self._last_ns is not None and not how else time.monotonic_ns()
        if self._first_ns is not None:
            self._mark("phase_end", end_ns, DECODE)
        self._mark("call_end", end_ns, self._watching.name, text=how)
        self._count("output", self._output, "tokens that the engine gave")
        self._count("decode_steps", max([1, *self._steps.values()]) - 1, "steps of the engine after the prefill")

    def _count(self, name: str, value: int, how: str) -> None:
        self._mark("count", time.monotonic_ns(), name, value, how)

    def _mark(self, kind: MarkKind, time_ns: int, name: str = "", value: float = 0.0, text: str = "") -> None:
        self._watching.sink(Mark(time_ns, kind, self._call_id, name, self._lane, value=float(value), text=text))

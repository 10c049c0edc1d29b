"""One call of llama-cpp-python: what is seen of it, and the marks that it makes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from wattvlm.runtimes import next_call_id
from wattvlm.runtimes._watching import Watching
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, Mark, MarkKind, ModelFacts


class LlamaCall:
    """A call from its start to its last token."""

    def __init__(self, watching: Watching, given: Mapping[str, Any]) -> None:
        self._watching = watching
        self._call_id = next_call_id()
        self._lane = threading.get_ident()
        self._prefill_ns: int | None = None
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._is_over = False
        self._computed = 0
        self._visual = 0
        self._audio = 0
        self._images = 0
        self._prompt: int | None = None
        self._output = 0
        self._start_ns = time.monotonic_ns()
        self._mark("call_start", self._start_ns, watching.name)
        self._mark("phase_start", self._start_ns, PREPROCESS)
        path = getattr(given.get("self"), "model_path", "")
        if path:
            self._mark("facts", self._start_ns, text=ModelFacts(name=str(path)).to_json())

    def evaluation_starts(self, tokens: Sequence[int]) -> None:
        """Some prompt tokens, or after the first token the last one, are about to be computed."""
        if self._first_ns is None:
            self._prefill_starts()
            self._computed += len(tokens)

    def image_starts(self, tokens: int) -> None:
        """An image is about to be encoded and its tokens computed."""
        self._prefill_starts()
        self._visual += tokens
        self._images += 1

    def audio_starts(self, tokens: int) -> None:
        """A sound, the only other thing that llama.cpp takes, is about to be encoded and its tokens computed."""
        self._prefill_starts()
        self._audio += tokens

    def generation_starts(self, tokens: Sequence[int]) -> None:
        """The whole prompt, as the model has it."""
        if self._prompt is None:
            self._prompt = len(tokens)

    def token_came(self, now_ns: int) -> None:
        self._output += 1
        self._last_ns = now_ns
        if self._first_ns is None:
            self._prefill_starts()
            self._first_ns = now_ns
            self._mark("phase_end", now_ns, PREFILL)
            self._mark("first_token", now_ns)
            self._mark("phase_start", now_ns, DECODE)

    def _prefill_starts(self) -> None:
        if self._prefill_ns is None:
            self._prefill_ns = time.monotonic_ns()
            self._mark("phase_end", self._prefill_ns, PREPROCESS)
            self._mark("phase_start", self._prefill_ns, PREFILL)
            self._watching.note(
                "prefill of llama-cpp-python holds the vision encoder: both are one call into llama.cpp"
            )

    def end(self, how: str = "") -> None:
        """Close what is open, and count."""
        if self._is_over:
            return
        self._is_over = True
        now_ns = time.monotonic_ns()
        opened = DECODE if self._first_ns is not None else PREFILL if self._prefill_ns is not None else PREPROCESS
        self._mark("phase_end", now_ns, opened)
        self._mark("call_end", now_ns, self._watching.name, text=how)
        self._count("output", self._output, "tokens as generate gave them")
        self._count("images", self._images, "images computed")
        self._count("visual_input", self._visual, "tokens of the images computed, by llama.cpp")
        if self._audio:
            self._count("audio_input", self._audio, "tokens of the sounds computed, by llama.cpp")
        if self._prompt is not None:
            text = self._prompt - self._visual - self._audio
            self._count("text_input", text, "tokens of the prompt less those of media")
            cached = max(text - self._computed, 0)
            self._count("cached_input", cached, "tokens of the prompt that were not computed")

    def _count(self, name: str, value: int, how: str) -> None:
        self._mark("count", time.monotonic_ns(), name, value, how)

    def _mark(self, kind: MarkKind, time_ns: int, name: str = "", value: float = 0.0, text: str = "") -> None:
        self._watching.sink(Mark(time_ns, kind, self._call_id, name, self._lane, value=float(value), text=text))

"""llama.cpp's own timing lines, as its programs write them to stderr after each request, made into marks.

    prompt eval time =     303.55 ms /    29 tokens (...)
           eval time =       8.71 ms /    11 runs   (...)
          total time =     630.00 ms /    40 tokens

They say how long, not when. The server (llama-server) writes them when a request is done, so its phases lie just
before the lines. Programs for one answer (llama-cli, llama-mtmd-cli) write them at their end, with the time for
sampling and for loading in the total: what is not accounted for becomes the uncertainty of the boundary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wattvlm.runtimes import next_call_id
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark, MarkKind
from wattvlm.units import NS_PER_MS, SQRT_12

RUNTIME_NAME = "llama_cpp"

_TIME = re.compile(r"(load|prompt eval|eval|total) time =\s*(\d+(?:\.\d+)?) ms(?: /\s*(\d+) (tokens|runs))?")
_TASK = re.compile(r"\| task (\d+) \|")
_ENCODED = re.compile(r"(?:image|audio)?(?: slice)? ?encoded in (\d+(?:\.\d+)?) ms")
_VISUAL = re.compile(r"n_tokens_batch = (\d+)")

_WRITING_NS = NS_PER_MS
"""How late a line may be: it is written, read and stamped after the last token."""

_SOURCE = "llama.cpp's timing lines"


def is_of_llama_cpp(words: Sequence[str]) -> bool:
    """The command, or the script that it runs, is named llama-... as llama.cpp's programs are."""
    return any(Path(word).name.startswith("llama") for word in words[:2])


@dataclass(slots=True)
class _Request:
    """What the lines of one request have said so far; times in ns."""

    told_ns: int = 0
    took_ns: dict[str, int] = field(default_factory=dict[str, int])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    encoded_ns: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    visual_tokens: int = 0


class TimingLines:
    """Takes a program's lines as they come; `marks` are those of the requests that ended."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._requests: dict[str, _Request] = {}

    def take(self, time_ns: int, line: str) -> None:
        """A line and when it was read, monotonic."""
        task = _TASK.search(line)
        name = task[1] if task is not None else ""
        request = self._requests.get(name) or _Request()
        encoded, visual, timed = _ENCODED.search(line), _VISUAL.search(line), _TIME.search(line)
        if encoded is not None:
            took_ns = round(float(encoded[1]) * NS_PER_MS)
            request.encoded_ns.append((time_ns - took_ns, time_ns))
        elif visual is not None:
            request.visual_tokens += int(visual[1])
        elif timed is not None:
            what, milliseconds, count, unit = timed.groups()
            request.told_ns = request.told_ns or time_ns
            request.took_ns[what] = round(float(milliseconds) * NS_PER_MS)
            if count is not None:
                request.counts[f"{what} {unit}"] = int(count)
            if what == "total":
                self.marks += _marks(request)
                self._requests.pop(name, None)
                return
        else:
            return
        self._requests[name] = request


def _marks(request: _Request) -> list[Mark]:
    """The marks of one call; none where it has no prompt."""
    prompt_ns, eval_ns = request.took_ns.get("prompt eval"), request.took_ns.get("eval")
    if prompt_ns is None or eval_ns is None:
        return []
    call_id, end_ns = next_call_id(), request.told_ns
    # load time lasts to the end of the first evaluation, so what follows it is decoding and sampling
    loaded_ns = request.took_ns.get("load")
    unsure_ns = 0 if loaded_ns is None else max(0, request.took_ns["total"] - loaded_ns - eval_ns)
    first_ns = end_ns - eval_ns - unsure_ns // 2
    start_ns = min([first_ns - prompt_ns, *(began_ns for began_ns, _ in request.encoded_ns)])
    std_ns = max(_WRITING_NS, unsure_ns) / SQRT_12

    def mark(time_ns: int, kind: MarkKind, name: str = "", value: float = 0.0, text: str = "") -> Mark:
        return Mark(time_ns, kind, call_id, name, value=value, text=text)

    marks = [mark(start_ns, "call_start", RUNTIME_NAME)]
    for began_ns, ended_ns in request.encoded_ns:
        marks += [mark(began_ns, "phase_start", VISION_ENCODE, std_ns), mark(ended_ns, "phase_end", VISION_ENCODE)]
    marks += [
        mark(first_ns - prompt_ns, "phase_start", PREFILL, std_ns),
        mark(first_ns, "phase_end", PREFILL, std_ns),
        mark(first_ns, "first_token"),
        mark(first_ns, "phase_start", DECODE, std_ns),
        mark(end_ns, "phase_end", DECODE, std_ns),
        *(mark(end_ns, "count", name, value, _SOURCE) for name, value in _counts(request).items()),
        mark(end_ns, "call_end", RUNTIME_NAME, text="returned"),
    ]
    return marks


def _counts(request: _Request) -> dict[str, int]:
    counts: dict[str, int] = {}
    prompt = request.counts.get("prompt eval tokens")
    if request.visual_tokens:
        counts["visual_input"] = request.visual_tokens
        if prompt is not None and prompt >= request.visual_tokens:
            counts["text_input"] = prompt - request.visual_tokens
    if "eval runs" in request.counts:  # forward passes after the one that gave the first token
        counts["output"] = request.counts["eval runs"] + 1
        counts["decode_steps"] = request.counts["eval runs"]
    elif "eval tokens" in request.counts:
        counts["output"] = request.counts["eval tokens"]
        counts["decode_steps"] = max(0, request.counts["eval tokens"] - 1)
    return counts

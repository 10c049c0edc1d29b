"""What is known of each request of an engine, and windows of time made of it: marks of what each did in them.

Windows follow on each other without a gap, so that joules of a request are the sum of its joules in them, and memory is
that of the requests under way. A request that goes on is a call in each of its windows, with the tokens of that window.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wattvlm.serving.chunks import Chunk, Prompt, Step, chunks_of, step_of
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark, MarkKind
from wattvlm.units import NS_PER_MS, NS_PER_S

SETTLED_NS = 1_500 * NS_PER_MS
"""So long after a moment everything about it has come: lines are sent each second."""

MOST_STEPS = 200_000
"""Kept at a time; a window that never ends loses the oldest, not memory."""


@dataclass(slots=True)
class Request:
    """One request. number: its own, in order of arrival. snapshots: (time, tokens given by then), the latest last.

    lost_ns: when it lost its cache, while it waits to be computed again. pauses: (from, to) of such waits.
    again: stretches in which its prompt was computed again.
    """

    number: int
    name: str
    arrived_ns: int
    prompt: int | None
    visual: int | None
    images: int | None
    parent: str = ""
    cached: int = 0
    scheduled_ns: int = 0
    first_ns: int = 0
    snapshots: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    is_over: bool = False
    ended: str = ""
    preemptions: int = 0
    lost_ns: int | None = None
    pauses: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    again: list[Chunk] = field(default_factory=list[Chunk])

    @property
    def last_ns(self) -> int:
        """When its latest token came; its arrival, where it has none."""
        return self.snapshots[-1][0] if self.snapshots else self.arrived_ns

    @property
    def output(self) -> int:
        """Tokens that it has given."""
        return self.snapshots[-1][1] if self.snapshots else 0

    def output_at(self, time_ns: int, steps: Sequence[Step]) -> int:
        """Tokens that it had given by a time: as many each iteration between what is known."""
        index = bisect_right(self.snapshots, (time_ns, 1 << 62))
        if index == 0:
            return 0
        before_ns, before = self.snapshots[index - 1]
        if index == len(self.snapshots):
            return before
        after_ns, after = self.snapshots[index]
        first, here, last = (step_of(steps, each + 1) for each in (before_ns, time_ns, after_ns))
        return before + round((after - before) * (here - first) / max(last - first, 1))


@dataclass(frozen=True, slots=True)
class Window:
    """A window of time: its marks, whose calls they are by call id, and those requests that were over at its end."""

    start_ns: int
    end_ns: int
    marks: tuple[Mark, ...]
    calls: Mapping[int, Request]
    over: tuple[Request, ...]


_STEPS_KEPT_NS = 10 * NS_PER_S
"""Before a window, for what lies between two looks at a request."""


class Requests:
    """All requests under way, from the lines of the engine's side.

    full_at: tokens of a full iteration, 0 where the engine does not tell. ahead: whether its scheduler plans the next
    iteration while one runs. start_ns: of the first window.
    """

    def __init__(self, full_at: int, start_ns: int, ahead: bool = False) -> None:
        self.start_ns = start_ns
        self.latest_ns = start_ns
        self._full_at, self._ahead = full_at, ahead
        self._under_way: dict[str, Request] = {}
        self._steps: list[Step] = []
        self._again: dict[int, int] = {}
        self._number = 0
        self._calls = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """Take a line: a request that came, an iteration that ended, or how far a request is."""
        kind = line["kind"]
        if kind == "came":
            self._number += 1
            self._under_way[line["id"]] = Request(
                self._number, line["name"], line["time_ns"], line["prompt"], line["visual"], line["images"],
                line["parent"],
            )  # fmt: skip
        elif kind == "step":
            step = Step(line["time_ns"], line["tokens"], line["again"])
            if not self._steps or step.end_ns > self._steps[-1].end_ns:
                self._steps.append(step)
                del self._steps[:-MOST_STEPS]
                if step.computed_again:
                    self._again[step.end_ns] = step.computed_again
            self.latest_ns = max(self.latest_ns, step.end_ns)
        elif kind == "at":
            self._advance(line)

    def _advance(self, line: Mapping[str, Any]) -> None:
        known = self._under_way.get(line["id"])
        if known is None:
            return
        known.cached, known.scheduled_ns, known.first_ns = line["cached"], line["scheduled_ns"], line["first_ns"]
        known.prompt = known.prompt if line["prompt"] is None else line["prompt"]
        more = line["output"] > known.output
        if more and known.lost_ns is not None:
            self._computed_again(known, known.lost_ns, line["last_ns"])
        if more:
            if not known.snapshots and known.first_ns:
                known.snapshots.append((known.first_ns, 1))
            if (line["last_ns"], line["output"]) > known.snapshots[-1]:
                known.snapshots.append((line["last_ns"], line["output"]))
        if line["preemptions"] > known.preemptions:
            known.preemptions = line["preemptions"]
            known.lost_ns = known.last_ns
        if line["over"]:
            known.is_over, known.ended = True, line["ended"]
        self.latest_ns = max(self.latest_ns, known.last_ns)

    def _computed_again(self, known: Request, lost_ns: int, until_ns: int) -> None:
        """A request that had lost its cache gives tokens again: the iterations in which it was computed again."""
        known.lost_ns = None
        wanted = (known.prompt or 0) + known.output
        for end_ns, tokens in self._again.items():
            if lost_ns < end_ns <= until_ns and tokens > 0 and wanted > 0:
                taken = min(tokens, wanted)
                self._again[end_ns] -= taken
                wanted -= taken
                index = step_of(self._steps, end_ns)
                start_ns = max(lost_ns, self._steps[index - 1].end_ns if index else lost_ns)
                known.again.append(Chunk(known.number, start_ns, end_ns, taken))
        if known.again:
            known.pauses.append((lost_ns, known.again[-1].end_ns))

    def is_ready(self, now_ns: int, window_ns: int) -> bool:
        """Whether the next window is over and settled."""
        return now_ns - SETTLED_NS >= self.start_ns + window_ns

    def under_way_at(self, time_ns: int) -> int:
        """Requests that had come by a time."""
        return sum(each.arrived_ns < time_ns for each in self._under_way.values())

    def cut(self, earliest_ns: int, latest_ns: int) -> Window:
        """The window up to an iteration's end between two times, at which as few prompts as may be are under way."""
        ends = [step.end_ns for step in self._steps if max(earliest_ns, self.start_ns + 1) <= step.end_ns <= latest_ns]
        end_ns = min(reversed(ends), key=self._prompts_at) if ends else max(latest_ns, self.start_ns + 1)
        start_ns = self.start_ns
        own = [each for each in self._under_way.values() if each.arrived_ns < end_ns]
        prompts = [
            Prompt(each.number, each.scheduled_ns, each.first_ns, max((each.prompt or 0) - each.cached, 1))
            for each in own
            if each.scheduled_ns and start_ns < each.first_ns <= end_ns
        ]
        inside = [step for step in self._steps if step.end_ns <= end_ns]
        chunks: dict[int, list[Chunk]] = {}
        again = [chunk for each in own for chunk in each.again]
        for chunk in [*chunks_of(prompts, inside, self._full_at, self._ahead), *again]:
            if start_ns < chunk.end_ns <= end_ns:
                chunks.setdefault(chunk.number, []).append(chunk)
        calls = dict(enumerate(own, start=self._calls + 1))
        self._calls += len(own)
        marks = [
            mark
            for call_id, each in calls.items()
            for mark in _marks(each, call_id, (start_ns, end_ns), self._steps, chunks.get(each.number, []))
        ]
        over = tuple(each for each in own if each.is_over and each.last_ns <= end_ns)
        self._forget(end_ns, over)
        self.start_ns = end_ns
        return Window(start_ns, end_ns, tuple(marks), calls, over)

    def _prompts_at(self, time_ns: int) -> int:
        return sum(0 < each.scheduled_ns < time_ns < each.first_ns for each in self._under_way.values())

    def _forget(self, end_ns: int, over: tuple[Request, ...]) -> None:
        gone = {each.number for each in over}
        self._under_way = {key: each for key, each in self._under_way.items() if each.number not in gone}
        kept = max(step_of(self._steps, end_ns - _STEPS_KEPT_NS) - 1, 0)
        del self._steps[:kept]
        self._again = {time_ns: tokens for time_ns, tokens in self._again.items() if time_ns > end_ns - NS_PER_S}
        for each in self._under_way.values():
            before = bisect_right(each.snapshots, (end_ns, 1 << 62)) - 1
            del each.snapshots[: max(before, 0)]


def _marks(
    request: Request, call_id: int, window_ns: tuple[int, int], steps: Sequence[Step], chunks: list[Chunk]
) -> list[Mark]:
    """The call of a request in a window."""
    start_ns, end_ns = window_ns
    from_ns = max(request.arrived_ns, start_ns)
    until_ns = max(min(request.last_ns if request.is_over else end_ns, end_ns), from_ns)
    before = request.output_at(start_ns, steps) if request.first_ns and request.first_ns <= start_ns else 0
    given = request.output_at(until_ns, steps) - before
    is_first = start_ns < request.first_ns <= end_ns

    def mark(time_ns: int, kind: MarkKind, name: str = "", value: float = 0.0, text: str = "") -> Mark:
        return Mark(time_ns, kind, call_id, name, value=value, text=text)

    marks = [mark(from_ns, "call_start", "vllm", text=request.name)]
    is_known = request.prompt is not None and request.visual is not None
    counts = {
        "text_input": (request.prompt or 0) - (request.visual or 0) + before if is_known else None,
        "visual_input": request.visual, "images": request.images, "cached_input": request.cached,
        "output": given + (before > 0), "decode_steps": max(given - (before == 0), 0), "batch_size": 1,
    }  # fmt: skip
    marks += [mark(from_ns, "count", name, value, _HOW) for name, value in counts.items() if value is not None]
    for chunk in sorted(chunks, key=_start_ns):
        holds = VISION_ENCODE if request.visual and is_first else ""
        marks.append(mark(max(chunk.start_ns, start_ns), "phase_start", PREFILL, text=holds))
        marks.append(mark(chunk.end_ns, "phase_end", PREFILL, text="" if chunk.tokens is None else str(chunk.tokens)))
    if is_first:
        marks.append(mark(request.first_ns, "first_token"))
    if request.first_ns and request.first_ns < until_ns:
        decoded = (max(request.first_ns, start_ns), until_ns)
        for one, two in _outside(decoded, request.pauses, request.lost_ns):
            marks += [mark(one, "phase_start", DECODE), mark(two, "phase_end", DECODE)]
    return [*marks, mark(until_ns, "call_end", text=request.ended or "returned")]


_HOW = "the engine's own count"


def block_of(windows: Sequence[Window], label: str = "") -> list[Mark]:
    """The marks of windows that follow on each other as one block, the last of them as the phase LATEST in it.

    Rates are found from all of them: in a window of its own there may have been no moment that tells one from another.
    """
    start_ns, end_ns = windows[0].start_ns, windows[-1].end_ns
    marks = [
        Mark(start_ns, "block_start", 1, label),
        Mark(windows[-1].start_ns, "phase_start", name=LATEST),
        Mark(end_ns, "phase_end", name=LATEST),
        Mark(end_ns, "block_end", 1),
    ]
    return sorted([*marks, *(mark for window in windows for mark in window.marks)], key=_time_ns)


LATEST = "latest window"


def _time_ns(mark: Mark) -> int:
    return mark.time_ns


def _start_ns(chunk: Chunk) -> int:
    return chunk.start_ns


def _outside(decoded: tuple[int, int], pauses: list[tuple[int, int]], lost_ns: int | None) -> list[tuple[int, int]]:
    """A stretch without the pauses in it."""
    found: list[tuple[int, int]] = []
    from_ns, until_ns = decoded
    for one, two in [*pauses, *([] if lost_ns is None else [(lost_ns, until_ns)])]:
        if one < until_ns and two > from_ns:
            if one > from_ns:
                found.append((from_ns, one))
            from_ns = max(from_ns, two)
    if from_ns < until_ns:
        found.append((from_ns, until_ns))
    return found

"""Requests of a llama.cpp server by its /slots: what each slot worked on at each look, as calls.

A look says which task a slot has, how much of its prompt is computed and how many tokens it has given. When a request
came, gave its first token and ended lies between two looks; tokens a second between looks place its first token.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, cast

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark, MarkKind

LOOK_EVERY_NS = 100_000_000
"""A request shorter than this may be missed; a look takes the server about a millisecond between two of its steps."""

_LONGEST_ANSWER_S = 2.0
_LARGEST_PAGE_BYTES = 16 * 2**20


@dataclass(slots=True)
class _Task:
    """A request as the looks saw it: not yet at before_ns, at came_ns, first with tokens at seen_ns, last at last_ns.

    seen, given: its tokens at seen_ns and at last_ns. gone_ns: the look at which it was gone.
    """

    name: str
    before_ns: int
    came_ns: int
    seen_ns: int
    seen: int
    computed: int
    cached: int
    last_ns: int
    given: int
    gone_ns: int | None = None


class Slots:
    """The slots of one server. address: without a path. has_vision: None where the server does not tell."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._tasks: dict[tuple[int, int], _Task] = {}
        self._looked_ns = 0
        self.has_vision = self._vision()

    @property
    def are_told(self) -> bool:
        """Whether the server tells its slots."""
        return self._page("/slots") is not None

    def look(self, now_ns: int) -> None:
        """Look, where the look before is long enough ago. Never raises."""
        if now_ns - self._looked_ns < LOOK_EVERY_NS:
            return
        page = self._page("/slots")
        before_ns, self._looked_ns = self._looked_ns or now_ns, now_ns
        if isinstance(page, list):
            self.take(cast("list[dict[str, Any]]", page), before_ns, now_ns)

    def take(self, page: list[dict[str, Any]], before_ns: int, now_ns: int) -> None:
        """A look's slots, and the times of the look before and of this one."""
        at_work: set[tuple[int, int]] = set()
        for slot in page:
            if not slot.get("is_processing"):
                continue
            key = int(slot.get("id", 0)), int(slot.get("id_task", 0))
            at_work.add(key)
            given = sum(int(each.get("n_decoded", 0)) for each in _list(slot.get("next_token")))
            computed, cached = (
                int(slot.get(name) or 0) for name in ("n_prompt_tokens_processed", "n_prompt_tokens_cache")
            )
            name = f"slot {key[0]} task {key[1]}"
            first = _Task(name, before_ns, now_ns, now_ns, given, computed, cached, now_ns, given)
            known = self._tasks.setdefault(key, first)
            known.computed, known.cached = max(known.computed, computed), max(known.cached, cached)
            if not known.given and given:
                known.seen_ns, known.seen = now_ns, given
            known.last_ns, known.given = now_ns, given
        for key, known in self._tasks.items():
            if key not in at_work and known.gone_ns is None:
                known.gone_ns = now_ns

    def marks(self, end_ns: int) -> Iterator[Mark]:
        """The marks of all requests that were seen, up to a time."""
        for number, task in enumerate(self._tasks.values(), start=1):
            yield from self._marks(_FIRST_CALL + number, task, end_ns)

    def _marks(self, call_id: int, task: _Task, end_ns: int) -> Iterator[Mark]:
        first_ns, start_ns = _first_token(task)
        gone_ns = min(end_ns if task.gone_ns is None else (task.last_ns + task.gone_ns) // 2, end_ns)
        gone_ns = max(gone_ns, first_ns)
        std_ns = LOOK_EVERY_NS / 12**0.5

        def mark(time_ns: int, kind: MarkKind, name: str = "", value: float = 0.0, text: str = "") -> Mark:
            return Mark(time_ns, kind, call_id, name, value=value, text=text)

        yield mark(start_ns, "call_start", "llama_cpp", text=task.name)
        counts = {
            "text_input": task.computed + task.cached if self.has_vision is False else None,
            "visual_input": 0 if self.has_vision is False else None, "cached_input": task.cached,
            "output": task.given, "decode_steps": max(task.given - 1, 0), "batch_size": 1,
        }  # fmt: skip
        for name, count in counts.items():
            if count is not None:
                yield mark(start_ns, "count", name, count, "the slot's own count, at the last look")
        yield mark(start_ns, "phase_start", PREFILL, std_ns, VISION_ENCODE if self.has_vision else "")
        yield mark(first_ns, "phase_end", PREFILL, std_ns)
        if task.given > 1 and gone_ns > first_ns:
            yield mark(first_ns, "phase_start", DECODE, std_ns)
            yield mark(gone_ns, "phase_end", DECODE, std_ns)
        yield mark(gone_ns, "call_end", text="returned" if task.gone_ns is not None else "went on")

    def _vision(self) -> bool | None:
        page = self._page("/props")
        told = cast("dict[str, Any]", page).get("modalities") if isinstance(page, dict) else None
        return bool(cast("dict[str, Any]", told).get("vision")) if isinstance(told, dict) else None

    def _page(self, path: str) -> object:
        try:
            with urllib.request.urlopen(f"{self._address}{path}", timeout=_LONGEST_ANSWER_S) as answer:
                found: object = json.loads(answer.read(_LARGEST_PAGE_BYTES))
                return found
        except (OSError, HTTPException, ValueError, urllib.error.URLError):
            return None


_FIRST_CALL = 1_000_000_000
"""Call ids beside those of runtimes in this process."""


def _first_token(task: _Task) -> tuple[int, int]:
    """(when the first token came, when the request came) as far as looks tell: the request after the look before."""
    each_ns = (task.last_ns - task.seen_ns) / (task.given - task.seen) if task.given > task.seen > 0 else 0.0
    first_ns = max(round(task.seen_ns - each_ns * max(task.seen - 1, 0)), task.before_ns)
    return first_ns, (task.before_ns + min(task.came_ns, first_ns)) // 2


def _list(value: object) -> list[dict[str, Any]]:
    if isinstance(value, dict):  # versions before several sequences a slot
        return [cast("dict[str, Any]", value)]
    return cast("list[dict[str, Any]]", value) if isinstance(value, list) else []

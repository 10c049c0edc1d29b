"""Reasoning apart from the answer: by the tags that the tokenizer has as tokens of their own, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from wattvlm.runtimes.transformers.counting import Count
from wattvlm.runtimes.transformers.loose import is_mapping

TAGS = (("<think>", "</think>"), ("◁think▷", "◁/think▷"), ("[THINK]", "[/THINK]"))
"""What models put around their reasoning: GLM-4.1V and Qwen3, Kimi-VL, Magistral."""


@dataclass(frozen=True, slots=True)
class Tags:
    """Token ids before and after reasoning."""

    opens: int
    closes: int


class SeenTokenizers:
    """The tokenizers that processed inputs while a meter was open; they live no longer for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: WeakKeyDictionary[Any, Tags | None] = WeakKeyDictionary()

    def note(self, processor: Any) -> None:
        """A processor is at work: its tokenizer is one of those that calls may use."""
        tokenizer = getattr(processor, "tokenizer", None)
        try:
            if tokenizer is not None and tokenizer not in self._seen:
                tags = _tags_of(tokenizer)
                with self._lock:
                    self._seen[tokenizer] = tags
        except TypeError:  # what cannot be held weakly is not held
            return

    def tags(self, given: Mapping[str, Any]) -> Tags | None:
        """Those of the tokenizer that a call was given; else of all that were seen, if they agree."""
        own = given.get("tokenizer") or getattr(given.get("streamer"), "tokenizer", None)
        if own is not None:
            return _tags_of(own)
        if not self._seen:
            return None
        with self._lock:
            found = set(self._seen.values())
        return found.pop() if len(found) == 1 else None


def _tags_of(tokenizer: Any) -> Tags | None:
    """None also for what only looks like a tokenizer: a streamer takes anything that decodes."""
    try:
        added: Any = tokenizer.get_added_vocab()
    except Exception:  # without the vocabulary the reasoning is unknown, and all else is counted
        return None
    if not is_mapping(added):
        return None
    pairs = [(added.get(opens), added.get(closes)) for opens, closes in TAGS]
    known = [Tags(opens, closes) for opens, closes in pairs if isinstance(opens, int) and isinstance(closes, int)]
    return known[0] if len(known) == 1 else None


def reasoning_count(
    sequences: Iterator[tuple[Sequence[int], Sequence[int]]], tags: Tags, knows_prompt: bool
) -> Count | None:
    """reasoning_output over sequences of (prompt ids, new ids); None where one of them leaves it open."""
    total = 0
    for prompt, new in sequences:
        inside = _is_inside(prompt, tags) if knows_prompt else None
        reasoning = reasoning_tokens(new, tags, inside)
        if reasoning is None:
            return None
        total += reasoning
    return Count("reasoning_output", total, "output ids between the tokenizer's tags of reasoning, tags included")


def reasoning_tokens(new: Sequence[int], tags: Tags, inside: bool | None) -> int | None:
    """How many of the new ids are reasoning. inside: whether the prompt ended in it; None is not known.

    An end without a beginning tells that it had begun before.
    """
    first = next((token for token in new if token in (tags.opens, tags.closes)), None)
    if first == tags.closes:
        inside = True
    elif first == tags.opens:
        inside = bool(inside)
    if inside is None:
        return None
    count = 0
    for token in new:
        inside = inside or token == tags.opens
        count += inside
        inside = inside and token != tags.closes
    return count


def _is_inside(prompt: Sequence[int], tags: Tags) -> bool:
    last = next((token for token in reversed(prompt) if token in (tags.opens, tags.closes)), None)
    return last == tags.opens


def new_ids(row: Sequence[int], end_ids: Collection[int]) -> Sequence[int]:
    """Generated ids up to and with the first end token."""
    for index, token in enumerate(row):
        if token in end_ids:
            return row[: index + 1]
    return row

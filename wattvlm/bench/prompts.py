"""Prompts of random weights as token ids: where pictures and clips stand in them, and which ids are ordinary words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Settings = Mapping[str, Any]

NATIVE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
"""Families that take a picture's own size, in merged patches."""

STAMPED = ("qwen3_vl", "qwen3_5")
"""Of these, those that write the time of each part of a clip before it."""

STAMP_TOKENS = 7
"""As many as "<12.5 seconds>" has in their tokenizer: each digit, the point, and the words around."""

ORDINARY_ID = 100
"""Where the ids of ordinary words begin; special ones lie below it or among those that the configuration names."""

TEXT, PICTURE, CLIP = 0, 1, 2
"""What a token is, in `mm_token_type_ids`."""


def ordinary_ids(settings: Settings) -> range:
    """The longest stretch of ids that holds no special one."""
    vocabulary = int(settings["text_config"]["vocab_size"])
    named = {id for name, id in settings.items() if name.endswith(("_token_id", "_token_index")) and type(id) is int}
    ends = {min(ORDINARY_ID, vocabulary - 2) - 1, vocabulary}
    places = sorted(ends | {id for id in named if min(ends) < id < vocabulary})
    return max((range(low + 1, high) for low, high in pairwise(places)), key=len)


def picture_ids(settings: Settings, tokens: int) -> list[int]:
    """A picture of so many visual tokens, between those that frame it."""
    return _framed(settings, [image_token_of(settings)] * tokens)


def clip_ids(settings: Settings, parts: int, tokens: int, words: range) -> list[int]:
    """A clip of so many parts in time with so many visual tokens each, as its family writes it."""
    token = int(settings["video_token_id"])
    if settings["model_type"] not in STAMPED:
        return _framed(settings, [token] * parts * tokens)
    stamp = list(words[:STAMP_TOKENS])
    return [id for _ in range(parts) for id in (*stamp, *_framed(settings, [token] * tokens))]


def image_token_of(settings: Settings) -> int | None:
    """The id that stands for a visual token."""
    found: int | None = settings.get("image_token_id", settings.get("image_token_index"))
    return found


def _framed(settings: Settings, ids: Sequence[int | None]) -> list[int]:
    start, end = settings.get("vision_start_token_id"), settings.get("vision_end_token_id")
    return [id for id in (start, *ids, end) if id is not None]


def prompt_inputs(torch: Any, settings: Settings, ids: Any) -> dict[str, Any]:
    """What `generate` takes beside pixels. ids: a tensor (prompts, tokens), none of which is padding."""
    found = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if settings["model_type"] in (*NATIVE, "gemma3"):
        marks = "token_type_ids" if settings["model_type"] == "gemma3" else "mm_token_type_ids"
        found[marks] = (ids == image_token_of(settings)).to(ids.dtype) * PICTURE
        if settings.get("video_token_id") is not None:
            found[marks] += (ids == settings["video_token_id"]).to(ids.dtype) * CLIP
    return found

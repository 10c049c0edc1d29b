"""Tokens that media take in a prompt, as vLLM lays them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Places:
    """Tokens of images and videos, tokens of sounds, and images; images None where a video is among them."""

    visual: int
    audio: int
    images: int | None


def places_of(features: Iterable[tuple[str, Any]]) -> Places:
    """The places of (modality, position) of each medium of a prompt."""
    kinds = [(str(modality).partition("_")[0], _embeddings(position)) for modality, position in features]
    images = sum(kind == "image" for kind, _ in kinds)
    return Places(
        sum(tokens for kind, tokens in kinds if kind in ("image", "video")),
        sum(tokens for kind, tokens in kinds if kind == "audio"),
        None if any(kind == "video" for kind, _ in kinds) else images,
    )


def _embeddings(position: Any) -> int:
    """Tokens that embeddings stand for in a placeholder (separators inside it are text)."""
    counted: Any = getattr(position, "get_num_embeds", None)
    return int(position.length if counted is None else counted())

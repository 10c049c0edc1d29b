"""MMEB's evaluation rows: a query, and candidates of which the first is the right one.

JSON lines with qry_text, qry_img_path, tgt_text (a list), tgt_img_path (a list). A query is right where the first
candidate's embedding lies nearest. Source: Jiang et al. 2024 (arXiv 2410.05160).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wattvlm.benchmark_files._entries import objects, picture, text_of
from wattvlm.benchmark_files.question import Picture

PICTURE_TOKEN = "<|image_1|>"


@dataclass(frozen=True, slots=True)
class Side:
    """A text, a picture, or both, of which a model makes one embedding."""

    text: str
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A query with its candidates, the right one first."""

    id: str
    asked: Side
    candidates: tuple[Side, ...]


def read_queries(path: Path, pictures: Path) -> tuple[Query, ...]:
    """The rows of a task whose pictures are all there."""
    found: list[Query] = []
    for number, entry in enumerate(objects(path)):
        asked = _side(text_of(entry, "qry_text"), text_of(entry, "qry_img_path"), pictures)
        texts = [str(each) for each in entry.get("tgt_text", ())]
        names = [str(each) for each in entry.get("tgt_img_path", ())]
        sides = [_side(text, name, pictures) for text, name in zip(texts, names)]
        whole = tuple(each for each in sides if each is not None)
        if asked is not None and whole and len(whole) == len(sides):
            found.append(Query(str(number), asked, whole))
    return tuple(found)


def _side(text: str, name: str, pictures: Path) -> Side | None:
    bare = text.replace(PICTURE_TOKEN, "").strip()
    if not name:
        return Side(bare)
    there = picture(pictures, name)
    return None if there is None else Side(bare, there)


def hit_at_1(nearness: Sequence[float]) -> float:
    """1.0 where the first candidate is nearer than each other one, as its evaluation counts it; else 0.0."""
    return float(all(nearness[0] > each for each in nearness[1:]))

"""BLINK, as JSON lines of its own columns: up to four pictures a question, and letters in brackets.

idx, question, prompt, sub_task, image_1 ... image_4 (paths), choices, answer "(A)". Source: Fu et al. 2024
(arXiv 2404.12390). Its table in VLMEvalKit's form is read as MMBench's.
"""

from __future__ import annotations

from pathlib import Path

from wattvlm.benchmark_files._entries import objects, picture, text_of
from wattvlm.benchmark_files.question import Benchmark, Question

NAME = "blink"
TELLS = "BLINK's rows as .jsonl with idx, question, choices, answer and image_1 ..., and its pictures in a folder"

_MOST_PICTURES = 4


def knows(path: Path, head: str) -> bool:
    """By the keys of its first line."""
    return path.suffix == ".jsonl" and '"choices"' in head and '"image_1"' in head


def read(path: Path, pictures: Path) -> Benchmark:
    """A question all of whose pictures are there; answers of the hidden test split are "hidden" and not marked."""
    found: list[Question] = []
    missing: list[str] = []
    for entry in objects(path):
        id = text_of(entry, "idx")
        names = [text_of(entry, f"image_{place}") for place in range(1, _MOST_PICTURES + 1)]
        there = [picture(pictures, name) for name in names if name]
        if not there or None in there:
            missing.append(id)
            continue
        right = text_of(entry, "answer").strip("()")
        options = tuple(str(each) for each in entry.get("choices", ()))
        found.append(Question(id, text_of(entry, "question"), tuple(each for each in there if each is not None),
                              (right,) if len(right) == 1 else (), options,
                              category=text_of(entry, "sub_task")))  # fmt: skip
    return Benchmark(path.stem, NAME, tuple(found), "option", missing=tuple(missing))

"""VizWiz: one list of questions with the ten answers inside, and the pictures in a folder.

[{"image": "VizWiz_val_00000000.jpg", "question", "answers": [{"answer", "answer_confidence"}], "answer_type",
"answerable"}]. Source: Gurari et al. 2018, vizwiz.org/tasks-and-datasets/vqa. The score is VQA's.
"""

from __future__ import annotations

from pathlib import Path

from wattvlm.benchmark_files._entries import objects, picture, text_of
from wattvlm.benchmark_files.question import Benchmark, Question

NAME = "vizwiz"
TELLS = "VizWiz's val.json, and its pictures in a folder"

ASKS = "Answer with one word or a short phrase, or with 'unanswerable' where the picture does not tell."


def knows(path: Path, head: str) -> bool:
    """By the keys that only VizWiz has together."""
    return path.suffix == ".json" and head.lstrip().startswith("[") and '"image"' in head and '"answer' in head and (
        "VizWiz" in head or '"answerable"' in head or '"answer_confidence"' in head
    )  # fmt: skip


def read(path: Path, pictures: Path) -> Benchmark:
    """Each picture has one question, so that its name is the question's id."""
    found: list[Question] = []
    missing: list[str] = []
    for entry in objects(path):
        name = text_of(entry, "image")
        there = picture(pictures, name)
        if there is None:
            missing.append(name)
            continue
        people = tuple(str(each["answer"]) for each in entry.get("answers", ()))
        category = text_of(entry, "answer_type")
        found.append(Question(name, text_of(entry, "question"), (there,), people, category=category))
    return Benchmark(f"VizWiz_{path.stem}", NAME, tuple(found), "soft", missing=tuple(missing), asks=ASKS)

"""VQAv2's questions, with the people's answers beside them, and COCO's pictures in a folder.

v2_OpenEnded_..._questions.json: {"data_subtype": "val2014", "questions": [{"image_id", "question", "question_id"}]}.
v2_..._annotations.json in the same folder: {"annotations": [{"question_id", "answers": [{"answer"}, ...]}]}.
Source: Goyal et al. 2017 (VQA v2.0), visualqa.org/download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from wattvlm.benchmark_files._entries import Entry, loaded, objects, picture
from wattvlm.benchmark_files.question import Benchmark, BenchmarkFileError, Question

NAME = "vqav2"
TELLS = "VQAv2's ..._questions.json with its ..._annotations.json beside it, and COCO's pictures in a folder"

ASKS = "Answer with one word or a short phrase."
"""The score takes an answer as a whole, so that a sentence is never right."""

_CATEGORY = "answer_type"


def knows(path: Path, head: str) -> bool:
    """By the keys that VQA's questions begin with."""
    return path.suffix == ".json" and '"questions"' in head and '"question_id"' in head


def read(path: Path, pictures: Path) -> Benchmark:
    """Questions with the ten answers; a split without annotations has none, and then nothing is marked."""
    whole = cast("dict[str, Any]", loaded(path))
    subset = str(whole.get("data_subtype") or "")
    answers = _annotations(path, subset)
    found: list[Question] = []
    missing: list[str] = []
    for entry in objects(path, whole.get("questions")):
        id = str(entry["question_id"])
        shown = _picture_names(subset, entry["image_id"])
        there = next((each for each in (picture(pictures, name) for name in shown) if each is not None), None)
        if there is None:
            missing.append(id)
            continue
        said = answers.get(id, {})
        people = tuple(str(each["answer"]) for each in said.get("answers", ()))
        found.append(Question(id, str(entry["question"]), (there,), people, category=str(said.get(_CATEGORY, ""))))
    return Benchmark(path.stem, NAME, tuple(found), "soft", missing=tuple(missing), asks=ASKS)


def _picture_names(subset: str, image: object) -> tuple[str, ...]:
    """COCO's names: with the split before the number of 12 digits, or the bare number."""
    number = f"{int(str(image)):012d}" if str(image).isdigit() else str(image)
    return f"COCO_{subset}_{number}", number, str(image)


def _annotations(path: Path, subset: str) -> dict[str, Entry]:
    """By question id, from the one file beside the questions that names the same part of the data."""
    beside = [each for each in sorted(path.parent.glob("*annotations*.json")) if not subset or subset in each.name]
    if len(beside) > 1:
        names = ", ".join(each.name for each in beside)
        raise BenchmarkFileError(f"{path}: several files of annotations beside it ({names}). Cure: leave one there")
    if not beside:
        return {}
    whole = cast("dict[str, Any]", loaded(beside[0]))
    return {str(each["question_id"]): each for each in objects(beside[0], whole.get("annotations"))}

"""MM-Vet: open questions that need several abilities at once, marked 0 to 1 by a judge.

{"v1_0": {"imagename": "v1_0.png", "question", "answer", "capability": ["ocr", "math"]}, ...}. What its grader is given
is {"v1_0": "the model's answer", ...}; what it writes has a list of scores for each. Source: Yu et al. 2023
(arXiv 2308.02490).
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any, cast

from wattvlm.benchmark_files._entries import loaded, picture, text_of
from wattvlm.benchmark_files.question import Benchmark, Question

NAME = "mm-vet"
TELLS = "mm-vet.json, and its pictures in a folder"


def knows(path: Path, head: str) -> bool:
    """By the keys that only MM-Vet has together."""
    return path.suffix == ".json" and '"imagename"' in head and '"capability"' in head


def read(path: Path, pictures: Path) -> Benchmark:
    """Questions by MM-Vet's own ids."""
    found: list[Question] = []
    missing: list[str] = []
    for id, entry in cast("dict[str, dict[str, Any]]", loaded(path)).items():
        there = picture(pictures, text_of(entry, "imagename"))
        if there is None:
            missing.append(id)
            continue
        category = "+".join(sorted(str(each) for each in entry.get("capability", ())))
        found.append(Question(id, text_of(entry, "question"), (there,), (text_of(entry, "answer"),), category=category))
    return Benchmark(path.stem, NAME, tuple(found), "judge", missing=tuple(missing))


def graded(path: Path) -> dict[str, float] | None:
    """Scores by question from the grader's file, the mean of its runs; None where it is no such file."""
    if path.suffix != ".json":
        return None
    found = loaded(path)
    if not isinstance(found, dict):
        return None
    means = {id: _mean(entry) for id, entry in cast("dict[str, object]", found).items()}
    known = {id: mean for id, mean in means.items() if mean is not None}
    return known if known and len(known) == len(means) else None


def _mean(entry: object) -> float | None:
    try:
        return fmean(float(each) for each in cast("dict[str, list[float]]", entry)["score"])
    except (TypeError, KeyError, ValueError):
        return None

"""MMBench-Video: a table of open questions on clips, marked 0 to 3 by a judge; here a clip is a folder of frames.

Columns: index, video, video_type, question, answer, dimensions. Source: Fang et al. 2024 (arXiv 2406.14515).
"""

from __future__ import annotations

from pathlib import Path

from wattvlm.benchmark_files._entries import frames, rows, text_of
from wattvlm.benchmark_files.question import Benchmark, Question

NAME = "mmbench-video"
TELLS = "MMBench-Video's .tsv with index, video, question, answer, and a folder of frames for each clip in a folder"

MOST_SCORE = 3.0


def knows(path: Path, head: str) -> bool:
    """By the columns of its first line."""
    columns = head.partition("\n")[0].lstrip("\ufeff").replace('"', "").split("\t")
    return path.suffix == ".tsv" and {"index", "video", "question"} <= set(columns) and "A" not in columns


def read(path: Path, pictures: Path) -> Benchmark:
    """Questions with the one answer of the authors, which the judge is shown."""
    found: list[Question] = []
    missing: list[str] = []
    for _, heads, cells in rows(path):
        entry = dict(zip(heads, cells))
        id, there = text_of(entry, "index"), frames(pictures, text_of(entry, "video"))
        if not there:
            missing.append(id)
            continue
        category = text_of(entry, "dimensions")
        right = (text_of(entry, "answer"),)
        found.append(Question(id, text_of(entry, "question"), there, right, category=category, is_clip=True))
    return Benchmark(path.stem, NAME, tuple(found), "judge", MOST_SCORE, tuple(missing))

"""MVBench: lists of questions on clips, one file a task; here a clip is a folder of frames.

[{"video": "166583.webm", "question", "candidates": [...], "answer": one of them, "start", "end" (s, in some tasks)}].
Source: Li et al. 2023 (arXiv 2311.17005). Frames between start and end are taken at 3 a second, as its tasks with
folders of frames have them.
"""

from __future__ import annotations

from pathlib import Path

from wattvlm.benchmark_files._entries import Entry, frames, objects, text_of
from wattvlm.benchmark_files.question import LETTERS, Benchmark, Picture, Question

NAME = "mvbench"
TELLS = "a task's .json of MVBench, and a folder of frames for each clip in a folder"

FRAMES_HZ = 3.0


def knows(path: Path, head: str) -> bool:
    """By the keys of its objects."""
    return path.suffix == ".json" and '"video"' in head and '"candidates"' in head


def read(path: Path, pictures: Path) -> Benchmark:
    """Questions by their place in the file, since MVBench gives them no id."""
    found: list[Question] = []
    missing: list[str] = []
    for number, entry in enumerate(objects(path)):
        there = _between(frames(pictures, text_of(entry, "video")), entry)
        options = tuple(str(each) for each in entry.get("candidates", ()))
        if not there:
            missing.append(str(number))
            continue
        right = LETTERS[options.index(str(entry["answer"]))] if str(entry.get("answer")) in options else ""
        found.append(Question(str(number), text_of(entry, "question"), there, (right,) if right else (), options,
                              category=path.stem, is_clip=True))  # fmt: skip
    return Benchmark(f"MVBench_{path.stem}", NAME, tuple(found), "option", missing=tuple(missing))


def _between(all_frames: tuple[Picture, ...], entry: Entry) -> tuple[Picture, ...]:
    """The frames from start to end, where the task has them; at least one."""
    if entry.get("start") is None or entry.get("end") is None or not all_frames:
        return all_frames
    first = min(round(float(entry["start"]) * FRAMES_HZ), len(all_frames) - 1)
    return all_frames[first : max(round(float(entry["end"]) * FRAMES_HZ), first + 1)]

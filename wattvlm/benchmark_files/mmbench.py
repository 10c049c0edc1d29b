"""MMBench's table, which GMAI-MMBench, BLINK and others share in VLMEvalKit: a row a question, pictures inside.

Columns: index, question, hint, A, B, ..., answer, category, and image (base64, a list of such, or the index of the row
that has it) or image_path. Rows whose index differs by a multiple of 1,000,000 are passes of CircularEval over one
question. Source: Liu et al. 2023 (arXiv 2307.06281); open-compass/VLMEvalKit, "Contribute a new benchmark".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wattvlm.benchmark_files._entries import picture, rows, text_of
from wattvlm.benchmark_files.question import LETTERS, Benchmark, Picture, Question, several

NAME = "mmbench"
TELLS = "a .tsv with index, question, A, B, answer, and image or image_path (MMBench, GMAI-MMBench, BLINK)"

PASSES_APART = 1_000_000
_LONGEST_INDEX = 64
"""A shorter text in the column of pictures is the index of another row."""


def knows(path: Path, head: str) -> bool:
    """By the columns of its first line."""
    columns = head.partition("\n")[0].lstrip("\ufeff").replace('"', "").split("\t")
    return path.suffix == ".tsv" and {"index", "question", "A", "B"} <= set(columns)


def read(path: Path, pictures: Path) -> Benchmark:
    """All rows, those of later passes among them; rows without a picture are left out and named."""
    found: list[tuple[Question, str]] = []
    own: dict[str, tuple[Picture, ...]] = {}
    for offset, heads, cells in rows(path):
        entry = dict(zip(heads, cells))
        id = text_of(entry, "index")
        cell = text_of(entry, "image")
        if len(cell) > _LONGEST_INDEX:
            column = heads.index("image")
            own[id] = tuple(Picture(path, offset, column, place) for place, _ in enumerate(several(cell)))
        elif text_of(entry, "image_path"):
            names = (picture(pictures, name) for name in several(text_of(entry, "image_path")))
            own[id] = tuple(each for each in names if each is not None)
        found.append((_question(id, entry), cell))
    with_pictures = [replace(each, pictures=own.get(each.id) or own.get(cell, ())) for each, cell in found]
    there = tuple(each for each in with_pictures if each.pictures)
    missing = tuple(each.id for each in with_pictures if not each.pictures)
    return Benchmark(path.stem, NAME, there, "option", missing=missing)


def _question(id: str, entry: dict[str, str]) -> Question:
    options = tuple(text_of(entry, letter) for letter in LETTERS if text_of(entry, letter))
    whole = str(int(id) % PASSES_APART) if id.isdigit() else id
    right = text_of(entry, "answer").strip("()").upper()
    return Question(id, text_of(entry, "question"), (), (right,) if right else (), options,
                    text_of(entry, "hint"), text_of(entry, "category"), whole)  # fmt: skip


def one_pass(benchmark: Benchmark) -> Benchmark:
    """Each question once, with its options as they stand first."""
    first: dict[str, Question] = {}
    for each in benchmark.questions:
        first.setdefault(each.group or each.id, each)
    return replace(benchmark, questions=tuple(replace(each, group="") for each in first.values()))


def circular(benchmark: Benchmark) -> Benchmark:
    """CircularEval: each question as often as it has options, which move by one place each time.

    The passes that the file has are taken; where it has only one, the others are made.
    """
    groups: dict[str, list[Question]] = {}
    for each in benchmark.questions:
        groups.setdefault(each.group or each.id, []).append(each)
    found = (one for group in groups.values() for one in (group if len(group) > 1 else _turned(group[0])))
    return replace(benchmark, questions=tuple(found))


def _turned(question: Question) -> Iterator[Question]:
    count = len(question.options)
    right = LETTERS.index(question.right[0]) if question.right else None
    for turn in range(count):
        options = tuple(question.options[(place + turn) % count] for place in range(count))
        letter = () if right is None else (LETTERS[(right - turn) % count],)
        yield replace(question, id=f"{question.id}+{turn}" if turn else question.id, options=options, right=letter,
                      group=question.group or question.id)  # fmt: skip

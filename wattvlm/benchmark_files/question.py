"""What a benchmark file holds: questions with pictures, and how an answer is marked. All nouns."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wattvlm.errors import WattvlmError

if TYPE_CHECKING:
    from PIL.Image import Image

Marking = Literal["option", "soft", "judge"]
"""option: one of several offered answers. soft: agreement with ten people's answers, 0 to 1. judge: another program or
a person marks it, and its scores come from a file."""


class BenchmarkFileError(WattvlmError):
    """A file is no benchmark that is known, or lacks what its format says it has."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Where one picture lies: a file of its own, or a row of a table that holds it as base64.

    offset: of the row's first byte in the table. column: of the picture in it. place: in a row with several pictures.
    """

    path: Path
    offset: int | None = None
    column: int = 0
    place: int = 0

    def open(self) -> Image:
        """The picture as RGB; BenchmarkFileError where it is not there."""
        from PIL import Image

        try:
            if self.offset is None:
                return Image.open(self.path).convert("RGB")
            encoded = several(_cell(self.path, self.offset, self.column))[self.place]
            return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
        except (OSError, ValueError, IndexError) as error:
            raise BenchmarkFileError(f"no picture at {self.path}: {str(error)[:100]}") from error


@dataclass(frozen=True, slots=True)
class Question:
    """One question as its file has it.

    right: the letter of the right option ("B"), or the answers that people gave. options: the offered answers in the
    order of their letters. group: questions of one group are passes over the same question with its options in another
    order (CircularEval). is_clip: its pictures are frames of one clip, of which a model is shown some.
    """

    id: str
    text: str
    pictures: tuple[Picture, ...]
    right: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    hint: str = ""
    category: str = ""
    group: str = ""
    is_clip: bool = False

    def prompt(self, asks: str = "") -> str:
        """The question as a model is asked: the hint, the question, the options with their letters, and how to answer.

        asks: the form of the answer that the benchmark wants, for questions without options.
        """
        lines = [self.hint, self.text]
        if self.options:
            lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, self.options)]
            asks = "Answer with the letter of the right option."
        lines.append(asks)
        return "\n".join(line for line in lines if line)

    def frames(self, wanted: int) -> tuple[Picture, ...]:
        """All pictures, or of a clip the middles of so many equal parts of it."""
        if not self.is_clip or len(self.pictures) <= wanted:
            return self.pictures
        part = len(self.pictures) / wanted
        return tuple(self.pictures[int(part * (place + 0.5))] for place in range(wanted))


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The questions of one file. format: the name of its reader. most_score: what a judge gives at most.

    asks: how a model is told to answer open questions. missing: ids of questions whose pictures are not there.
    """

    name: str
    format: str
    questions: tuple[Question, ...]
    marking: Marking
    most_score: float = 1.0
    missing: tuple[str, ...] = ()
    asks: str = ""


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def several(cell: str) -> Sequence[str]:
    """The pictures in one cell: one base64 text, or a list of them as JSON or Python writes it."""
    if not cell.startswith("["):
        return [cell]
    return [each.strip().strip("'\"") for each in cell.strip("[]").split(",")]


def _cell(path: Path, offset: int, column: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        lines = (line.decode("utf-8") for line in file)
        before = csv.field_size_limit(2**31 - 1)
        try:
            return next(csv.reader(lines, delimiter="\t"))[column]
        finally:
            csv.field_size_limit(before)

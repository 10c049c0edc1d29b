"""What is asked of a study: which models, how surely, how long; and what it then measured. All nouns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Protocol

from wattvlm.answers import Answer
from wattvlm.bench import Cell, Design
from wattvlm.bench.running import Subject
from wattvlm.comparison import Score
from wattvlm.report import Report
from wattvlm.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asks of a study. What is None is the study's own choice.

    models, random_weights, dtypes, devices, until_fraction, fewest_calls, most_calls, limit_ns, cool_down_ns, seed,
    versions: as in a bench's Design. benchmark: a file of questions, pictures: the folder of its pictures, is_circular:
    each question with its options in every turn, scores: (model, file of a judge's or another program's marks), folder:
    where the study's runs and answers lie. images, resolutions, batch_sizes, output_tokens: of the matrix.
    usual_dtype: where neither the user nor the study asks for one.
    """

    models: tuple[str, ...] = ("shipped",)
    random_weights: bool = False
    images: tuple[int, ...] | None = None
    resolutions: tuple[tuple[int, int], ...] | None = None
    batch_sizes: tuple[int, ...] | None = None
    output_tokens: tuple[int, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    usual_dtype: str = ""
    devices: tuple[str, ...] = ("",)
    until_fraction: float = 0.02
    fewest_calls: int = 20
    most_calls: int = 200
    limit_ns: int = 1800 * NS_PER_S
    cool_down_ns: int = NS_PER_S
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    benchmark: str = ""
    pictures: str = ""
    is_circular: bool = False
    scores: tuple[tuple[str, str], ...] = ()
    folder: str = ""

    def design(self, settings: Mapping[str, str] | None = None, **of_study: Any) -> Design:
        """The Design with the study's own matrix, where the user asked for no other.

        settings: what else runs depend on, by name; a folder of runs is only gone on with where they are the same.
        """
        settings = settings or {}
        wished = {
            name: value
            for name in ("images", "resolutions", "batch_sizes", "output_tokens", "dtypes")
            if (value := getattr(self, name)) is not None
        }
        matrix: dict[str, Any] = {"dtypes": (self.usual_dtype,), **of_study, **wished}
        return Design(
            models=self.models, devices=self.devices, random_weights=self.random_weights,
            until_fraction=self.until_fraction, fewest_calls=min(self.fewest_calls, self.most_calls),
            most_calls=self.most_calls, limit_ns=self.limit_ns, cool_down_ns=self.cool_down_ns, seed=self.seed,
            versions={**self.versions, **settings}, **matrix,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of a model to a question of a benchmark.

    group: the question of which this is a pass; the same as question where there is one pass. score: how right it is, 0
    to 1; None where nobody has marked it. chance: what an answer without looking gets. most_score: a judge's.
    """

    question: str
    group: str
    text: str
    score: float | None = None
    chance: float | None = None
    most_score: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One cell that was measured: what was asked, the Report of it, and its answers where a study keeps them.

    rated: its model's score on a benchmark that another program ran.
    """

    cell: Cell
    report: Report
    answers: tuple[Answered, ...] = ()
    rated: Score | None = None

    @property
    def is_modelled(self) -> bool:
        """True where its joules are a model's, or where it has none."""
        domain = self.report.accelerator
        return domain is None or self.report.is_modelled(domain)


class Study(Protocol):
    """What a study's module looks like from outside. It may also have subject(asked), what its bench measures."""

    @property
    def NAME(self) -> str: ...
    @property
    def QUESTION(self) -> str: ...
    def design(self, asked: Asked) -> Design:
        """What is to be measured."""
        ...

    def answer(self, runs: Sequence[Run], design: Design) -> Answer:
        """What the runs say: pure arithmetic on their reports. ValueError where they are too few to say anything."""
        ...


def subject_of(study: Study, asked: Asked) -> Subject | None:
    """What a study's bench measures; None for models by transformers."""
    made = getattr(study, "subject", None)
    return None if made is None else made(asked)


def _count(word: str) -> Callable[[int], str]:
    return lambda number: f"{number} {word}{'' if number == 1 else 's'}"


def _size(pixels: tuple[int, int] | None) -> str:
    return "" if pixels is None else f"{pixels[0]} x {pixels[1]} pixels"


STATED: Mapping[str, Callable[[Any], str]] = {
    "images": _count("picture"), "resolution": _size, "output_tokens": _count("output token"),
    "batch_size": lambda number: f"a batch of {number}", "dtype": str, "device": str,
}  # fmt: skip
"""The fields of a cell as words; "" says nothing."""

HOW_IT_RUNS = ("dtype", "device")
"""The fields of a cell that say nothing of what is asked."""


def design_lines(
    design: Design, runs: Sequence[Run], equal: str, stated: Sequence[str] = tuple(STATED)
) -> tuple[str, ...]:
    """How the runs were designed, in words.

    equal: what is held the same in all cells. stated: the fields of a cell that say what was asked for, whose values
    are given where all cells have the same.
    """
    calls = [len(run.report.calls) for run in runs]
    fewest, most = (min(calls), max(calls)) if calls else (0, 0)
    how_many = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return (
        f"{len(runs)} cells in random order (seed {design.seed}), {how_many} calls each after 2 to warm up, with "
        f"pauses of random length; {design.cool_down_ns / NS_PER_S:g} s of quiet before each cell",
        f"held equal: {equal}{_values([run.cell for run in runs], stated)}",
        _how_surely(design, runs),
    )


def _values(cells: Sequence[Cell], stated: Sequence[str]) -> str:
    """What all cells have in common, in numbers."""
    alike = [name for name in stated if len({getattr(cell, name) for cell in cells}) == 1]
    words = [word for name in alike if (word := STATED[name](getattr(cells[0], name)))]
    return f". In all cells: {', '.join(words)}" if words else ""


def _how_surely(design: Design, runs: Sequence[Run]) -> str:
    if any(run.is_modelled for run in runs):
        return "joules are a model's, which no repeating makes surer; times are measured"
    effect = least_effect_fraction(design.until_fraction)
    return (
        f"each phase until its 95 % interval is ±{design.until_fraction * 100:g} %, or {design.most_calls} calls: a "
        f"difference of {effect * 100:.1f} % between two cells is then found in four studies of five"
    )


def least_effect_fraction(half_width_fraction: float) -> float:
    """The least difference of two cells that 80 % of studies find, with 95 % intervals of this half-width on both.

    (1.96 + 0.84) sigma of a difference of two (Cohen 1988, Statistical Power Analysis, chapter 2).
    """
    return (1.96 + 0.84) / 1.96 * sqrt(2.0) * half_width_fraction


def by_model(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of each model, in the order of the runs."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.cell.model, []).append(run)
    return found

"""Study: right retrievals by the joule, on the rows of MMEB's tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.bench.subjects import TransformersSubject
from wattvlm.comparison import Expected
from wattvlm.questions._figures import run_joules, times
from wattvlm.questions._kept import score_of
from wattvlm.questions._retrieved import BETWEEN, CANDIDATE, QUERY, RetrievalSubject, named, queries_of
from wattvlm.questions.asked import HOW_IT_RUNS, Asked, Run, design_lines
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import scaled, verdict

NAME = "retrieval"
QUESTION = "How often is the right candidate the nearest, for how many joules a query and an index of candidates?"

INDEX = 1000

UNTRAINED = (
    "weights are random: nothing was learnt that brings a query near to its candidate, so that hits by chance are "
    "expected; where there are more, pictures that look alike have stayed alike through random layers",
    "of random weights pictures are not cut into tiles, and words are tokens of up to four letters",
)
"""Limits of what random weights find."""


def design(asked: Asked) -> Design:
    """Two cells a model, its queries and their candidates, one a call; nothing is generated."""
    queries = queries_of(asked)
    digest = hashlib.sha256("\n".join(each.id for each in queries).encode()).hexdigest()[:12]
    models = tuple(f"{model}{BETWEEN}{side}" for model in asked.models for side in (QUERY, CANDIDATE))
    limited = replace(asked, models=models, fewest_calls=len(queries), most_calls=len(queries))
    return limited.design({"benchmark": asked.benchmark or "digits", "queries": digest}, output_tokens=(1,))


def subject(asked: Asked) -> RetrievalSubject:
    """Queries and candidates embedded by models of transformers."""
    models = TransformersSubject(random_weights=asked.random_weights)
    return RetrievalSubject(queries_of(asked), Path(asked.folder), models)


@dataclass(frozen=True, slots=True)
class _Sides:
    """The runs of one model."""

    name: str
    query: Run | None
    candidate: Run | None

    @property
    def hits(self) -> Expected | None:
        """hit@1 with Wilson's interval."""
        return None if self.query is None else score_of(self.query)

    @property
    def chance(self) -> float | None:
        """What an index in any order gets."""
        chances = [each.chance for each in self.query.answers] if self.query is not None else []
        known = [each for each in chances if each is not None]
        return sum(known) / len(known) if known else None

    @property
    def index_j(self) -> Expected | None:
        """Joules of an index of candidates like those that ran."""
        each = None if self.candidate is None else run_joules(self.candidate)
        return None if each is None else scaled(each, float(INDEX))


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """hit@1, and joules of a query and of an index, of each model."""
    sides = _by_model(runs)
    findings = [finding for each in sides for finding in _findings(each)]
    return Answer(
        NAME, QUESTION, design_lines(design, runs, "queries and candidates, one a call in one order", HOW_IT_RUNS),
        tuple(findings), (_table(sides),),
        (Picture("Right candidates by the joules of a query", "J a query", "hit@1", _series(sides)),),
        (
            "a query is right where its first candidate is nearer than each other one (MMEB's count); nearness is the "
            "cosine of the states of the last token (VLM2Vec)",
            "searching among vectors, and reading pictures from a disk, is in no joule; preprocessing is in them",
            f"an index of {INDEX:,} candidates is {INDEX:,} times the mean of those that ran, one a call: the study "
            "embedding tells what batches save",
            *(UNTRAINED if design.random_weights else ()),
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _by_model(runs: Sequence[Run]) -> list[_Sides]:
    found: dict[str, dict[str, Run]] = {}
    for run in runs:
        model, side = named(run.cell)
        found.setdefault(model, {})[side] = run
    return [_Sides(model, by_side.get(QUERY), by_side.get(CANDIDATE)) for model, by_side in found.items()]


def _findings(sides: _Sides) -> list[Finding]:
    found: list[Finding] = []
    if sides.query is not None:
        modelled, chance = sides.query.is_modelled, sides.chance
        least = "" if chance is None else f"; {100 * chance:.3g} % by chance"
        found += [
            Finding(f"{sides.name}: hits", f"hit@1 of {len(sides.query.answers)} queries{least}", sides.hits, "%",
                    "more than chance", "cannot tell" if chance is None else verdict(sides.hits, chance, inf)),
            Finding(f"{sides.name}: a query", "one a call", run_joules(sides.query), "J", is_modelled=modelled),
        ]  # fmt: skip
    if sides.candidate is not None:
        found.append(Finding(f"{sides.name}: an index of {INDEX:,} candidates", "one a call", sides.index_j, "J",
                             is_modelled=sides.candidate.is_modelled))  # fmt: skip
    return found


def _series(sides: Sequence[_Sides]) -> tuple[Series, ...]:
    places: Mapping[str, tuple[Expected | None, Expected | None]] = {
        each.name: (None if each.query is None else run_joules(each.query), each.hits) for each in sides
    }
    return tuple(
        Series(name, ((query_j.value, hits),))
        for name, (query_j, hits) in places.items() if query_j is not None and hits is not None
    )  # fmt: skip


def _table(sides: Sequence[_Sides]) -> AnswerTable:
    headings = (
        Heading("hit@1", "%"), Heading("by chance", "%"), Heading("a query", "J"), Heading("a query", "s"),
        Heading(f"{INDEX:,} candidates", "J"),
    )  # fmt: skip
    return AnswerTable("Retrieval and its joules", "model", headings, tuple(_row(each) for each in sides))


def _row(sides: _Sides) -> tuple[Value, ...]:
    took = None if sides.query is None else expected_of(times(sides.query.report, "call"))
    query_j = None if sides.query is None else run_joules(sides.query)
    return (sides.name, sides.hits, sides.chance, query_j, took, sides.index_j)

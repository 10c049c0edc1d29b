"""Queries and their candidates, embedded by one model: the nearest candidate of each query is kept as its answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

from wattvlm.bench import Cell
from wattvlm.bench.measuring import WARM_UP_CALLS
from wattvlm.bench.subjects import SHIPPED, TransformersSubject, prompt_of
from wattvlm.bench.untrained import UntrainedProcessor
from wattvlm.benchmark_files import Question, read
from wattvlm.benchmark_files.mmeb import Query, Side, hit_at_1, read_queries
from wattvlm.demo.benchmarks import digits_path
from wattvlm.questions._answers import answers_path, keep
from wattvlm.questions.asked import Asked
from wattvlm.questions.embedding import last_state

QUERY, CANDIDATE = "query", "candidate"
BETWEEN = "+"

DIGITS_OTHERS = 3
"""Pictures of other digits among the candidates of a shipped query."""


def named(cell: Cell) -> tuple[str, str]:
    """(the model, what is embedded) of a cell."""
    model, _, side = cell.model.rpartition(BETWEEN)
    return model, side


def queries_of(asked: Asked) -> tuple[Query, ...]:
    """As many rows of the file as calls are allowed, drawn once and for all; the shipped digits where none is given."""
    if asked.benchmark in ("", SHIPPED):
        found = digits()
    else:
        path = Path(asked.benchmark)
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        found = read_queries(path, Path(asked.pictures or path.parent))
    if not found:
        raise ValueError(f"{asked.benchmark} holds no query whose pictures are all there. Cure: --pictures FOLDER")
    drawn = random.Random(0).sample(range(len(found)), min(asked.most_calls, len(found)))
    return tuple(found[number] for number in sorted(drawn))


def digits() -> tuple[Query, ...]:
    """Each held-out digit as a query: another picture of the same digit among pictures of other ones."""
    asked = [each for each in read(digits_path()).questions if each.category == "digit"]
    by_digit: dict[str, list[Question]] = {}
    for each in asked:
        by_digit.setdefault(_digit(each), []).append(each)
    chance, found = random.Random(0), list[Query]()
    for number, each in enumerate(asked):
        same = [other for other in by_digit[_digit(each)] if other is not each]
        others = [other for other in asked if _digit(other) != _digit(each)]
        chosen = [chance.choice(same), *chance.sample(others, DIGITS_OTHERS)] if same else []
        if chosen:
            found.append(Query(str(number), _side(each), tuple(_side(other) for other in chosen)))
    return tuple(found)


def _digit(question: Question) -> str:
    return question.options["ABCD".index(question.right[0])]


def _side(question: Question) -> Side:
    return Side(question.text, question.pictures[0])


class RetrievalSubject:
    """Each call embeds the next query, or the next candidate. Of queries, the nearest candidate is kept.

    Candidates of the queries are embedded before the calls, as an index is.
    """

    def __init__(self, queries: Sequence[Query], folder: Path, models: TransformersSubject) -> None:
        self._queries = tuple(queries)
        self._folder = folder
        self._models = models

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """The call, by the model's processor; random weights have one made for them."""
        name, side = named(cell)
        model, processor = self._models.loaded(replace(cell, model=name), seed)
        processor = processor or UntrainedProcessor(model)
        if side == CANDIDATE:
            turns = cycle(_distinct(self._queries))
            return lambda: _embedded(model, processor, next(turns))
        return self._asking(model, processor, answers_path(self._folder, cell))

    def _asking(self, model: Any, processor: Any, path: Path) -> Callable[[], Any]:
        index = {side: _embedded(model, processor, side) for side in _distinct(self._queries)}
        path.write_text("", encoding="utf-8")
        first = self._queries[0]
        turns = iter([(first, False)] * WARM_UP_CALLS + [(each, True) for each in self._queries])

        def call() -> Any:
            query, is_kept = next(turns)
            vector = _embedded(model, processor, query.asked)
            if is_kept:
                nearness = [float(vector @ index[side]) for side in query.candidates]
                place = nearness.index(max(nearness))
                keep(path, query.id, f"candidate {place + 1}", hit_at_1(nearness), 1.0 / len(nearness))
            return vector

        return call


def _distinct(queries: Sequence[Query]) -> tuple[Side, ...]:
    return tuple(dict.fromkeys(side for query in queries for side in query.candidates))


def _embedded(model: Any, processor: Any, side: Side) -> Any:
    """The state of the last token, of length 1."""
    torch: Any = import_module("torch")
    pictures = [] if side.picture is None else [side.picture.open()]
    text = prompt_of(processor, len(pictures), side.text)
    images = {"images": [pictures]} if pictures else {}
    inputs = processor(text=[text], return_tensors="pt", **images).to(model.device)
    with torch.inference_mode():
        vector = last_state(model, inputs)[0].float()
    return vector / vector.norm()

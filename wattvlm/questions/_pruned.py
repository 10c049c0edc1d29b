"""Models with a way to compute fewer visual tokens, as a cell's model names it: "MODEL+WAY"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wattvlm.bench import Cell
from wattvlm.bench.subjects import TransformersSubject, exactly
from wattvlm.pruning import image_token_of, trimmed, ways

WHOLE = "whole"
"""The model as it is."""

NO_PICTURE = "no-picture"
"""The same text without any picture: what no way can go below."""

BETWEEN = "+"


def named(cell: Cell) -> tuple[str, str]:
    """(the model, the way) of a cell."""
    model, _, way = cell.model.rpartition(BETWEEN)
    return model, way


class PrunedModels:
    """One model at a time, with one way at a time."""

    def __init__(self, models: TransformersSubject) -> None:
        self._models = models
        self._undo: Callable[[], None] = _nothing
        self._fraction = 1.0

    def loaded(self, cell: Cell, seed: int) -> tuple[Any, Any]:
        """The cell's model with its way, and its processor; DoesNotFit where the way has no place in it."""
        way_name = named(cell)[1]
        self._undo()
        self._undo, self._fraction = _nothing, float(way_name != NO_PICTURE)
        model, processor = self._models.loaded(bare(cell), seed)
        if way_name not in (WHOLE, NO_PICTURE):
            way = ways()[way_name]
            self._undo, self._fraction = way.apply(model), way.prompt_fraction(model)
        return model, processor

    def inputs_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """What makes the inputs of a call."""
        return self._models.inputs_of(bare(cell), seed)

    def trimmed(self, model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A prompt with as many places for visual tokens as the way of the cell that was loaded last leaves."""
        return trimmed(inputs, image_token_of(model), self._fraction)


def bare(cell: Cell) -> Cell:
    """The cell of the model alone."""
    return replace(cell, model=named(cell)[0])


class PrunedSubject:
    """Noise pictures and answers of one length."""

    def __init__(self, models: PrunedModels) -> None:
        self._models = models

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """A call of the model with the cell's way; DoesNotFit where the way has no place in it."""
        model, _ = self._models.loaded(cell, seed)
        inputs, options = self._models.inputs_of(cell, seed), exactly(cell.output_tokens)
        return lambda: model.generate(**self._models.trimmed(model, inputs()), **options)


def _nothing() -> None:
    """No way is there to be undone."""

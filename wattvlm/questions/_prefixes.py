"""Calls of a model that go on from kept keys and values of their prompt's beginning, as a prefix cache lets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from typing import Any

from wattvlm.bench import Cell
from wattvlm.bench.subjects import TransformersSubject, exactly
from wattvlm.pruning import DoesNotFit, image_token_of

COLD = "cold"
FIRST = "picture-first"
LAST = "picture-last"
AGAIN = "same-again"
ORDERS = {
    COLD: "nothing is kept",
    FIRST: "the picture stands before the question, and is kept with what stands before it",
    LAST: "the picture stands after the question, so that only what stands before both is kept",
    AGAIN: "picture and question are the same again: all but the prompt's last token is kept",
}
"""What is asked, in words. The tokens are the same in each; with LAST the picture's come later."""

BETWEEN = "+"
PIXELS = "pixel_values"


def named(cell: Cell) -> tuple[str, str]:
    """(the model, what is asked) of a cell."""
    model, _, order = cell.model.rpartition(BETWEEN)
    return model, order


class PrefixSubject:
    """One model at a time. What a cache would hold is computed beforehand, and copied before each call."""

    def __init__(self, models: TransformersSubject) -> None:
        self._models = models

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """A call that goes on from what is kept; DoesNotFit for a prompt without a picture that text follows."""
        name, order = named(cell)
        bare = replace(cell, model=name)
        model, _ = self._models.loaded(bare, seed)
        given, options = self._models.inputs_of(bare, seed), exactly(cell.output_tokens)
        if order == COLD:
            return lambda: model.generate(**given(), **options)
        places = _picture(given()["input_ids"], model)
        kept = _kept(model, given(), places, order)

        def call() -> Any:
            inputs = _after_the_text(given(), places) if order == LAST else _without_pixels(given())
            # A copy: the answer's own keys and values go to the end of it.
            return model.generate(**inputs, past_key_values=deepcopy(kept), **options)

        return call


def _picture(ids: Any, model: Any) -> tuple[int, int]:
    """(first, one after the last) place of the pictures in a prompt, with the marks around them."""
    is_visual = ids == image_token_of(model)
    if not bool((is_visual == is_visual[:1]).all()):
        raise DoesNotFit("rows of a batch with pictures at different places have no prefix of one length")
    row, places = ids[0].tolist(), is_visual[0].nonzero().flatten().tolist()
    if not places or places[-1] == len(row) - 1:
        raise DoesNotFit("a prompt without a picture and text after it has no order of the two. Cure: --images 1")
    first, end = places[0], places[-1] + 1
    if first and row[first - 1] == getattr(model.config, "vision_start_token_id", None):
        first -= 1
    if end < len(row) - 1 and row[end] == getattr(model.config, "vision_end_token_id", None):
        end += 1
    return first, end


def _after_the_text(inputs: Mapping[str, Any], places: tuple[int, int]) -> dict[str, Any]:
    """The same tokens, the pictures' last but one: the last token is text still, from which an answer begins."""
    (first, end), length = places, inputs["input_ids"].shape[1]
    return _columns(inputs, [*range(first), *range(end, length - 1), *range(first, end), length - 1])


def _without_pixels(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in inputs.items() if not name.startswith(PIXELS)}


def _columns(inputs: Mapping[str, Any], places: Any) -> dict[str, Any]:
    """Of what has a value for each token of the prompt, these places."""
    shape = inputs["input_ids"].shape
    return {
        name: each[:, places] if getattr(each, "shape", ())[:2] == shape and each.dim() == 2 else each
        for name, each in inputs.items()
    }


def _kept(model: Any, inputs: Mapping[str, Any], places: tuple[int, int], order: str) -> Any:
    """The keys and values of the prompt's beginning; None where nothing stands before question and picture."""
    torch: Any = import_module("torch")
    (first, end), length = places, inputs["input_ids"].shape[1]
    beginning = {FIRST: end, LAST: first, AGAIN: length - 1}[order]
    if not beginning:
        return None
    prefix = _columns(inputs, slice(0, beginning))
    if order == LAST:
        prefix = {name: each for name, each in _without_pixels(prefix).items() if not name.startswith("image_")}
    with torch.inference_mode():
        kept = model(**prefix, use_cache=True).past_key_values
    if kept is None:
        raise DoesNotFit(f"{type(model).__name__} keeps no keys and values that a next request could go on from")
    return kept

"""Clips as a model's own way for video takes them, and their frames as pictures: "MODEL+video" and "MODEL+pictures"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from wattvlm.bench import Cell
from wattvlm.bench.made_up import OWN_SIZE, NoClips, made_up_clip
from wattvlm.bench.subjects import QUESTION, TransformersSubject, exactly

PICTURES = "pictures"
"""Each frame a picture, one after the other."""

VIDEO = "video"
"""All frames as one clip."""

BETWEEN = "+"


def named(cell: Cell) -> tuple[str, str]:
    """(the model, how it is given its frames) of a cell."""
    model, _, way = cell.model.rpartition(BETWEEN)
    return model, way


class ClipSubject:
    """Clips of noise, and answers of one length."""

    def __init__(self, models: TransformersSubject) -> None:
        self._models = models

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """A call with a cell's frames in its way; NoClips where the model has no way of its own for a clip."""
        name, way = named(cell)
        bare, options = replace(cell, model=name), exactly(cell.output_tokens)
        model, processor = self._models.loaded(bare, seed)
        if way == PICTURES:
            inputs = self._models.inputs_of(bare, seed)
        elif processor is None:
            inputs = _always(made_up_clip(model, bare, seed))
        else:
            inputs = _by_processor(model, processor, bare, seed)
        return lambda: model.generate(**inputs(), **options)


def _always(made: dict[str, Any]) -> Callable[[], Any]:
    return lambda: made


def _by_processor(model: Any, processor: Any, cell: Cell, seed: int) -> Callable[[], Any]:
    """What makes a call's inputs by the model's own processor, each time anew."""
    if getattr(processor, "video_processor", None) is None:
        raise NoClips(f"the processor of {cell.model} takes no clips: its cells of pictures are its clips")
    numpy: Any = import_module("numpy")
    width, height = cell.resolution or OWN_SIZE
    chance = numpy.random.default_rng(seed)
    clips = chance.integers(0, 256, (cell.batch_size, cell.images, height, width, 3), dtype=numpy.uint8)
    content = [*([{"type": "video"}] if cell.images else []), {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    given: dict[str, Any] = {"videos": list(clips), "do_sample_frames": False} if cell.images else {}
    return lambda: processor(text=[text] * cell.batch_size, return_tensors="pt", padding=True, **given).to(model.device)

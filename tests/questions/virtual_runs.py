"""Runs of a study on virtual hardware: each cell of its design as calls of a stated cost model."""

from __future__ import annotations

from collections.abc import Callable

from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.questions import Asked, Run, Study
from wattvlm.testing import CostModel, Request

PATCH_PX = 28


def request_of(cell: Cell) -> Request:
    """A native-resolution model: one visual token for 28 x 28 pixels, as Qwen2-VL has."""
    width, height = cell.resolution or (336, 336)
    visual = cell.images * (width // PATCH_PX) * (height // PATCH_PX)
    return Request(cell.images, visual, 32, cell.output_tokens, cell.batch_size)


def answered(
    study: Study,
    asked: Asked,
    costs: Callable[[Cell], CostModel] = lambda _: CostModel(),
    seed: int = 0,
    calls: int = 20,
    request: Callable[[Cell], Request] = request_of,
) -> Answer:
    """The study's answer from a virtual run of every cell."""
    design = study.design(asked)
    runs = [
        Run(cell, costs(cell).report(request(cell), calls, 1_000 * seed + place))
        for place, cell in enumerate(design.cells())
    ]
    return study.answer(runs, design)

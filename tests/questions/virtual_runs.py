"""Runs of a study on virtual hardware: each cell of its design as calls of a stated cost model."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.pruning import ways
from wattvlm.questions import Answered, Asked, Run, Study, pruning
from wattvlm.questions import _clips as clips
from wattvlm.questions import _prefixes as prefixes
from wattvlm.testing import CostModel, Request

PATCH_PX = 28


def request_of(cell: Cell) -> Request:
    """A native-resolution model: one visual token for 28 x 28 pixels, as Qwen2-VL has."""
    width, height = cell.resolution or (336, 336)
    visual = cell.images * (width // PATCH_PX) * (height // PATCH_PX)
    return Request(cell.images, visual, 32, cell.output_tokens, cell.batch_size)


def pruned_request(cell: Cell) -> Request:
    """The visual tokens that a way of the study of pruning leaves; what is dropped inside counts as whole."""
    _, way = pruning.named(cell)
    whole = request_of(cell)
    if way == pruning.NO_PICTURE:
        return replace(whole, images=0, visual=0)
    fraction = 1.0 if way == pruning.WHOLE else ways()[way].visual_fraction
    return replace(whole, visual=round(whole.visual * fraction))


def cached_request(cell: Cell) -> Request:
    """Half of the words stand before picture and question; what a way of the study of prefix caches keeps of it."""
    _, order = prefixes.named(cell)
    whole = request_of(cell)
    prompt, common = whole.visual + whole.text, whole.text // 2
    kept = {prefixes.COLD: 0, prefixes.FIRST: common + whole.visual, prefixes.LAST: common, prefixes.AGAIN: prompt - 1}
    return replace(whole, cached=kept[order], is_encoded=order in (prefixes.COLD, prefixes.LAST))


def clip_request(cell: Cell) -> Request:
    """Each two frames are one in the way of the study of clips for video, as in Qwen2-VL."""
    whole = request_of(cell)
    merged = clips.named(cell)[1] == clips.VIDEO
    return replace(whole, visual=whole.visual // 2) if merged else whole


NEEDED_REQUESTS: dict[str, Callable[[Cell], Request]] = {
    "pruning": pruned_request, "prefix-cache": cached_request, "video": clip_request,
}  # fmt: skip


def marked_answers(right: float, questions: int = 80, seed: int = 0, chance: float = 0.25) -> tuple[Answered, ...]:
    """Answers of which each is right with a probability, the same answers for the same seed."""
    draws = random.Random(seed)
    return tuple(
        Answered(str(number), str(number), "A", float(draws.random() < right), chance) for number in range(questions)
    )


NEEDED_ANSWERS: dict[str, Callable[[Cell], tuple[Answered, ...]]] = {
    "accuracy": lambda _: marked_answers(0.7), "retrieval": lambda _: marked_answers(0.7),
}  # fmt: skip


def answered(
    study: Study,
    asked: Asked,
    costs: Callable[[Cell], CostModel] = lambda _: CostModel(),
    seed: int = 0,
    calls: int = 20,
    request: Callable[[Cell], Request] | None = None,
    answers: Callable[[Cell], tuple[Answered, ...]] | None = None,
) -> Answer:
    """The study's answer from a virtual run of every cell. answers: that its runs keep (default: what it needs)."""
    design = study.design(asked)
    asked_for = request or NEEDED_REQUESTS.get(study.NAME, request_of)
    kept = answers or NEEDED_ANSWERS.get(study.NAME, lambda _: ())
    runs = [
        Run(cell, costs(cell).report(asked_for(cell), calls, 1_000 * seed + place), kept(cell))
        for place, cell in enumerate(design.cells())
    ]
    return study.answer(runs, design)

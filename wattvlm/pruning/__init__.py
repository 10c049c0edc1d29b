"""Ways to let a vision-language model compute fewer visual tokens, each as small as it can be. One module, one way.

    from wattvlm import pruning

    with pruning.applied(model, pruning.ways()["fastv-1of2"]):
        model.generate(**inputs)

They show what a way costs and saves: where it takes tokens away, and how many. They are not trained, and choose by the
plainest rule of each kind. A way's module has WAYS; they are found by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wattvlm.plugins import own_modules
from wattvlm.pruning._parts import DoesNotFit as DoesNotFit
from wattvlm.pruning._parts import projector_of as projector_of
from wattvlm.pruning._parts import projector_or_none as projector_or_none


@dataclass(frozen=True, slots=True)
class Way:
    """One way. name: as "fastv-1of2". says: where it takes tokens away, in words.

    visual_fraction: of the visual tokens that enter the language model. apply: changes a model, and gives what undoes
    that; DoesNotFit where it is not for this model.
    """

    name: str
    says: str
    visual_fraction: float
    apply: Callable[[Any], Callable[[], None]]

    def prompt_fraction(self, model: Any) -> float:
        """How many of the prompt's places for visual tokens it leaves, for `trimmed`.

        All of them where the encoder gives what goes into the language model (Qwen2-VL): what is dropped there is
        dropped before its first layer, and what stays keeps its place in the picture.
        """
        return 1.0 if projector_or_none(model) is None else self.visual_fraction


def ways() -> dict[str, Way]:
    """Every way by its name."""
    modules = (module for module in own_modules(__name__) if hasattr(module, "WAYS"))
    return {way.name: way for module in modules for way in module.WAYS}


@contextmanager
def applied(model: Any, way: Way) -> Generator[None, None, None]:
    """The model with a way, and without it afterwards."""
    undo = way.apply(model)
    try:
        yield
    finally:
        undo()


def trimmed(inputs: Mapping[str, Any], image_token: int, fraction: float) -> dict[str, Any]:
    """A prompt with this part of its places for visual tokens; each run of them becomes shorter.

    With 0 the pictures are left out too. DoesNotFit where rows of a batch have their pictures at different places.
    """
    ids = inputs["input_ids"]
    is_visual = ids == image_token
    if not bool((is_visual == is_visual[:1]).all()):
        raise DoesNotFit("rows of a batch with pictures at different places cannot be cut alike")
    kept: list[int] = []
    run: list[int] = []
    for place, visual in enumerate([*is_visual[0].tolist(), False]):
        if visual:
            run.append(place)
            continue
        kept += run[: round(len(run) * fraction)]
        run = []
        if place < ids.shape[1]:
            kept.append(place)
    found = {
        name: each[:, kept] if getattr(each, "shape", ())[:2] == ids.shape and each.dim() == 2 else each
        for name, each in inputs.items()
    }
    if fraction == 0:
        found = {name: each for name, each in found.items() if not name.startswith(("pixel_values", "image_"))}
    return found


def image_token_of(model: Any) -> int:
    """The id that stands for a visual token in its prompts; DoesNotFit where there is none."""
    found = getattr(model.config, "image_token_id", None) or getattr(model.config, "image_token_index", None)
    if not isinstance(found, int):
        raise DoesNotFit(f"{type(model).__name__} has no place for a picture in its prompts")
    return found

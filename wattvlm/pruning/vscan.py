"""VScan: tokens are merged between encoder and projector, and dropped in the middle of the language model.

Zhang et al. 2025 (arXiv 2505.22654): kept are those that the encoder attends to, in the whole and in each window. Here
those that lie farthest from the picture's mean; the others are averaged into the nearest of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from wattvlm.pruning import Way, projector_or_none
from wattvlm.pruning._layers import dropping, dropping_by, looked_at
from wattvlm.pruning._parts import as_before, in_a_row, layers_of

MERGED_FRACTION = 0.25
KEPT_FRACTION = 0.5


def merge_and_drop(model: Any) -> Callable[[], None]:
    """Both stages; gives what undoes them. Without a projector the first is before the language model's first layer."""
    projector, middle = projector_or_none(model), len(layers_of(model)) // 2
    if projector is None:
        return dropping_by(model, {0: _merged_there, middle: partial(looked_at, fraction=KEPT_FRACTION)})
    stage = _Merging()
    hooks = (projector.register_forward_pre_hook(stage.before), projector.register_forward_hook(stage.after))
    undo = dropping(model, middle, KEPT_FRACTION)

    def both() -> None:
        for hook in hooks:
            hook.remove()
        undo()

    return both


class _Merging:
    """The first stage, before the projector; after it where it folds neighbours of a grid, which merging takes away."""

    def __init__(self) -> None:
        self._folds: bool | None = None

    def before(self, projector: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What goes into the projector, merged; whether it folds is tried once."""
        if self._folds is None:
            self._folds = in_a_row(projector.forward(*args)).shape[1] != in_a_row(args[0]).shape[1]
        return None if self._folds else (_a_quarter(args[0]), *args[1:])

    def after(self, projector: Any, args: Any, features: Any) -> Any:
        """What comes out of a projector that folds, merged."""
        return _a_quarter(features) if self._folds else None


def _a_quarter(features: Any) -> Any:
    tokens = in_a_row(features)
    return as_before(merged(tokens, round(tokens.shape[1] * MERGED_FRACTION)), features)


def _merged_there(layer: Any, hidden: Any, visual: Any) -> tuple[Any, Any]:
    """Visual tokens at the language model's entrance: those that stay take the mean of what they stand for."""
    wanted = max(1, round(len(visual) * MERGED_FRACTION))
    kept, means = _kept_and_means(hidden[:, visual], wanted)
    hidden = hidden.clone()
    chosen = visual[kept[0]]
    hidden[:, chosen] = means
    return chosen, hidden


def merged(features: Any, wanted: int) -> Any:
    """(pictures, wanted, width): each the mean of a kept token and of all others that are nearest to it."""
    return _kept_and_means(features, wanted)[1]


def _kept_and_means(features: Any, wanted: int) -> tuple[Any, Any]:
    """Places (pictures, wanted) of the tokens that stay, in order, and the means that they take."""
    torch: Any = import_module("torch")
    far = (features - features.mean(dim=1, keepdim=True)).norm(dim=-1)
    kept = far.topk(wanted, dim=1).indices.sort(dim=1).values
    chosen = features.gather(1, kept.unsqueeze(-1).expand(-1, -1, features.shape[-1]))
    nearest = torch.cdist(features.float(), chosen.float()).argmin(dim=-1, keepdim=True)
    sums = torch.zeros_like(chosen).scatter_add(1, nearest.expand_as(features), features)
    counts = torch.zeros_like(chosen[..., :1]).scatter_add(1, nearest, torch.ones_like(features[..., :1]))
    return kept, sums / counts.clamp(min=1)


WAYS = (
    Way("vscan-1of4-1of8", "between encoder and projector, and in the middle of the language model", MERGED_FRACTION,
        merge_and_drop),
)  # fmt: skip

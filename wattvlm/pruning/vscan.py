"""VScan: tokens are merged between encoder and projector, and dropped in the middle of the language model.

Zhang et al. 2025 (arXiv 2505.22654): kept are those that the encoder attends to, in the whole and in each window. Here
those that lie farthest from the picture's mean; the others are averaged into the nearest of them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from wattvlm.pruning import Way, projector_of
from wattvlm.pruning._layers import dropping

MERGED_FRACTION = 0.25
KEPT_FRACTION = 0.5


def merge_and_drop(model: Any) -> Callable[[], None]:
    """Both stages; gives what undoes them."""
    hook = projector_of(model).register_forward_pre_hook(_merged)
    undo = dropping(model, len(model.model.language_model.layers) // 2, KEPT_FRACTION)

    def both() -> None:
        hook.remove()
        undo()

    return both


def _merged(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (merged(args[0], round(args[0].shape[1] * MERGED_FRACTION)), *args[1:])


def merged(features: Any, wanted: int) -> Any:
    """(pictures, wanted, width): each the mean of a kept token and of all others that are nearest to it."""
    torch: Any = import_module("torch")
    far = (features - features.mean(dim=1, keepdim=True)).norm(dim=-1)
    kept = far.topk(wanted, dim=1).indices.sort(dim=1).values.unsqueeze(-1).expand(-1, -1, features.shape[-1])
    chosen = features.gather(1, kept)
    nearest = torch.cdist(features.float(), chosen.float()).argmin(dim=-1, keepdim=True)
    sums = torch.zeros_like(chosen).scatter_add(1, nearest.expand_as(features), features)
    counts = torch.zeros_like(chosen[..., :1]).scatter_add(1, nearest, torch.ones_like(features[..., :1]))
    return sums / counts.clamp(min=1)


WAYS = (
    Way("vscan-1of4-1of8", "between encoder and projector, and in the middle of the language model", MERGED_FRACTION,
        merge_and_drop),
)  # fmt: skip

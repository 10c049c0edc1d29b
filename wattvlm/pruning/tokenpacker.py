"""TokenPacker: in the projector, a coarse token for each region of the picture asks the fine tokens of that region.

Li et al. 2024 (arXiv 2407.02392): queries from a picture made smaller, keys and values from four layers of the encoder.
Here from its last one. 1/4, 1/9 and 1/16 of the tokens are left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import isqrt
from typing import Any

from wattvlm.pruning import DoesNotFit, Way, projector_of
from wattvlm.pruning._parts import in_a_row, is_grid

SCALES = (2, 3, 4)
_HEAD_WIDTH = 64


def pack(model: Any, scale: int) -> Callable[[], None]:
    """Put the packing before the projector's own layers; gives what takes it out."""
    torch: Any = import_module("torch")
    projector = projector_of(model)
    layers: dict[str, Any] = {}

    def packed(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        features = args[0]
        width, sides = features.shape[-1], grid_of(features)
        if not layers:
            layers["asks"] = torch.nn.Linear(width, width, bias=False).to(features)
            heads = max(1, width // _HEAD_WIDTH)
            layers["looks"] = torch.nn.MultiheadAttention(width, heads, batch_first=True).to(features).eval()
        fine = regions(features, scale)
        coarse = layers["asks"](fine.mean(dim=1, keepdim=True))
        found, _ = layers["looks"](coarse, fine, fine, need_weights=False)
        kept = [side // scale for side in sides] if is_grid(features) else [-1]
        return (found.view(features.shape[0], *kept, width), *args[1:])

    undo: Callable[[], None] = projector.register_forward_pre_hook(packed).remove
    return undo


def regions(features: Any, scale: int) -> Any:
    """(pictures, tokens, width) as (pictures x regions, tokens of a region, width), regions row by row."""
    rows, columns = grid_of(features)
    if rows % scale or columns % scale:
        raise DoesNotFit(f"{rows} x {columns} tokens do not fall into regions of {scale} x {scale}")
    pictures, width = features.shape[0], features.shape[-1]
    cells = features.view(pictures, rows // scale, scale, columns // scale, scale, width).transpose(2, 3)
    return cells.reshape(-1, scale * scale, width)


def grid_of(features: Any) -> tuple[int, int]:
    """Rows and columns of a picture's tokens; DoesNotFit where they are no square and have no grid of their own."""
    tokens = in_a_row(features).shape[1]
    if is_grid(features):
        return int(features.shape[1]), int(features.shape[2])
    side = isqrt(tokens)
    if side * side != tokens:
        raise DoesNotFit(f"{tokens} tokens are no square, so that they have no regions")
    return side, side


WAYS = tuple(
    Way(f"tokenpacker-1of{scale**2}", "in the projector", 1.0 / scale**2, partial(pack, scale=scale))
    for scale in SCALES
)

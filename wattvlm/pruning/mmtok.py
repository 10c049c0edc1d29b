"""MMTok: of the projected tokens, those go on that together cover the picture best.

Dong et al. 2025 (arXiv 2508.18264): the largest coverage of the picture's and the prompt's tokens, found greedily. Here
of the picture's alone, since the prompt is not known in the projector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from wattvlm.pruning import Way, projector_or_none
from wattvlm.pruning._layers import dropping_by
from wattvlm.pruning._parts import as_before, in_a_row


def select(model: Any, fraction: float) -> Callable[[], None]:
    """Let only covering tokens out of the projector, or into the first layer; gives what undoes that."""
    projector = projector_or_none(model)
    if projector is None:
        return dropping_by(model, {0: partial(_chosen, fraction=fraction)})

    def selected(module: Any, args: Any, features: Any) -> Any:
        tokens = in_a_row(features)
        chosen = covering(tokens, round(tokens.shape[1] * fraction))
        return as_before(tokens.gather(1, chosen.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])), features)

    undo: Callable[[], None] = projector.register_forward_hook(selected).remove
    return undo


def _chosen(layer: Any, hidden: Any, visual: Any, *, fraction: float) -> tuple[Any, Any]:
    chosen = covering(hidden[:1, visual], max(1, round(len(visual) * fraction)))
    return visual[chosen[0]], hidden


def covering(features: Any, wanted: int) -> Any:
    """Places (pictures, wanted), in order: each next token adds most to what lies near to any of them.

    Coverage of a token is its largest cosine with a chosen one; the greedy choice reaches 63 % of the best sum
    (Nemhauser et al. 1978).
    """
    torch: Any = import_module("torch")
    directions = torch.nn.functional.normalize(features.float(), dim=-1)
    near = directions @ directions.transpose(1, 2)
    covered = torch.zeros(near.shape[:2], device=near.device)
    chosen: list[Any] = []
    for _ in range(wanted):
        gain = (near - covered.unsqueeze(1)).clamp(min=0).sum(dim=-1)
        for before in chosen:
            gain.scatter_(1, before, -1.0)
        best = gain.argmax(dim=1, keepdim=True)
        chosen.append(best)
        covered = torch.maximum(covered, near.gather(1, best.unsqueeze(-1).expand(-1, -1, near.shape[-1])).squeeze(1))
    return torch.cat(chosen, dim=1).sort(dim=1).values


WAYS = tuple(
    Way(f"mmtok-1of{parts}", "before the language model", 1.0 / parts, partial(select, fraction=1.0 / parts))
    for parts in (4, 16)
)

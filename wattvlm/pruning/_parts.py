"""Parts of a model that a way changes, found by how it is built: its projector, and its language model's layers."""

from __future__ import annotations

from typing import Any

from wattvlm.errors import WattvlmError


class DoesNotFit(WattvlmError):
    """A way is not for this model."""


def layers_of(model: Any) -> Any:
    """The language model's layers: those beside an embedding of tokens; DoesNotFit where there are none."""
    for part in model.modules():
        if hasattr(part, "embed_tokens") and hasattr(part, "layers"):
            return part.layers
    raise DoesNotFit(f"{type(model).__name__} has no language model whose layers stand in a row")


def projector_of(model: Any) -> Any:
    """What stands between encoder and language model and maps (pictures, tokens, width); DoesNotFit where none does."""
    found = projector_or_none(model)
    if found is None:
        raise DoesNotFit(
            f"{type(model).__name__} has no projector of its own between encoder and language model (pictures of any "
            "size, merged in the encoder), so that this way has no grid to work on. Cure: mmtok, vscan or fastv, or a "
            "LLaVA, InternVL or SmolVLM"
        )
    return found


def projector_or_none(model: Any) -> Any:
    """As `projector_of`: the part beside encoder and language model that has weights, and no stack of layers."""
    found = [
        part
        for part in getattr(model.model, "children", tuple)()
        if not _is_stack(part) and not hasattr(part, "embedding_dim") and any(True for _ in part.parameters())
    ]
    return found[0] if len(found) == 1 else None


def in_a_row(features: Any) -> Any:
    """(pictures, tokens, width) of what goes into a projector or comes out, also where it has rows and columns."""
    if features.dim() != _IN_A_ROW and not is_grid(features):
        raise DoesNotFit(f"a projector whose features are of shape {tuple(features.shape)} has no row of tokens")
    return features.flatten(1, -2)


def as_before(tokens: Any, features: Any) -> Any:
    """Tokens in a row, in as many dimensions as the features have from which they were taken."""
    return tokens.unsqueeze(1) if is_grid(features) else tokens


def is_grid(features: Any) -> bool:
    """Whether features are (pictures, rows, columns, width), as LFM2-VL's projector takes them."""
    return bool(features.dim() == _IN_A_GRID)


_IN_A_ROW, _IN_A_GRID = 3, 4


def _is_stack(part: Any) -> bool:
    """Whether it holds blocks in a row, as encoders and language models do."""
    return any(type(each).__name__ == "ModuleList" for each in part.modules())

"""The shape of a language model's blocks: how much one position works, from its modules and what they attend to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wattvlm.flops import Attending, BlockShape
from wattvlm.runtimes.transformers.discovery import Layout
from wattvlm.runtimes.transformers.loose import class_of
from wattvlm.runtimes.transformers.tree import ModuleTree
from wattvlm.runtimes.transformers.weights import experts_of, packed_weights, size_of

_ATTENDS = re.compile(r"attn|attention", re.IGNORECASE)
_OUTPUT_PROJECTION = re.compile(r"(^|_)(o_proj|out_proj|c_proj|dense|wo)$")
_OF_VISUAL = ("vision_expert", "vision_mlp", "vision_moe")
_OF_TEXT = ("language_expert", "language_mlp", "text_moe")
"""Weights that only visual tokens meet, and those that only text meets."""

_LINEAR_KINDS = ("linear_attention", "conv", "mamba", "recurrent")

_FLOPS_PER_WEIGHT = 2


def shape_of(layout: Layout, tree: ModuleTree) -> BlockShape | None:
    """The blocks' shape, or None where a part of it cannot be read off for certain."""
    if layout.language_model is None or layout.blocks is None or layout.cross_attention or packed_weights(tree):
        return None
    if getattr(getattr(tree.at(""), "config", None), "is_encoder_decoder", False):
        return None
    config = _config_of(layout.language_model, tree)
    blocks = tree.children(layout.blocks)
    weights = _Weights(experts_of(config))
    attending: dict[tuple[int | None, bool], int] = {}
    for index, block in enumerate(blocks):
        kind = _kind(config, index, len(blocks))
        values = weights.add(block, tree)
        if weights.are_unknown or kind is None:
            return None
        if kind in _LINEAR_KINDS:
            continue
        if len(values) != 1:
            return None
        window = _window(config, kind)
        attending[window] = attending.get(window, 0) + _FLOPS_PER_WEIGHT * _pair_width(values[0], config)
    kinds = tuple(Attending(flops, length, chunked) for (length, chunked), flops in attending.items())
    text, visual = round(_FLOPS_PER_WEIGHT * weights.of_text), round(_FLOPS_PER_WEIGHT * weights.of_visual)
    return BlockShape(text, kinds, None if visual == text else visual)


def _config_of(language_model: str, tree: ModuleTree) -> Any:
    root: Any = getattr(tree.at(""), "config", None)
    own: Any = getattr(tree.at(language_model), "config", None) or root
    return getattr(own, "text_config", None) or own


@dataclass(frozen=True, slots=True)
class _Role:
    """What a module of a block does, by its path in the block."""

    for_text: bool
    for_visual: bool
    is_expert: bool
    ends_attention: bool


class _Weights:
    """Weights that one position is multiplied with, summed over blocks; of a mixture's experts the part it uses."""

    def __init__(self, experts: tuple[int, int] | None) -> None:
        self.of_text = self.of_visual = 0.0
        self.are_unknown = False
        self._used_fraction = None if experts is None else experts[1] / experts[0]
        self._roles: dict[str, _Role] = {}

    def add(self, block: str, tree: ModuleTree) -> list[int]:
        """Add a block. Gives the length of a value, all heads together, of each attention in it."""
        values: list[int] = []
        for path, module in zip(tree.paths_under(block), tree.under(block)):
            inside = path[len(block) :]
            role = self._roles.get(inside)
            if role is None:
                role = self._roles[inside] = _role(inside)
            width = _in_features(module) if role.ends_attention else None
            if width is not None:
                values.append(width)
            if module._parameters and not class_of(module).__name__.endswith(("Embedding", "Norm")):
                self._multiply(role, sum(_matrix_sizes(module._parameters)))
        return values

    def _multiply(self, role: _Role, size: int) -> None:
        if role.is_expert and self._used_fraction is None:
            self.are_unknown = True
            return
        met = size * self._used_fraction if role.is_expert and self._used_fraction is not None else size
        self.of_text += met * role.for_text
        self.of_visual += met * role.for_visual


def _role(inside: str) -> _Role:
    *above, name = inside.strip(".").split(".")
    for_text = not any(word in inside for word in _OF_VISUAL)
    ends = for_text and _OUTPUT_PROJECTION.search(name) and any(_ATTENDS.search(each) for each in above)
    is_expert = "experts" in (*above, name)
    return _Role(for_text, not any(word in inside for word in _OF_TEXT), is_expert, bool(ends))


def _matrix_sizes(parameters: Mapping[str, Any]) -> Iterator[int]:
    for parameter in parameters.values():
        if parameter is not None:
            is_packed = getattr(parameter, "quant_state", None) is not None
            if is_packed or len(parameter.shape) > 1:
                yield size_of(parameter)


def _kind(config: Any, index: int, blocks: int) -> str | None:
    """What a block's layer is, "" where the config does not say; None for a kind that is not known here."""
    kinds: Any = getattr(config, "layer_types", None)
    if kinds is None:
        return ""
    if len(kinds) != blocks:
        return None
    kind = str(kinds[index])
    known = ("full_attention", "attention", "sliding_attention", "chunked_attention", *_LINEAR_KINDS)
    return kind if kind in known else None


def _window(config: Any, kind: str) -> tuple[int | None, bool]:
    """(positions that one sees at most, whether these come in chunks)."""
    if kind == "chunked_attention":
        chunk = getattr(config, "attention_chunk_size", None)
        return (chunk, True) if isinstance(chunk, int) else (None, False)
    if kind in ("full_attention", "attention") or getattr(config, "use_sliding_window", True) is False:
        return None, False
    window = getattr(config, "sliding_window", None)
    return (window, False) if isinstance(window, int) and window > 0 else (None, False)


def _pair_width(values: int, config: Any) -> int:
    """Lengths of a query and of a value, all heads together: what a pair of positions multiplies."""
    parts = [getattr(config, name, None) for name in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")]
    if all(isinstance(part, int) for part in parts) and parts[2]:
        nope, rope, of_value = (int(part) for part in parts if part is not None)
        return values + values // of_value * (nope + rope)
    return 2 * values


def _in_features(module: Any) -> int | None:
    width: Any = getattr(module, "in_features", None)
    if isinstance(width, int):
        return width
    weight: Any = module._parameters.get("weight")
    held_the_other_way = class_of(module).__name__ == "Conv1D"  # of GPT-2: (in, out)
    return int(weight.shape[0]) if held_the_other_way and weight is not None else None

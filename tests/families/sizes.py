"""Any configuration made tiny: every field is shrunk by what its name says it is, and nothing is known by family."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

WIDTH, HEADS, HEAD_WIDTH, LAYERS, VOCABULARY, PATCH, SIDE = 64, 4, 16, 2, 512, 8, 32

FIRST_FREE_ID = 400
"""Special tokens get ids from here on; text in prompts lies below."""

Shrink = Callable[[Any], Any]

LAYER_COUNTS = re.compile(r"(.*_)?layers?|depth|depths|num_(.*_)?blocks")


def _each(value: int) -> Shrink:
    """The number, or as many of it as there were."""
    return lambda old: [value] * len(old) if isinstance(old, (list, tuple)) else value


def _at_most(limit: int) -> Shrink:
    def cut(old: Any) -> Any:
        if isinstance(old, (list, tuple)):
            return [cut(each) for each in old]
        return min(old, limit) if isinstance(old, int) else old

    return cut


def _last_layer(old: Any) -> Any:
    """Positions in a list of layers, as many as there were; those counted from the end stay."""
    if isinstance(old, (list, tuple)):
        return [_last_layer(each) for each in old]
    return max(old, -LAYERS) if old < 0 else LAYERS - 1


def _patch(old: Any) -> Any:
    """Sides of patches; a temporal one is small already, and a list of several is of convolutions that follow."""
    if isinstance(old, int):
        return old if old < 4 else PATCH
    return old if len(old) > 2 else [PATCH] * len(old)


RULES: tuple[tuple[str, Shrink], ...] = (
    (r".*layers?_(ind(ex|ic)e?s?)|.*block_index(es)?|deepstack.*index(es)?|.*attn_index(es)?|vision_feature_layers?",
     _last_layer),
    (r"cross_attention_layers", lambda old: [LAYERS - 1]),
    (r"mrope_section", lambda old: [HEAD_WIDTH // 2 - 2 * (HEAD_WIDTH // 6)] + [HEAD_WIDTH // 6] * (len(old) - 1)),
    (r"(.*_)?(key_value|kv)_heads", _at_most(2)),
    (r"((num|n)_)?(.*_)?heads?", _each(HEADS)),
    (LAYER_COUNTS.pattern, _at_most(LAYERS)),
    (r"(.*_)?vocab_size(_.*)?", _each(VOCABULARY)),
    (r"(num|n)_(local_|routed_)?experts|moe_num_experts", _each(4)),
    (r"num_experts_per_tok|moe_k|moe_topk|top_k_experts|num_shared_experts|n_shared_experts", _at_most(2)),
    (r"n_group|topk_group|num_groups", _each(1)),
    (r"mm_tokens_per_image|num_query_tokens|latent_query_num|num_image_tokens|image_seq(_len)?gth", _at_most(4)),
    (r"(.*_)?head_dim|attention_head_size", _each(HEAD_WIDTH)),
    (r"(.*_)?rank", _each(HEAD_WIDTH)),
    (r".*image_size|tile_size", _each(SIDE)),
    (r"image_grid_pinpoints", lambda old: [[SIDE, 2 * SIDE], [2 * SIDE, SIDE]]),
    (r".*patch_size", _patch),
    (r"num_embeddings|codebook_size", _at_most(32)),
    (r"(max_)?.*position.*|max_length|.*seq_len.*", _at_most(1024)),
    (r"(.*_)?(intermediate_size|ffn_dim|d_ff|mlp_dim|ffn_hidden_size|ffn_size|inner_dim)(_.*)?", _each(2 * WIDTH)),
    (r"(.*_)?(hidden_size|d_model|embed_dim|hidden_dim|n_embd|embedding_dim|projection_dim|embedding_size|output_dim|"
     r"proj_size|projection_size|proj_dim|dim|d_embed|embed_size|hidden_channels|out_dim|in_dim|out_channels|base_channels)(_.*)?",
     _each(WIDTH)),
)  # fmt: skip
"""(pattern of the whole field name, how it shrinks), the first that fits."""


def shrunk(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's plain data, made tiny, with those inside it."""
    return _shrunk(fields, iter(range(FIRST_FREE_ID, VOCABULARY)), {})


def _shrunk(fields: Mapping[str, Any], ids: Iterator[int], known: dict[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    depths = {value for name, value in fields.items() if LAYER_COUNTS.fullmatch(name) and isinstance(value, int)}
    layers = max([LAYERS, *(len(set(map(str, value))) for name, value in fields.items() if _is_kinds(name, value))])
    for name, value in fields.items():
        if isinstance(value, Mapping) and not all(isinstance(key, str) for key in value) and "layer" not in name:
            found[name] = value
        elif isinstance(value, Mapping):
            found[name] = _of_layers_left(value) if _is_by_layer(name, value) else _shrunk(value, ids, known)
        elif value is None and re.fullmatch(r"(image|video)_token_(id|index)", name):
            found[name] = known.setdefault(name, next(ids))
        elif value is None or isinstance(value, (bool, str)):
            found[name] = value
        elif re.fullmatch(r"(.*_)?(key_value|kv)_heads", name) and value == fields.get("num_attention_heads"):
            found[name] = HEADS  # a model without grouped queries may refuse them
        elif _is_kinds(name, value):
            kinds = list(dict.fromkeys(value))
            found[name] = (kinds * layers)[:layers]
        elif isinstance(value, (list, tuple)) and len(value) > LAYERS and len(value) in depths:
            found[name] = list(value)[:layers]
        elif re.fullmatch(r".*token_(id|index)|.*_id", name) and isinstance(value, int):
            if name not in known and value >= 0:
                known[name] = next(ids)
            found[name] = known.get(name, value)
        elif re.fullmatch(r".*token_ids?", name) and isinstance(value, (list, tuple)):
            found[name] = [next(ids) for _ in value]
        elif re.fullmatch(r"num_hidden_layers", name) and isinstance(value, int):
            found[name] = min(layers, value)
        else:
            found[name] = _rule(name)(value)
    return found


def _is_kinds(name: str, value: Any) -> bool:
    """A list that says of each layer what kind it is."""
    return re.fullmatch(r".*(layer|block)s?_types?|layers_block_type", name) is not None and isinstance(
        value, (list, tuple)
    )


def _is_by_layer(name: str, value: Mapping[Any, Any]) -> bool:
    """A table of settings of single layers."""
    return "layer" in name and all(str(key).isdigit() for key in value)


def _of_layers_left(by_layer: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in by_layer.items() if int(key) < LAYERS}


def _rule(name: str) -> Shrink:
    return next((shrink for pattern, shrink in RULES if re.fullmatch(pattern, name)), lambda old: old)

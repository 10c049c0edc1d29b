"""What a model is: parameters by part, dtype, quantisation, device."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from wattvlm.runtimes.transformers.discovery import Layout
from wattvlm.runtimes.transformers.loose import class_of, entries_of, mapping_of
from wattvlm.runtimes.transformers.tree import ModuleTree
from wattvlm.trace import Fusion, ModelFacts

_EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EXPERTS_USED = ("num_experts_per_tok", "moe_k", "moe_topk", "num_experts_per_token")


def facts_of(root: Any, layout: Layout, tree: ModuleTree) -> ModelFacts:
    """The facts of a torch module; parameters that modules share count once."""
    config = getattr(root, "config", None)
    sizes: dict[int, int] = {}
    dtypes: Counter[Any] = Counter()
    devices: dict[Any, None] = {}
    for module in tree.modules:
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) not in sizes:
                sizes[id(parameter)] = size = _size(parameter)
                dtypes[parameter.dtype] += size
                devices[parameter.device] = None
    encoders = [part.path for part in layout.parts if part.encodes]
    carriers = [part.path for part in layout.parts if not part.encodes]
    inner = [layout.inner_projector] if layout.inner_projector else []
    projector = _count_in(tree, [*carriers, *inner], sizes)
    total = sum(sizes.values())
    return ModelFacts(
        name=_name(str(getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "") or "")),
        class_name=class_of(root._modules.get("_orig_mod", root)).__name__,  # inside torch.compile's wrapper
        parameters=total,
        active_parameters=_active(tree, config, sizes),
        vision_parameters=_count_in(tree, encoders, sizes) - _count_in(tree, inner, sizes) if encoders else None,
        projector_parameters=projector if projector else None,
        dtype=str(dtypes.most_common(1)[0][0]).removeprefix("torch.") if dtypes else "",
        quantisation=_quantisation(config),
        device=", ".join(str(device) for device in devices),
        fusion=_fusion(layout, tree),
    )


def _name(name_or_path: str) -> str:
    """A hub id as it is; of a folder only its own name, since reports are handed on and paths name their users."""
    is_folder = os.sep in name_or_path and os.path.isdir(name_or_path)  # noqa: PTH112  # a string from a config
    return os.path.basename(os.path.abspath(name_or_path)) if is_folder else name_or_path  # noqa: PTH100, PTH119


def _size(parameter: Any) -> int:
    """Parameters behind a tensor; a 4-bit tensor of bitsandbytes packs two a byte and keeps the true shape aside."""
    shape: Iterable[int] | None = getattr(getattr(parameter, "quant_state", None), "shape", None)
    if shape is None:
        return int(parameter.numel())
    size = 1
    for length in shape:
        size *= int(length)
    return size


def _count_in(tree: ModuleTree, paths: Iterable[str], sizes: Mapping[int, int]) -> int:
    seen: set[int] = set()
    for path in paths:
        for module in tree.under(path):
            seen.update(id(each) for each in module._parameters.values() if each is not None)
    return sum(sizes[each] for each in seen)


def _active(tree: ModuleTree, config: Any, sizes: Mapping[int, int]) -> int | None:
    """Parameters that one token passes through, for a mixture whose config says how many experts it uses; else None."""
    text: Any = getattr(config, "text_config", None) or config
    experts = next((n for key in _EXPERT_COUNTS if isinstance(n := getattr(text, key, None), int) and n > 1), None)
    used = next((n for key in _EXPERTS_USED if isinstance(n := getattr(text, key, None), int) and n > 0), None)
    if experts is None or used is None:
        return None
    in_experts = _count_in(tree, [path for path in tree.paths if path.rpartition(".")[2] == "experts"], sizes)
    return sum(sizes.values()) - round(in_experts * (1 - used / experts)) if in_experts else None


def _quantisation(config: Any) -> str:
    chosen: Any = getattr(config, "quantization_config", None)
    if chosen is None:
        return ""
    entries = mapping_of(chosen) or entries_of(chosen)
    method = entries.get("quant_method", class_of(chosen).__name__)
    name = str(getattr(method, "value", method))
    bits = entries.get("bits") or (4 if entries.get("_load_in_4bit") else 8 if entries.get("_load_in_8bit") else None)
    return f"{name} {bits} bit" if bits else name


def _fusion(layout: Layout, tree: ModuleTree) -> Fusion:
    """early: pixels go into the one transformer without an encoder. late: an encoder's features join the sequence.

    deep: features enter several of its layers. cross-attention: the language model attends to them beside its sequence.
    """
    if layout.language_model is None or not layout.parts:
        return "unknown"
    towers = [part.path for part in layout.parts if part.encodes]
    if any("deepstack" in path.rpartition(".")[2] for tower in towers for path in tree.paths_under(tower)):
        return "deep"
    if layout.cross_attention:
        return "cross-attention"
    if any("vision_expert" in path or "vision_mlp" in path for path in tree.paths_under(layout.blocks or "")):
        return "deep"
    kinds = {type(module).__name__ for tower in towers for module in tree.under(tower)}
    return "late" if kinds & {"ModuleList", "Sequential"} else "early"

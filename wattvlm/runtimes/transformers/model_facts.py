"""What a model is: parameters by part, dtype, quantisation, device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from wattvlm.runtimes.transformers.discovery import Layout, module_at, walk
from wattvlm.runtimes.transformers.loose import class_of, entries_of, mapping_of
from wattvlm.trace import Fusion, ModelFacts


def facts_of(root: Any, layout: Layout) -> ModelFacts:
    """The facts of a torch module; parameters that modules share count once."""
    config = getattr(root, "config", None)
    seen: dict[int, Any] = {}
    for _, module in walk(root):
        for parameter in module._parameters.values():
            if parameter is not None:
                seen[id(parameter)] = parameter
    encoders = [part.path for part in layout.parts if part.encodes]
    carriers = [part.path for part in layout.parts if not part.encodes]
    projector = _count_in(root, [*carriers, *([layout.inner_projector] if layout.inner_projector else [])])
    vision = _count_in(root, encoders, without=layout.inner_projector)
    total = sum(_size(parameter) for parameter in seen.values())
    return ModelFacts(
        name=str(getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "") or ""),
        class_name=class_of(root._modules.get("_orig_mod", root)).__name__,  # inside torch.compile's wrapper
        parameters=total,
        active_parameters=_active(root, config, total),
        vision_parameters=vision if encoders else None,
        projector_parameters=projector if projector else None,
        dtype=_dtype(seen.values()),
        quantisation=_quantisation(config),
        device=", ".join(dict.fromkeys(str(parameter.device) for parameter in seen.values())),
        fusion=_fusion(root, layout),
    )


def _size(parameter: Any) -> int:
    """Parameters behind a tensor; a 4-bit tensor of bitsandbytes packs two a byte and keeps the true shape aside."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    if shape is None:
        return int(parameter.numel())
    size = 1
    for length in shape:
        size *= int(length)
    return size


def _count_in(root: Any, paths: Iterable[str], without: str | None = None) -> int:
    left_out: set[int] = set() if without is None else {id(module) for _, module in walk(module_at(root, without))}
    seen: dict[int, int] = {}
    for path in paths:
        for _, module in walk(module_at(root, path)):
            if id(module) not in left_out:
                seen.update({id(each): _size(each) for each in module._parameters.values() if each is not None})
    return sum(seen.values())


def _active(root: Any, config: Any, total: int) -> int | None:
    """Parameters that one token passes through, for a mixture whose config says how many experts it uses; else None."""
    text: Any = getattr(config, "text_config", None) or config
    experts = next((n for key in _EXPERT_COUNTS if isinstance(n := getattr(text, key, None), int) and n > 1), None)
    used = next((n for key in _EXPERTS_USED if isinstance(n := getattr(text, key, None), int) and n > 0), None)
    if experts is None or used is None:
        return None
    paths = [path for path, _ in walk(root) if path.rpartition(".")[2] == "experts"]
    in_experts = _count_in(root, paths)
    return total - round(in_experts * (1 - used / experts)) if in_experts else None


_EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EXPERTS_USED = ("num_experts_per_tok", "moe_k", "moe_topk", "num_experts_per_token")


def _dtype(parameters: Iterable[Any]) -> str:
    """The dtype of most parameters."""
    sizes: Counter[str] = Counter()
    for parameter in parameters:
        sizes[str(parameter.dtype).removeprefix("torch.")] += _size(parameter)
    return sizes.most_common(1)[0][0] if sizes else ""


def _quantisation(config: Any) -> str:
    chosen: Any = getattr(config, "quantization_config", None)
    if chosen is None:
        return ""
    entries = mapping_of(chosen) or entries_of(chosen)
    method = entries.get("quant_method", class_of(chosen).__name__)
    name = str(getattr(method, "value", method))
    bits = entries.get("bits") or (4 if entries.get("_load_in_4bit") else 8 if entries.get("_load_in_8bit") else None)
    return f"{name} {bits} bit" if bits else name


def _fusion(root: Any, layout: Layout) -> Fusion:
    """early: pixels go into the one transformer without an encoder. late: an encoder's features join the sequence.

    deep: features enter several of its layers. cross-attention: the language model attends to them beside its sequence.
    """
    if layout.language_model is None or not layout.parts:
        return "unknown"
    towers = [module_at(root, part.path) for part in layout.parts if part.encodes]
    names = {path.rpartition(".")[2] for tower in towers for path, _ in walk(tower)}
    if any("deepstack" in name for name in names):
        return "deep"
    if layout.cross_attention:
        return "cross-attention"
    blocks = module_at(root, layout.blocks or "")
    if blocks is not None and any("vision_expert" in path or "vision_mlp" in path for path, _ in walk(blocks)):
        return "deep"
    return "late" if any(_has_blocks(tower) for tower in towers) else "early"


def _has_blocks(tower: Any) -> bool:
    return any(type(module).__name__ in ("ModuleList", "Sequential") for _, module in walk(tower))

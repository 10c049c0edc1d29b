"""What a model is: parameters by part, dtype, quantisation, device."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from wattvlm.runtimes.transformers.discovery import Layout
from wattvlm.runtimes.transformers.loose import class_of, entries_of
from wattvlm.runtimes.transformers.tree import ModuleTree
from wattvlm.runtimes.transformers.weights import (
    experts_of,
    holds_what_it_shows,
    packed_weights,
    quantisation_of,
    size_of,
)
from wattvlm.trace import Fusion, ModelFacts

_WRAPPERS = ("torch", "peft")


def first_device(tree: ModuleTree) -> str:
    """Where a model begins to work; "" for one without parameters."""
    for module in tree.modules:
        for parameter in module._parameters.values():
            if parameter is not None:
                return str(_runs_on(module, parameter))
    return ""


def facts_of(layout: Layout, tree: ModuleTree) -> ModelFacts:
    """The facts of a model. Parameters that modules share count once; those in packed weights are unknown."""
    root = tree.at("")
    config = getattr(root, "config", None)
    sizes: dict[int, int] = {}
    dtypes: dict[Any, int] = {}
    devices: dict[Any, None] = {}
    is_plain: dict[type, bool] = {}
    for module in tree.modules:
        for parameter in module._parameters.values():
            if parameter is None or id(parameter) in sizes:
                continue
            kind = class_of(parameter)
            if kind not in is_plain:
                is_plain[kind] = holds_what_it_shows(kind)
            sizes[id(parameter)] = size = parameter.numel() if is_plain[kind] else size_of(parameter)
            dtype, device = parameter.dtype, parameter.device
            dtypes[dtype] = dtypes.get(dtype, 0) + size
            if device not in devices:
                devices[_runs_on(module, parameter)] = None
    encoders = [part.path for part in layout.parts if part.encodes]
    carriers = [part.path for part in layout.parts if not part.encodes]
    inner = [layout.inner_projector] if layout.inner_projector else []
    projector = _count_in(tree, [*carriers, *inner], sizes)
    total = sum(sizes.values())
    packed = packed_weights(tree)
    is_seen = packed is None
    vision = _count_in(tree, encoders, sizes) - _count_in(tree, inner, sizes) if encoders else None
    return ModelFacts(
        name=_name(str(getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "") or "")),
        class_name=class_of(_inside_wrappers(root)).__name__,
        parameters=total if is_seen else None,
        active_parameters=_active(tree, config, sizes) if is_seen else None,
        vision_parameters=vision if is_seen else None,
        projector_parameters=(projector or None) if is_seen else None,
        dtype=str(max(dtypes, key=lambda each: dtypes[each])).removeprefix("torch.") if dtypes else "",
        quantisation=quantisation_of(config, tree, packed, is_plain),
        device=", ".join(str(device) for device in devices),
        fusion=_fusion(layout, tree),
    )


def _inside_wrappers(root: Any) -> Any:
    """The model in torch.compile's or peft's wrappers, which hold one module each."""
    module = root
    while class_of(module).__module__.partition(".")[0] in _WRAPPERS and len(module._modules) == 1:
        (module,) = module._modules.values()
    return root if module is None else module


def _runs_on(module: Any, parameter: Any) -> Any:
    """The parameter's device; of one that accelerate brings in for each call, the device that it is brought to."""
    if parameter.device.type != "meta":
        return parameter.device
    device = getattr(entries_of(module).get("_hf_hook"), "execution_device", None)
    if isinstance(device, int):  # accelerate's own way to say which accelerator
        return f"cuda:{device}"
    return parameter.device if device is None else device


def _name(name_or_path: str) -> str:
    """A hub id as it is; of a folder only its own name, since reports are handed on and paths name their users."""
    is_folder = os.sep in name_or_path and os.path.isdir(name_or_path)  # noqa: PTH112  # a string from a config
    return os.path.basename(os.path.abspath(name_or_path)) if is_folder else name_or_path  # noqa: PTH100, PTH119


def _count_in(tree: ModuleTree, paths: Iterable[str], sizes: Mapping[int, int]) -> int:
    held = [module._parameters for path in paths for module in tree.under(path) if module._parameters]
    return sum(sizes[each] for each in {id(each) for own in held for each in own.values() if each is not None})


def _active(tree: ModuleTree, config: Any, sizes: Mapping[int, int]) -> int | None:
    """Parameters that one token passes through, for a mixture whose config says how many experts it uses; else None."""
    text: Any = getattr(config, "text_config", None) or config
    mixture = experts_of(text)
    if mixture is None:
        return None
    experts, used = mixture
    in_experts = _count_in(tree, [path for path in tree.paths if path.rpartition(".")[2] == "experts"], sizes)
    return sum(sizes.values()) - round(in_experts * (1 - used / experts)) if in_experts else None


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

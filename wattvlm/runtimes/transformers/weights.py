"""A model's weights: how many, how many experts a token uses, quantised how, and out of sight where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from wattvlm.runtimes.transformers.loose import class_of, entries_of, mapping_of
from wattvlm.runtimes.transformers.tree import ModuleTree

_PLAIN = "torch.nn.parameter"

_PACKED = "_packed_params"
"""Where torch's own quantised layers keep weight and bias as one object that is no parameter."""


_EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EXPERTS_USED = ("num_experts_per_tok", "moe_k", "moe_topk", "num_experts_per_token")


def holds_what_it_shows(kind: type) -> bool:
    """Whether tensors of a class have as many elements as they show: torch's own parameters."""
    return kind.__module__ == _PLAIN


def size_of(parameter: Any) -> int:
    """Parameters behind a tensor; a 4-bit tensor of bitsandbytes packs two a byte and keeps the true shape aside."""
    if holds_what_it_shows(class_of(parameter)):  # asking each for what it does not have takes as long as all the rest
        return int(parameter.numel())
    shape: Iterable[int] | None = getattr(getattr(parameter, "quant_state", None), "shape", None)
    if shape is None:
        return int(parameter.numel())
    size = 1
    for length in shape:
        size *= int(length)
    return size


def experts_of(config: Any) -> tuple[int, int] | None:
    """(experts of a mixture, those that one token uses) by a language model's config; None where it names none."""
    experts = next((n for key in _EXPERT_COUNTS if isinstance(n := getattr(config, key, None), int) and n > 1), None)
    used = next((n for key in _EXPERTS_USED if isinstance(n := getattr(config, key, None), int) and n > 0), None)
    return None if experts is None or used is None else (experts, used)


def packed_weights(tree: ModuleTree) -> Any:
    """A module that holds packed weights, whose sizes no parameter tells; None if there is none."""
    return next((module for path, module in tree if path.endswith(_PACKED)), None)


def quantisation_of(config: Any, tree: ModuleTree, packed: Any, kinds: Iterable[type]) -> str:
    """As the configuration names it, else as the weights show it ("torchao int8"); "" for weights held as they are.

    packed: a module with packed weights, or None. kinds: the classes of all parameters.
    """
    chosen: Any = getattr(config, "quantization_config", None)
    if chosen is None:
        packages = {kind: package for kind in kinds if (package := _package_of_wrapper(kind))}
        return (
            f"torch {_short(getattr(packed, 'dtype', 'packed'))}" if packed is not None else _by_tensors(tree, packages)
        )
    entries = mapping_of(chosen) or entries_of(chosen)
    method = entries.get("quant_method", class_of(chosen).__name__)
    name = str(getattr(method, "value", method))
    bits = entries.get("bits") or (4 if entries.get("_load_in_4bit") else 8 if entries.get("_load_in_8bit") else None)
    return f"{name} {bits} bit" if bits else name


def _by_tensors(tree: ModuleTree, packages: Mapping[type, str]) -> str:
    """By the parameters that stand for narrower tensors inside them, as those of torchao and quanto do."""
    found: Counter[str] = Counter()
    for module in tree.modules if packages else ():
        for parameter in module._parameters.values():
            package = packages.get(class_of(parameter))
            if package is not None:
                narrowest = _narrowest(parameter)
                if narrowest is not None and narrowest.itemsize < parameter.dtype.itemsize:
                    found[f"{package} {_short(narrowest)}"] += int(parameter.numel())
    return found.most_common(1)[0][0] if found else ""


def _package_of_wrapper(kind: Any) -> str:
    """The package of a class of tensors that hold others inside; "" for any other class."""
    package = str(kind.__module__).partition(".")[0]
    return package if package != "torch" and hasattr(kind, "__tensor_flatten__") else ""


def _narrowest(parameter: Any) -> Any:
    """The dtype of the largest tensor inside, which holds the values; the others are scales."""
    names, _ = parameter.__tensor_flatten__()
    inner = [each for name in names if (each := getattr(parameter, name, None)) is not None]
    return max(inner, key=lambda each: int(each.numel())).dtype if inner else None


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")

"""Weights in whole numbers: what "int8" and "int4" mean as a cell's dtype."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wattvlm.errors import WattvlmError

CONFIGS = {"int8": "Int8WeightOnlyConfig", "int4": "Int4WeightOnlyConfig"}
"""torchao's configurations by dtype: weights of the language model's linear layers, activations as they were."""


def base_dtype(torch: Any, name: str, device: str) -> Any:
    """The dtype in which a model is loaded, and its activations stay: torch's own of that name.

    Whole numbers are of weights alone: beside them bfloat16 on a GPU, float32 on a CPU.
    """
    if name in CONFIGS:
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    return getattr(torch, name) if name else torch.float32


def quantise(model: Any, name: str) -> None:
    """Make the weights of the language model's linear layers whole numbers in place; nothing for any other dtype.

    WattvlmError where torchao is not installed, has no kernel for it here, or leaves some layers as they were, which it
    does without a word where their width is not whole groups.
    """
    if name not in CONFIGS:
        return
    try:
        torchao: Any = import_module("torchao.quantization")
        language = getattr(getattr(model, "model", model), "language_model", model)
        before = _kinds_of_weights(language)
        torchao.quantize_(language, getattr(torchao, CONFIGS[name])())
    except (ImportError, AttributeError, NotImplementedError) as error:
        raise WattvlmError(
            f"torchao gives no {name} weights here: {error}. Cure: pip install torchao, and its kernels for this device"
        ) from error
    after = _kinds_of_weights(language)
    kept = [layer for layer, kind in before.items() if after[layer] is kind]
    if kept:
        raise WattvlmError(
            f"torchao left {len(kept)} of {len(before)} linear layers as they were ({kept[0]} first), so that joules "
            f"would not be of {name} weights. Cure: a model whose widths are whole groups of {name} weights"
        )


def _kinds_of_weights(language: Any) -> dict[str, type]:
    """The class of each linear layer's weight, by the layer's name; whole numbers have a class of their own."""
    torch: Any = import_module("torch")
    return {name: type(each.weight) for name, each in language.named_modules() if isinstance(each, torch.nn.Linear)}

"""A family's model at tiny size with random weights, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tests.families.needs import NEEDS
from tests.families.registry import Family, parameters
from tests.families.sizes import HEAD_WIDTH, shrunk

PAD, START, END = 0, 2, 1
LARGEST = 20_000_000


class CannotBeBuilt(Exception):
    """Why a family's model cannot be made here, in one line."""


def config_of(family: Family) -> Any:
    """The family's own default configuration, shrunk by the rules and with what the family needs."""
    fields = shrunk(family.config_class().to_dict())
    if "image_grid_thw" in parameters(family.model_class):
        _divide_heads(fields)
    need = NEEDS.get(family.model_type)
    for path, value in (need.fields if need is not None else {}).items():
        *parents, name = path.removeprefix("?").split(".")
        inner: Any = fields
        for parent in parents:
            inner = inner[parent]
        if name in inner or not path.startswith("?"):
            inner[name] = value
    return family.config_class.from_dict(fields)


def _divide_heads(fields: dict[str, Any]) -> None:
    """Rotary positions in three directions: where nothing is said, how a head is divided is a constant."""
    text = fields.get("text_config", fields)
    sections = [HEAD_WIDTH // 4, HEAD_WIDTH // 8, HEAD_WIDTH // 8]
    if "rope_scaling" in text and not text["rope_scaling"]:  # its name before transformers 5
        text["rope_scaling"] = {"type": "default", "rope_type": "default", "mrope_section": sections}
    rotary = text.get("rope_parameters")
    if isinstance(rotary, dict) and "mrope_section" not in rotary and "rope_theta" in rotary:
        rotary["mrope_section"] = sections


def build(family: Family) -> Any:
    """The model, ready to be asked; CannotBeBuilt names the reason."""
    try:
        config = config_of(family)
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in family.model_class(config).parameters())
        if size > LARGEST:
            raise CannotBeBuilt(f"still {size:,} parameters when shrunk")
        torch.manual_seed(0)
        model = family.model_class(config).eval()
    except CannotBeBuilt:
        raise
    except Exception as error:
        raise CannotBeBuilt(one_line(error)) from error
    for module in model.modules():
        settings = getattr(module, "generation_config", None)
        if settings is not None:
            settings.pad_token_id, settings.bos_token_id, settings.eos_token_id = PAD, START, END
            if getattr(config, "is_encoder_decoder", False):
                settings.decoder_start_token_id = START
    return model


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def setting(config: Any, *names: str) -> Any:
    """The first of these fields that the configuration has, else the ones inside it, vision first."""
    fields = config if isinstance(config, Mapping) else config.to_dict()
    for name in names:
        if fields.get(name) is not None:
            return fields[name]
    inner = [key for key, value in fields.items() if isinstance(value, Mapping)]
    for key in sorted(inner, key=lambda key: ("vision" not in key and "vit" not in key, key)):
        found = setting(fields[key], *names)
        if found is not None:
            return found
    return None

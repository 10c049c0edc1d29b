"""Inputs for a model without a processor: noise for pixels, and a prompt with as many visual tokens as they become."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from wattvlm.bench.design import Cell
from wattvlm.errors import WattvlmError
from wattvlm.visual_tokens import visual_tokens

TEXT_TOKENS = 32
"""Of the prompt, beside the visual ones."""

ORDINARY_ID = 100
"""Where the ids of ordinary words begin; special ones lie below it or far above."""

SQUARES = ("llava", "vipllava", "internvl", "deepseek_vl", "gemma3", "smolvlm", "idefics3")
"""Families whose picture is a square of one size, whatever was asked for."""

NATIVE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
"""Families that take a picture's own size, in merged patches."""

PACKED = ("lfm2_vl",)
"""Families that take a picture's own size between two limits, as rows of patches beside the shape of each picture."""

PACKED_TOKENS = (64, 256)
"""The least and the most visual tokens of a picture that is not cut (Lfm2VlImageProcessor's own limits)."""

BY_PROMPT = ("smolvlm", "idefics3")
"""Families whose pictures come prompt by prompt."""

WHOLE = {"max_patches": 1, "do_image_splitting": False}
"""A picture is one square and is not cut, whatever its family's processor would do."""


def made_up_inputs(model: Any, cell: Cell, seed: int) -> dict[str, Any]:
    """What `generate` takes for a cell; WattvlmError for a family whose inputs are not known here."""
    torch: Any = import_module("torch")
    kind, settings = str(model.config.model_type), cast("dict[str, Any]", model.config.to_dict())
    generator = torch.Generator().manual_seed(seed)
    pictures = cell.batch_size * cell.images
    if kind in SQUARES:
        tokens = visual_tokens(settings, WHOLE) or 0
        side = _side(settings["vision_config"]["image_size"])
        leading = (cell.batch_size, cell.images) if kind in BY_PROMPT else (pictures,)
        pixels: dict[str, Any] = {"pixel_values": torch.rand((*leading, 3, side, side), generator=generator)}
    elif kind in NATIVE:
        pixels, tokens = _native(torch, settings["vision_config"], cell.resolution or (336, 336), pictures, generator)
    elif kind in PACKED:
        pixels, tokens = _packed(torch, settings, cell.resolution or (336, 336), pictures, generator)
    else:
        known = ", ".join((*SQUARES, *NATIVE, *PACKED))
        raise WattvlmError(
            f"what pictures {kind!r} takes is not known without its processor; random weights go for {known}. Cure: a "
            "folder with the processor's files, measured without --random-weights"
        )
    inputs = _prompt(torch, settings, cell, tokens, generator)
    if pictures:
        inputs |= {name: each.to(model.dtype) if each.is_floating_point() else each for name, each in pixels.items()}
    return {name: each.to(model.device) for name, each in inputs.items()}


def _side(length: Any) -> int:
    return int(length[0] if isinstance(length, (list, tuple)) else length)  # pyright: ignore[reportUnknownArgumentType]


def _native(
    torch: Any, vision: dict[str, Any], size: tuple[int, int], pictures: int, generator: Any
) -> tuple[dict[str, Any], int]:
    """Patches in a row, and the grid they make; as many visual tokens a picture as there are merged ones."""
    merge, patch = int(vision["spatial_merge_size"]), int(vision["patch_size"])
    columns, rows = (max(1, round(length / (patch * merge))) * merge for length in size)
    flat = int(vision.get("in_channels") or vision.get("in_chans") or 3) * int(vision["temporal_patch_size"]) * patch**2
    pixels = torch.rand((pictures * rows * columns, flat), generator=generator)
    grid = torch.tensor([[1, rows, columns]] * pictures)
    return {"pixel_values": pixels, "image_grid_thw": grid}, rows * columns // merge**2


def _packed(
    torch: Any, settings: dict[str, Any], size: tuple[int, int], pictures: int, generator: Any
) -> tuple[dict[str, Any], int]:
    """Patches in a row, the shape they had, and a mask without padding; the picture within the limits of its area."""
    patch, merge = int(settings["vision_config"]["patch_size"]), int(settings["downsample_factor"])
    area = size[0] * size[1] / (patch * merge) ** 2
    scale = (min(max(area, PACKED_TOKENS[0]), PACKED_TOKENS[1]) / area) ** 0.5
    columns, rows = (max(1, round(length * scale / (patch * merge))) * merge for length in size)
    return {
        "pixel_values": torch.rand((pictures, rows * columns, 3 * patch**2), generator=generator),
        "spatial_shapes": torch.tensor([[rows, columns]] * pictures),
        "pixel_attention_mask": torch.ones((pictures, rows * columns), dtype=torch.long),
    }, rows * columns // merge**2


def _prompt(torch: Any, settings: dict[str, Any], cell: Cell, tokens: int, generator: Any) -> dict[str, Any]:
    """Half of the words, the pictures, and the other half."""
    token = settings.get("image_token_id", settings.get("image_token_index"))
    vocabulary = int(settings["text_config"]["vocab_size"])
    highest = min(each for each in (vocabulary, token) if each)
    words = torch.randint(min(ORDINARY_ID, highest - 1), highest, (cell.batch_size, TEXT_TOKENS), generator=generator)
    start, end = settings.get("vision_start_token_id"), settings.get("vision_end_token_id")
    one = [*([start] if start is not None else []), *[token] * tokens, *([end] if end is not None else [])]
    visual = torch.tensor(one * cell.images, dtype=words.dtype).expand(cell.batch_size, -1)
    half = TEXT_TOKENS // 2
    ids = torch.cat([words[:, :half], visual, words[:, half:]], dim=1)
    found = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    marks = "token_type_ids" if settings["model_type"] == "gemma3" else "mm_token_type_ids"
    if settings["model_type"] in (*NATIVE, "gemma3"):
        found[marks] = (ids == token).to(ids.dtype)
    return found

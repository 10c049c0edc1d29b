"""Inputs for a model without a processor: noise for pixels, and a prompt with as many visual tokens as they become."""

from __future__ import annotations

from importlib import import_module
from math import ceil
from typing import Any, cast

from wattvlm.bench.design import Cell
from wattvlm.bench.prompts import NATIVE, clip_ids, ordinary_ids, picture_ids, prompt_inputs
from wattvlm.errors import WattvlmError
from wattvlm.visual_tokens import visual_tokens

TEXT_TOKENS = 32
"""Of the prompt, beside the visual ones."""

SQUARES = ("llava", "vipllava", "internvl", "deepseek_vl", "gemma3", "smolvlm", "idefics3")
"""Families whose picture is a square of one size, whatever was asked for."""

PACKED = ("lfm2_vl",)
"""Families that take a picture's own size between two limits, as rows of patches beside the shape of each picture."""

PACKED_TOKENS = (64, 256)
"""The least and the most visual tokens of a picture that is not cut (Lfm2VlImageProcessor's own limits)."""

BY_PROMPT = ("smolvlm", "idefics3")
"""Families whose pictures come prompt by prompt."""

WHOLE = {"max_patches": 1, "do_image_splitting": False}
"""A picture is one square and is not cut, whatever its family's processor would do."""

OWN_SIZE = (336, 336)
"""Of a picture in pixels, where a cell asks for none and its family has none."""


class NoClips(WattvlmError):
    """A model has no way of its own to take a clip."""


def made_up_inputs(model: Any, cell: Cell, seed: int) -> dict[str, Any]:
    """What `generate` takes for a cell; WattvlmError for a family whose inputs are not known here."""
    torch: Any = import_module("torch")
    kind, settings = str(model.config.model_type), cast("dict[str, Any]", model.config.to_dict())
    generator = torch.Generator().manual_seed(seed)
    pictures, size = cell.batch_size * cell.images, cell.resolution or OWN_SIZE
    if kind in SQUARES:
        tokens = visual_tokens(settings, WHOLE) or 0
        side = side_px(settings)
        leading = (cell.batch_size, cell.images) if kind in BY_PROMPT else (pictures,)
        pixels: dict[str, Any] = {"pixel_values": torch.rand((*leading, 3, side, side), generator=generator)}
    elif kind in NATIVE:
        values, grid, tokens = _native(torch, settings["vision_config"], size, pictures, 1, generator)
        pixels = {"pixel_values": values, "image_grid_thw": grid}
    elif kind in PACKED:
        pixels, tokens = _packed(torch, settings, size, pictures, generator)
    else:
        raise not_known(kind)
    prompt = _prompt(torch, settings, cell, picture_ids(settings, tokens) * cell.images, generator)
    return _on(model, prompt, pixels if pictures else {})


def made_up_clip(model: Any, cell: Cell, seed: int) -> dict[str, Any]:
    """As `made_up_inputs`, a prompt's pictures being the frames of one clip that goes in by the family's own way.

    Frames are merged in time as there, two into one in Qwen2-VL. NoClips for a family that has no such way.
    """
    torch: Any = import_module("torch")
    settings = cast("dict[str, Any]", model.config.to_dict())
    kind, vision = str(model.config.model_type), cast("dict[str, Any]", settings["vision_config"])
    if kind not in NATIVE:
        raise NoClips(
            f"{kind!r} takes a clip only as pictures, one for each frame, so that its cells of pictures are its clips; "
            f"{', '.join(NATIVE)} have a way of their own, which merges frames"
        )
    generator = torch.Generator().manual_seed(seed)
    parts = ceil(cell.images / int(vision["temporal_patch_size"]))
    pixels: dict[str, Any] = {}
    visual: list[int] = []
    if parts:
        size = cell.resolution or OWN_SIZE
        values, grid, tokens = _native(torch, vision, size, cell.batch_size, parts, generator)
        pixels = {"pixel_values_videos": values, "video_grid_thw": grid}
        visual = clip_ids(settings, parts, tokens, ordinary_ids(settings))
    return _on(model, _prompt(torch, settings, cell, visual, generator), pixels)


def not_known(kind: str) -> WattvlmError:
    """That a family's inputs are not known here."""
    known = ", ".join((*SQUARES, *NATIVE, *PACKED))
    return WattvlmError(
        f"what pictures {kind!r} takes is not known without its processor; random weights go for {known}. Cure: a "
        "folder with the processor's files, measured without --random-weights"
    )


def side_px(settings: dict[str, Any]) -> int:
    """The side of a family's square."""
    length: Any = settings["vision_config"]["image_size"]
    return int(length[0] if isinstance(length, (list, tuple)) else length)  # pyright: ignore[reportUnknownArgumentType]


def _on(model: Any, prompt: dict[str, Any], pixels: dict[str, Any]) -> dict[str, Any]:
    """Both as the model takes them: on its device, pixels in its dtype."""
    found = {name: each.to(model.dtype) if each.is_floating_point() else each for name, each in pixels.items()}
    return {name: each.to(model.device) for name, each in (prompt | found).items()}


def _native(
    torch: Any, vision: dict[str, Any], size: tuple[int, int], visuals: int, parts: int, generator: Any
) -> tuple[Any, Any, int]:
    """(patches in a row, the grid they make of each picture or clip, merged ones of one part of it in time)."""
    merge, patch = int(vision["spatial_merge_size"]), int(vision["patch_size"])
    columns, rows = (max(1, round(length / (patch * merge))) * merge for length in size)
    flat = int(vision.get("in_channels") or vision.get("in_chans") or 3) * int(vision["temporal_patch_size"]) * patch**2
    pixels = torch.rand((visuals * parts * rows * columns, flat), generator=generator)
    return pixels, torch.tensor([[parts, rows, columns]] * visuals), rows * columns // merge**2


def packed_grid(settings: dict[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """(columns, rows) of patches that a picture of so many pixels becomes, within the limits of its area."""
    patch, merge = int(settings["vision_config"]["patch_size"]), int(settings["downsample_factor"])
    area = size[0] * size[1] / (patch * merge) ** 2
    scale = (min(max(area, PACKED_TOKENS[0]), PACKED_TOKENS[1]) / area) ** 0.5
    columns, rows = (max(1, round(length * scale / (patch * merge))) * merge for length in size)
    return columns, rows


def _packed(
    torch: Any, settings: dict[str, Any], size: tuple[int, int], pictures: int, generator: Any
) -> tuple[dict[str, Any], int]:
    """Patches in a row, the shape they had, and a mask without padding."""
    patch, merge = int(settings["vision_config"]["patch_size"]), int(settings["downsample_factor"])
    columns, rows = packed_grid(settings, size)
    return {
        "pixel_values": torch.rand((pictures, rows * columns, 3 * patch**2), generator=generator),
        "spatial_shapes": torch.tensor([[rows, columns]] * pictures),
        "pixel_attention_mask": torch.ones((pictures, rows * columns), dtype=torch.long),
    }, rows * columns // merge**2


def _prompt(torch: Any, settings: dict[str, Any], cell: Cell, visual: list[int], generator: Any) -> dict[str, Any]:
    """Half of the words, the pictures, and the other half."""
    ordinary = ordinary_ids(settings)
    limits = (ordinary.start, ordinary.stop)
    words = torch.randint(*limits, (cell.batch_size, TEXT_TOKENS), generator=generator)
    between = torch.tensor(visual, dtype=words.dtype).expand(cell.batch_size, -1)
    half = TEXT_TOKENS // 2
    return prompt_inputs(torch, settings, torch.cat([words[:, :half], between, words[:, half:]], dim=1))

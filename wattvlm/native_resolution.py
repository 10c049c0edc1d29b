"""Visual tokens of models that take an image in its own resolution: sides become whole patches, within limits of area.

Each rule is one family's: config and processor are the entries of its two files, size is width and height in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, sqrt
from typing import Any, cast

Settings = Mapping[str, Any]
Size = tuple[int, int]
"""Width and height in pixels."""


def native(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """Native resolution (Qwen-VL): each side to whole merged patches, the area scaled into the processor's limits."""
    if size is None:
        return None
    vision = entries(config.get("vision_config"))
    patch = int(processor.get("patch_size") or vision["patch_size"])
    unit = patch * int(processor.get("merge_size") or vision["spatial_merge_size"])
    limits = entries(processor.get("size"))
    least = int(processor.get("min_pixels") or limits["shortest_edge"])
    most = int(processor.get("max_pixels") or limits["longest_edge"])
    units = [max(round(side / unit), 1) for side in size]
    area = units[0] * units[1] * unit**2
    if area > most:
        shrink = sqrt(size[0] * size[1] / most)
        units = [max(1, floor(side / shrink / unit)) for side in size]
    elif area < least:
        grow = sqrt(least / (size[0] * size[1]))
        units = [ceil(side * grow / unit) for side in size]
    return units[0] * units[1]


def doubled(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """GLM-4V: native resolution, an image counted as the two frames of a video in the limits of its area."""
    if size is None:
        return None
    vision, limits = entries(config.get("vision_config")), entries(processor["size"])
    frames = int(processor.get("temporal_patch_size") or vision.get("temporal_patch_size") or 2)
    unit = int(processor.get("patch_size") or vision["patch_size"])
    unit *= int(processor.get("merge_size") or vision["spatial_merge_size"])
    width, height = size
    if min(size) < unit:
        scale = max(unit / height, unit / width)
        width, height = int(width * scale), int(height * scale)
    sides = (width, height)
    units = [round(side / unit) for side in sides]
    volume = frames * units[0] * units[1] * unit**2
    if volume > int(limits["longest_edge"]):
        shrink = sqrt(frames * width * height / int(limits["longest_edge"]))
        units = [max(1, floor(side / shrink / unit)) for side in sides]
    elif volume < int(limits["shortest_edge"]):
        grow = sqrt(int(limits["shortest_edge"]) / (frames * width * height))
        units = [ceil(side * grow / unit) for side in sides]
    return units[0] * units[1]


def scaled_down(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """Pixtral, Mistral 3: scaled down into a square, then whole merged patches; breaks after rows are text."""
    if size is None:
        return None
    patch = int(entries(config.get("vision_config"))["patch_size"]) * int(config.get("spatial_merge_size") or 1)
    limit = int(entries(processor["size"])["longest_edge"])
    ratio = max(size[0] / limit, size[1] / limit)
    fitted = [floor(side / ratio) if ratio > 1 else side for side in size]
    columns, rows = ((side - 1) // patch + 1 for side in fitted)
    return columns * rows


def padded(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """Kimi K2.5: scaled down into a number of patches, each side padded to whole merged patches."""
    if size is None:
        return None
    patch, merged = int(processor["patch_size"]), int(processor["merge_size"])
    side = int(entries(processor["size"])["max_height"]) * patch
    patches = [max(1, each // patch) for each in size]
    scale = min(1.0, sqrt(int(processor["max_patches"]) / (patches[0] * patches[1])), *(side / each for each in size))
    fitted = [min(max(1, int(each * scale)), side) for each in size]
    columns, rows = (ceil(each / (patch * merged)) for each in fitted)
    return columns * rows


_LONGEST_SIDE = 512
"""Patches a side for which Kimi-VL's processor raises: MoonViT has no positions for them."""


def rescaled(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """Kimi-VL: scaled down into a number of patches, each side padded to whole merged patches."""
    if size is None or not processor.get("pad_input"):
        return None
    patch, limit = int(processor["patch_size"]), int(processor["in_token_limit"])
    merged = side_of(processor.get("merge_kernel_size") or entries(config["vision_config"])["merge_kernel_size"])
    patches = (size[0] // patch) * (size[1] // patch)
    scale = sqrt(limit / patches) if patches > limit else 1.0
    columns, rows = (ceil(int(side * scale) / (patch * merged)) for side in size)
    return None if max(columns, rows) * merged >= _LONGEST_SIDE else columns * rows


def side_of(length: Any) -> int:
    """A side, given as one number or as two equal ones; ValueError for an oblong."""
    if isinstance(length, (list, tuple)):
        first, second = (int(each) for each in cast("Sequence[Any]", length))
        if first != second:
            raise ValueError(f"{length} is no square")
        return first
    return int(length)


def entries(value: object) -> Settings:
    """A part of a configuration; an empty one where there is none."""
    return cast("Settings", value) if isinstance(value, Mapping) else {}

"""How many visual tokens an image becomes, by arithmetic on a model's own configuration. Pure; nothing is loaded.

What a family does with the size of an image is its processor's rule; a rule is told by the configuration's model_type
and takes all its numbers from the configuration: patch and merge size, pooling, tiles, limits of area, queries. Layouts
whose rule is not settled by these files are None, never a guess. The rules were read in transformers' processors, and
the tests hold them against those processors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, sqrt
from typing import Any, cast

Settings = Mapping[str, Any]
Size = tuple[int, int]
"""Width and height in pixels."""


def visual_tokens(config: Settings, processor: Settings | None = None, size: Size | None = None) -> int | None:
    """Visual tokens of one image that enter the language model; None where they are not known.

    config: the entries of config.json, as on the hub. processor: those of preprocessor_config.json. size: width and
    height of the image in pixels; families with one number for every image do not need it. Tokens that only frame an
    image (its begin and end) are text.
    """
    rule = _RULES.get(str(config.get("model_type")))
    if size is not None and min(size) < 1:
        return None
    try:
        return None if rule is None else rule(config, processor or {}, size)
    except (TypeError, ValueError, ZeroDivisionError, KeyError):
        return None


def _one_square(config: Settings, processor: Settings, size: Size | None) -> int:
    """One square of fixed size (LLaVA-1.5, PaliGemma); with strategy "full" the class token stays."""
    given = config.get("image_seq_length")
    if given is not None:
        return int(given)
    extra = 1 if config.get("vision_feature_select_strategy") == "full" else 0
    return _patches_a_side(config) ** 2 + extra


def _queries(config: Settings, processor: Settings, size: Size | None) -> int:
    """As many tokens as there are query tokens, whatever the image (BLIP-2)."""
    return int(config["num_query_tokens"])


def _pooled(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """A pooled square (Gemma 3); crops of large images are more, and who cuts them differs between runtimes."""
    return None if processor.get("do_pan_and_scan") else int(config["mm_tokens_per_image"])


def _native(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """Native resolution (Qwen-VL): each side to whole merged patches, the area scaled into the processor's limits."""
    if size is None:
        return None
    vision = _entries(config.get("vision_config"))
    patch = int(processor.get("patch_size") or vision["patch_size"])
    unit = patch * int(processor.get("merge_size") or vision["spatial_merge_size"])
    limits = _entries(processor.get("size"))
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


def _any_resolution(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """LLaVA-1.6: a small view of the whole, and the best of some grids without its padding, a token after each row."""
    if size is None:
        return None
    tile = _side(_entries(config.get("vision_config"))["image_size"])
    patches = _patches_a_side(config)
    pinpoints = cast("Sequence[Sequence[int]]", config["image_grid_pinpoints"])
    high, wide = max(((int(high), int(wide)) for high, wide in pinpoints), key=lambda grid: _fit(grid, size))
    rows, columns = _without_padding(patches * (high // tile), patches * (wide // tile), size)
    kept = 1 if config.get("vision_feature_select_strategy") == "full" else 0
    return rows * columns + rows + patches**2 + kept


def _fit(grid: tuple[int, int], size: Size) -> tuple[int, int]:
    """How good a grid of (height, width) pixels is for an image: most pixels of its own, then least of padding."""
    high, wide = grid
    scale = min(wide / size[0], high / size[1])
    used = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
    return used, used - high * wide


def _without_padding(rows: int, columns: int, size: Size) -> tuple[int, int]:
    """Rows and columns of patches that the image covers; the padding is taken away in equal parts at both sides."""
    width, height = size
    if width / height > columns / rows:
        covered = int(round(height * (columns / width), 7))
        return rows - (rows - covered) // 2 * 2, columns
    covered = int(round(width * (rows / height), 7))
    return rows, columns - (columns - covered) // 2 * 2


def _tiles(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """InternVL: square tiles in the grid whose shape is nearest to the image's, and a thumbnail where there are more.

    transformers' processor always cuts, whatever `crop_to_patches` of its image processor's file says.
    """
    each = int(config["image_seq_length"])
    most = int(processor["max_patches"])
    if most == 1:
        return each
    if size is None:
        return None
    limits = _entries(processor.get("size"))
    tile = int(limits["width"]) * int(limits["height"])
    columns, rows = _grid(size, tile, int(processor.get("min_patches") or 1), most)
    return each * (1 + columns * rows if columns * rows > 1 else 1)


def _grid(size: Size, tile_area: int, least: int, most: int) -> tuple[int, int]:
    """(columns, rows) of tiles nearest in shape; of equal shapes the larger, while it is under twice the image."""
    shape, area = size[0] / size[1], size[0] * size[1]
    grids = [
        (columns, rows)
        for columns in range(1, most + 1)
        for rows in range(1, most // columns + 1)
        if columns * rows >= least
    ]
    best, nearest = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        away = abs(shape - columns / rows)
        if away < nearest or (away == nearest and area > 0.5 * tile_area * columns * rows):
            best, nearest = (columns, rows), away
    return best


_RULES: Mapping[str, Callable[[Settings, Settings, Size | None], int | None]] = {
    "llava": _one_square, "vipllava": _one_square, "paligemma": _one_square,
    "blip-2": _queries, "instructblip": _queries,
    "gemma3": _pooled,
    "qwen2_vl": _native, "qwen2_5_vl": _native, "qwen3_vl": _native, "qwen3_vl_moe": _native,
    "llava_next": _any_resolution,
    "internvl": _tiles,
}  # fmt: skip


def _patches_a_side(config: Settings) -> int:
    vision = _entries(config.get("vision_config"))
    return _side(vision["image_size"]) // _side(vision["patch_size"])


def _side(length: Any) -> int:
    """A side in pixels, given as one number or as two equal ones; ValueError for an oblong."""
    if isinstance(length, (list, tuple)):
        first, second = (int(each) for each in cast("Sequence[Any]", length))
        if first != second:
            raise ValueError(f"{length} is no square")
        return first
    return int(length)


def _entries(value: object) -> Settings:
    return cast("Settings", value) if isinstance(value, Mapping) else {}

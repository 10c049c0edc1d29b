"""How many visual tokens an image becomes, by arithmetic on a model's own configuration. Pure; nothing is loaded.

What a family does with the size of an image is its processor's rule; a rule is told by the configuration's model_type
and takes all its numbers from the configuration: patch and merge size, pooling, tiles, limits of area, queries. Layouts
whose rule is not settled by these files are None, never a guess. The rules were read in transformers' processors, and
the tests hold them against those processors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, sqrt
from typing import cast

from wattvlm.native_resolution import (
    Settings,
    Size,
    doubled,
    entries,
    native,
    padded,
    rescaled,
    scaled_down,
    side_of,
)


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


def _one_square(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """One square of fixed size (LLaVA-1.5, PaliGemma); with strategy "full" the class token stays."""
    if entries(config.get("vision_config")).get("model_type") == "pixtral":  # a LLaVA by name
        return scaled_down(config, processor, size)
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


def _any_resolution(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """LLaVA-1.6, OneVision: a view of the whole, and the best of some grids without its padding, a token a row."""
    if size is None:
        return None
    tile = side_of(entries(config.get("vision_config"))["image_size"])
    patches = _patches_a_side(config)
    pinpoints = cast("Sequence[Sequence[int]]", config["image_grid_pinpoints"])
    high, wide = max(((int(high), int(wide)) for high, wide in pinpoints), key=lambda grid: _fit(grid, size))
    rows, columns = _without_padding(patches * (high // tile), patches * (wide // tile), size)
    most = _most_tiles(config)
    if most is not None and (ratio := sqrt(rows * columns / (most * patches**2))) > _SHRINKS_FROM:
        rows, columns = int(rows // ratio), int(columns // ratio)
    kept = 1 if config.get("vision_feature_select_strategy") == "full" and most is None else 0
    return rows * columns + rows + patches**2 + kept


def _most_tiles(config: Settings) -> int | None:
    """Of LLaVA-OneVision, whose grids may be large: features beyond so many tiles ("anyres_max_9") are shrunk."""
    if config.get("model_type") != "llava_onevision":
        return None
    return int(str(config.get("vision_aspect_ratio") or "anyres_max_9").rpartition("_")[2])


_SHRINKS_FROM = 1.1


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
    limits = entries(processor.get("size"))
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


def _resampled(config: Settings, processor: Settings, size: Size | None) -> int:
    """A fixed number of latents (Idefics2), five times with `do_image_splitting`: the whole and its quarters."""
    latents = int(entries(config.get("perceiver_config"))["resampler_n_latents"])
    return latents * (5 if processor.get("do_image_splitting") else 1)


def _beside(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """Idefics: what its cross-attention attends to, latents of the resampler or the encoder's patches and class."""
    if config.get("use_resampler"):
        return int(entries(config.get("perceiver_config"))["resampler_n_latents"])
    return _patches_a_side(config) ** 2 + 1


def _split(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """Idefics3, SmolVLM: the longest side scaled to a limit, cut into squares, and the whole as one more square."""
    square = (_patches_a_side(config) // int(config["scale_factor"])) ** 2
    if not processor.get("do_image_splitting", True):
        return square
    if size is None:
        return None
    side = int(entries(processor["max_image_size"])["longest_edge"])
    width, height = _to_longest(size, int(entries(processor["size"])["longest_edge"]))
    columns, rows = ceil(width / side), ceil(height / side)
    return square * (columns * rows + 1 if columns * rows > 1 else 1)


def _to_longest(size: Size, longest: int) -> Size:
    """The size with its longer side scaled to a length, which 4,096 pixels limit, and the other even."""
    width, height = size
    shape = width / height
    if width >= height:
        width, height = longest, int(longest / shape)
        height += height % 2
    else:
        width, height = int(longest * shape), longest
        width += width % 2
    width, height = max(width, 1), max(height, 1)
    if max(width, height) > _LARGEST_SIDE:
        shape = width / height
        wide = (_LARGEST_SIDE, int(_LARGEST_SIDE / shape))
        width, height = wide if width >= height else (int(_LARGEST_SIDE * shape), _LARGEST_SIDE)
    return max(width, 1), max(height, 1)


_LARGEST_SIDE = 4096


def _own_tiles(config: Settings, processor: Settings, size: Size | None) -> int | None:
    """InternVL's own repository: the rule of `_tiles`, from its config.json alone; a thumbnail only if it asks."""
    tile = int(config["force_image_size"])
    each = int(
        (tile // int(entries(config["vision_config"])["patch_size"])) ** 2 * float(config["downsample_ratio"]) ** 2
    )
    if not config.get("dynamic_image_size"):
        return each
    if size is None:
        return None
    most = int(config["max_dynamic_patch"])
    columns, rows = _grid(size, tile**2, int(config.get("min_dynamic_patch") or 1), most)
    return each * (columns * rows + (1 if config.get("use_thumbnail") and columns * rows > 1 else 0))


_RULES: Mapping[str, Callable[[Settings, Settings, Size | None], int | None]] = {
    "llava": _one_square, "vipllava": _one_square, "paligemma": _one_square, "deepseek_vl": _one_square,
    "blip-2": _queries, "instructblip": _queries,
    "gemma3": _pooled,
    "qwen2_vl": native, "qwen2_5_vl": native, "qwen3_vl": native, "qwen3_vl_moe": native,
    "glm4v": doubled, "glm4v_moe": doubled,
    "llava_next": _any_resolution, "llava_onevision": _any_resolution,
    "internvl": _tiles, "internvl_chat": _own_tiles,
    "idefics": _beside, "idefics2": _resampled, "idefics3": _split, "smolvlm": _split,
    "pixtral": scaled_down, "mistral3": scaled_down,
    "kimi_k25": padded, "kimi_vl": rescaled,
}  # fmt: skip


def _patches_a_side(config: Settings) -> int:
    vision = entries(config.get("vision_config"))
    return side_of(vision["image_size"]) // side_of(vision["patch_size"])

"""How many tokens an image becomes, by arithmetic on a model's own files, where a server does not say it.

Only layouts whose arithmetic is settled by the files are known here; everything else is None. A figure from here is
computed, not observed, and is labelled so in every report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt
from pathlib import Path
from typing import Any, cast

from wattvlm.runtimes._answers.gguf_header import read_header

Size = tuple[int, int]
Arithmetic = Callable[["ModelFiles", "Size | None"], "int | None"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a model's files say: config.json and the processor's settings, or a GGUF header. where: their place."""

    where: str
    config: Mapping[str, Any]
    processor: Mapping[str, Any]


def model_files(words: Sequence[str], folder: Path = Path()) -> ModelFiles | None:
    """The files of the first model that a command line names: a folder with a config.json, or a vision part in GGUF.

    words: the command line. folder: where relative paths begin. None where it names none that can be read.
    """
    for word in words:
        path = folder / word
        try:
            if path.suffix == ".gguf" and path.is_file():
                header = read_header(path)
                if header.get("general.architecture") == "clip":
                    return ModelFiles(str(path), header, {})
            elif (path / "config.json").is_file():
                return _of_folder(path)
        except (OSError, ValueError):
            continue
    return None


def vision_part_beside(model: str) -> ModelFiles | None:
    """The vision part in GGUF beside a language model in GGUF, where there is exactly one."""
    found: list[ModelFiles] = []
    try:
        for path in sorted(Path(model).parent.glob("*.gguf")):
            header = read_header(path)
            if header.get("general.architecture") == "clip":
                found.append(ModelFiles(f"{path} (the only vision part beside the model)", header, {}))
    except (OSError, ValueError):
        return None
    return found[0] if len(found) == 1 else None


def _of_folder(folder: Path) -> ModelFiles:
    config = _mapping(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    processor: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            said = _mapping(json.loads((folder / name).read_text(encoding="utf-8")))
            processor.update({**said, **_mapping(said.get("image_processor"))})
    return ModelFiles(str(folder), config, processor)


def image_tokens(files: ModelFiles, size: Size | None) -> int | None:
    """Visual tokens of one image of (width, height) pixels that enter the language model; None where not known."""
    kind = files.config.get("model_type") or files.config.get("general.architecture")
    arithmetic = _ARITHMETIC.get(str(kind))
    try:
        return None if arithmetic is None else arithmetic(files, size)
    except (TypeError, ValueError, ZeroDivisionError, KeyError):
        return None


def _llava(files: ModelFiles, size: Size | None) -> int | None:
    """One square of fixed size; with strategy "full" the class token stays."""
    given = files.config.get("image_seq_length")
    if given is not None:
        return int(given)
    vision = _mapping(files.config.get("vision_config"))
    extra = 1 if files.config.get("vision_feature_select_strategy") == "full" else 0
    return (int(vision["image_size"]) // int(vision["patch_size"])) ** 2 + extra


def _gemma3(files: ModelFiles, size: Size | None) -> int | None:
    """A fixed number an image, unless large images are cut into crops."""
    return None if files.processor.get("do_pan_and_scan") else int(files.config["mm_tokens_per_image"])


def _paligemma(files: ModelFiles, size: Size | None) -> int | None:
    vision = _mapping(files.config.get("vision_config"))
    return (int(vision["image_size"]) // int(vision["patch_size"])) ** 2


def _qwen_vl(files: ModelFiles, size: Size | None) -> int | None:
    """Each side rounded to whole tokens, and the area scaled into the processor's limits."""
    if size is None:
        return None
    processor, vision = files.processor, _mapping(files.config.get("vision_config"))
    patch = int(processor.get("patch_size") or vision["patch_size"])
    merge = int(processor.get("merge_size") or vision["spatial_merge_size"])
    limits = _mapping(processor.get("size"))
    least = int(processor.get("min_pixels") or limits["shortest_edge"])
    most = int(processor.get("max_pixels") or limits["longest_edge"])
    unit = patch * merge
    sides = [max(round(side / unit), 1) * unit for side in size]
    if sides[0] * sides[1] > most:
        shrink = sqrt(size[0] * size[1] / most)
        sides = [max(unit, floor(side / shrink / unit) * unit) for side in size]
    elif sides[0] * sides[1] < least:
        grow = sqrt(least / (size[0] * size[1]))
        sides = [ceil(side * grow / unit) * unit for side in size]
    return sides[0] * sides[1] // unit**2


def _gguf_clip(files: ModelFiles, size: Size | None) -> int | None:
    """llama.cpp's vision parts: LLaVA's projector of one square (not tiled), Gemma 3's pooled one."""
    said = files.config
    side = int(said["clip.vision.image_size"]) // int(said["clip.vision.patch_size"])
    kind = said.get("clip.vision.projector_type") or said.get("clip.projector_type")
    if kind == "mlp" and not said.get("clip.vision.image_grid_pinpoints"):
        return side**2
    if kind == "gemma3":
        return (side // int(said.get("clip.vision.projector.scale_factor") or 4)) ** 2
    return None


_ARITHMETIC: Mapping[str, Arithmetic] = {
    "llava": _llava, "vipllava": _llava, "gemma3": _gemma3, "paligemma": _paligemma, "qwen2_vl": _qwen_vl,
    "qwen2_5_vl": _qwen_vl, "qwen3_vl": _qwen_vl, "qwen3_vl_moe": _qwen_vl, "clip": _gguf_clip,
}  # fmt: skip


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}

"""How many tokens an image becomes, by arithmetic on a model's own files, where a server does not say it.

Only layouts whose arithmetic is settled by the files are known here; everything else is None. A figure from here is
computed, not observed, and is labelled so in every report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from wattvlm.native_resolution import Size as Size
from wattvlm.runtimes._answers.gguf_header import read_header
from wattvlm.visual_tokens import visual_tokens


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
    if files.config.get("general.architecture") != "clip":
        return visual_tokens(files.config, files.processor, size)
    try:
        return _gguf_clip(files.config)
    except (TypeError, ValueError, ZeroDivisionError, KeyError):
        return None


def _gguf_clip(said: Mapping[str, Any]) -> int | None:
    """llama.cpp's vision parts: LLaVA's projector of one square (not tiled), Gemma 3's pooled one."""
    side = int(said["clip.vision.image_size"]) // int(said["clip.vision.patch_size"])
    kind = said.get("clip.vision.projector_type") or said.get("clip.projector_type")
    if kind == "mlp" and not said.get("clip.vision.image_grid_pinpoints"):
        return side**2
    if kind == "gemma3":
        return (side // int(said.get("clip.vision.projector.scale_factor") or 4)) ** 2
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}

"""Questions put to random weights: pictures by the image processor of their family, words as tokens in their place.

What random weights write is no text, so that an answer is read by its likelihood: of the answers that are offered, the
one whose first token is the likeliest first token of the model's answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast
from zlib import crc32

from wattvlm.bench.made_up import BY_PROMPT, PACKED, SQUARES, WHOLE, not_known, packed_grid, side_px
from wattvlm.bench.prompts import NATIVE, ordinary_ids, picture_ids, prompt_inputs
from wattvlm.visual_tokens import visual_tokens

LETTERS_A_TOKEN = 4
"""Of English text, as tokenizers of these families cut it."""

LIMITS_PX = {"qwen2_vl": (3136, 12_845_056), "qwen2_5_vl": (3136, 12_845_056), "qwen3_vl": (65_536, 16_777_216),
             "qwen3_5": (65_536, 16_777_216)}  # fmt: skip
"""The least and the most area of a picture in the published preprocessor_config.json."""

_PIECE = re.compile(rf"\w{{1,{LETTERS_A_TOKEN}}}|[^\w\s]")


class UntrainedProcessor:
    """One prompt with its pictures as a model's inputs, without any file of the model.

    A picture is not cut into tiles. The same letters are the same token, so that the same question is the same prompt.
    WattvlmError for a family whose pictures are not known here.
    """

    image_token = "<image>"

    def __init__(self, model: Any) -> None:
        self._model = model
        self._settings = cast("dict[str, Any]", model.config.to_dict())
        self._words = ordinary_ids(self._settings)
        self._images = image_processor_of(self._settings)

    def __call__(
        self, *, text: Sequence[str], images: Sequence[Sequence[Any]] | None = None, return_tensors: str = "pt"
    ) -> Any:
        """What `generate` takes for one prompt, as a BatchFeature."""
        torch: Any = import_module("torch")
        transformers: Any = import_module("transformers")
        (asked,) = text
        pictures = [picture for prompt in images or () for picture in prompt]
        pixels, tokens = self._pixels(pictures) if pictures else ({}, ())
        first, *others = asked.split(self.image_token)
        ids = self.ids(first)
        for count, words in zip(tokens, others, strict=True):
            ids += [*picture_ids(self._settings, count), *self.ids(words)]
        inputs = prompt_inputs(torch, self._settings, torch.tensor([ids]))
        return transformers.BatchFeature({**inputs, **pixels}, tensor_type=return_tensors)

    def ids(self, words: str) -> list[int]:
        """A token for each few letters of a word, and for each mark."""
        return [self._words[crc32(piece.encode()) % len(self._words)] for piece in _PIECE.findall(words)]

    def likeliest(self, scores: Any, offered: Sequence[str]) -> str:
        """The offered answer whose first token has the highest score; "" of none. scores: by token id."""
        known = [each for each in offered if self.ids(each)]
        return max(known, key=lambda each: float(scores[self.ids(each)[0]]), default="")

    def _pixels(self, pictures: Sequence[Any]) -> tuple[dict[str, Any], list[int]]:
        """(tensors of pictures in the model's dtype, visual tokens of each)."""
        kind, merge = self._settings["model_type"], int(self._settings.get("downsample_factor") or 0)
        if kind in PACKED:
            patch = int(self._settings["vision_config"]["patch_size"])
            grids = [packed_grid(self._settings, picture.size) for picture in pictures]
            fitted = [each.resize((grid[0] * patch, grid[1] * patch)) for each, grid in zip(pictures, grids)]
            most = max(columns * rows for columns, rows in grids)
            found = self._images(images=fitted, return_tensors="pt", max_num_patches=most)
            tokens = [columns * rows // merge**2 for columns, rows in grids]
        else:
            nested = [list(pictures)] if kind in BY_PROMPT else list(pictures)
            found = self._images(images=nested, return_tensors="pt")
            if kind in NATIVE:
                merged = int(self._settings["vision_config"]["spatial_merge_size"]) ** 2
                tokens = [int(grid.prod()) // merged for grid in found["image_grid_thw"]]
            else:
                tokens = [visual_tokens(self._settings, WHOLE) or 0] * len(pictures)
        kept = {name: each for name, each in found.items() if not name.startswith("num_")}
        dtype = self._model.dtype
        return {name: each.to(dtype) if each.is_floating_point() else each for name, each in kept.items()}, tokens


def image_processor_of(settings: Mapping[str, Any]) -> Any:
    """The library's image processor for a family, without torchvision, at the size of its configuration."""
    transformers: Any = import_module("transformers")
    kind, vision = str(settings["model_type"]), settings["vision_config"]
    if kind in NATIVE:
        least, most = LIMITS_PX[kind]
        return _made(transformers, "Qwen2VLImageProcessor", patch_size=vision["patch_size"],
                     merge_size=vision["spatial_merge_size"], temporal_patch_size=vision["temporal_patch_size"],
                     size={"shortest_edge": least, "longest_edge": most})  # fmt: skip
    if kind in PACKED:
        return _made(transformers, "Siglip2ImageProcessor", patch_size=vision["patch_size"], do_resize=False)
    if kind not in SQUARES:
        raise not_known(kind)
    side = side_px(dict(settings))
    square, longest = {"height": side, "width": side}, {"longest_edge": side}
    if kind in BY_PROMPT:
        name = "SmolVLMImageProcessor" if kind == "smolvlm" else "Idefics3ImageProcessor"
        return _made(transformers, name, size=longest, max_image_size=longest, do_image_splitting=False)
    if vision["model_type"] == "clip_vision_model":
        return _made(transformers, "CLIPImageProcessor", size={"shortest_edge": side}, crop_size=square)
    if kind == "internvl":
        return _made(transformers, "GotOcr2ImageProcessor", size=square, crop_to_patches=False)
    names = {"deepseek_vl": "DeepseekVLImageProcessor", "gemma3": "Gemma3ImageProcessor"}
    return _made(transformers, names.get(kind, "SiglipImageProcessor"), size=square)


def _made(transformers: Any, name: str, **settings: Any) -> Any:
    """By Pillow alone: newer versions of transformers name that class apart."""
    return (getattr(transformers, f"{name}Pil", None) or getattr(transformers, name))(**settings)

"""Tiny models with random weights, one a family, each with an input and what its config says the counts must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
import transformers as hf

from wattvlm.assembly import assemble
from wattvlm.runtimes.transformers.runtime import TransformersRuntime
from wattvlm.trace import CallTrace, Mark, Trace

TEXT = [5, 6, 7, 8, 9, 10, 11]
IMAGE_ID = 100
PAD_ID = 0


@dataclass
class Tiny:
    """A model, inputs for one prompt with one image, and the truth by arithmetic on its config."""

    model: Any
    inputs: dict[str, Any]
    text: int
    visual: int
    encoded: int | None


class Watched:
    """A runtime of its own with a list as the sink."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self.runtime = TransformersRuntime()
        self.runtime.install(lambda *given: self.marks.extend(given))

    def trace(self) -> Trace:
        self.runtime.settle()
        return assemble(self.marks)

    def calls(self) -> tuple[CallTrace, ...]:
        return self.trace().calls

    def call(self) -> CallTrace:
        (only,) = self.calls()
        return only


@pytest.fixture
def watched() -> Iterator[Watched]:
    watching = Watched()
    yield watching
    watching.runtime.uninstall()
    assert not [mark.text for mark in watching.marks if mark.kind == "note"]


def _generate(tiny: Tiny, tokens: int = 5, **changes: Any) -> Any:
    """Exactly `tokens` new tokens, greedily, unless the changes say otherwise."""
    settings = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    return tiny.model.generate(**{**tiny.inputs, **settings, **changes})


def prepared(model: Any) -> Any:
    model.eval()
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = PAD_ID
        model.generation_config.eos_token_id = 1
    return model


def text_config(cls: Any, **changes: Any) -> Any:
    sizes = {
        "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": PAD_ID,
        "bos_token_id": 2, "eos_token_id": 1,
    }  # fmt: skip
    return cls(**{**sizes, **changes})


def vision_config(cls: Any, **changes: Any) -> Any:
    sizes = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 8,
    }  # fmt: skip
    return cls(**{**sizes, **changes})


def with_image(count: int, image_id: int = IMAGE_ID, text: list[int] = TEXT) -> dict[str, Any]:
    ids = torch.tensor([[2, *text[:2], *[image_id] * count, *text[2:]]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def pixels(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(7))


def kinds_of_tokens(kinds: torch.Tensor) -> dict[str, torch.Tensor]:
    """What transformers 5 is told beside the ids; earlier versions refuse it."""
    return {} if hf.__version__.startswith("4.") else {"mm_token_type_ids": kinds}


def _llava() -> Tiny:
    config = hf.LlavaConfig(
        vision_config=vision_config(hf.CLIPVisionConfig),
        text_config=text_config(hf.LlamaConfig),
        image_token_index=IMAGE_ID,
        image_seq_length=16,
    )
    model = prepared(hf.LlavaForConditionalGeneration(config))
    return Tiny(model, {**with_image(16), "pixel_values": pixels(1, 3, 32, 32)}, 8, (32 // 8) ** 2, 17)


def _qwen2_5_vl() -> Tiny:
    config = hf.Qwen2_5_VLConfig(
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "depth": 2, "num_heads": 2, "patch_size": 8,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32, "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        text_config=text_config(
            hf.Qwen2_5_VLTextConfig, rope_scaling={"type": "mrope", "mrope_section": [1, 1, 2], "rope_type": "default"}
        ).to_dict(),
        image_token_id=IMAGE_ID, video_token_id=101, vision_start_token_id=102, vision_end_token_id=103,
    )  # fmt: skip
    model = prepared(hf.Qwen2_5_VLForConditionalGeneration(config))
    grid = torch.tensor([[1, 8, 8]])
    inputs = {**with_image(16), "pixel_values": pixels(64, 3 * 2 * 8 * 8), "image_grid_thw": grid}
    inputs |= kinds_of_tokens((inputs["input_ids"] == IMAGE_ID).int())
    return Tiny(model, inputs, 8, 8 * 8 // 2**2, 64)


def _smolvlm() -> Tiny:
    config = hf.SmolVLMConfig(
        vision_config=vision_config(hf.SmolVLMVisionConfig).to_dict(),
        text_config=text_config(hf.LlamaConfig).to_dict(),
        image_token_id=IMAGE_ID,
        scale_factor=2,
        pad_token_id=PAD_ID,
    )
    model = prepared(hf.SmolVLMForConditionalGeneration(config))
    return Tiny(model, {**with_image(4), "pixel_values": pixels(1, 1, 3, 32, 32)}, 8, 16 // 2**2, 16)


def _gemma3() -> Tiny:
    config = hf.Gemma3Config(
        vision_config=vision_config(hf.SiglipVisionConfig, vision_use_head=False).to_dict(),
        text_config=text_config(hf.Gemma3TextConfig).to_dict(),
        mm_tokens_per_image=4,
        image_token_index=IMAGE_ID,
    )
    model = prepared(hf.Gemma3ForConditionalGeneration(config))
    inputs = {**with_image(4), "pixel_values": pixels(1, 3, 32, 32)}
    inputs["token_type_ids"] = (inputs["input_ids"] == IMAGE_ID).int()
    return Tiny(model, inputs, 8, 4, 16)


def _internvl() -> Tiny:
    config = hf.InternVLConfig(
        vision_config=vision_config(hf.InternVLVisionConfig, image_size=[32, 32], patch_size=[8, 8]).to_dict(),
        text_config=text_config(hf.Qwen2Config).to_dict(),
        image_token_id=IMAGE_ID,
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    model = prepared(hf.InternVLForConditionalGeneration(config))
    return Tiny(model, {**with_image(4), "pixel_values": pixels(1, 3, 32, 32)}, 8, 16 // 4, 17)


def _paligemma() -> Tiny:
    config = hf.PaliGemmaConfig(
        vision_config=vision_config(hf.SiglipVisionConfig, vision_use_head=False).to_dict(),
        text_config=text_config(hf.GemmaConfig).to_dict(),
        image_token_index=IMAGE_ID,
        projection_dim=32,
    )
    model = prepared(hf.PaliGemmaForConditionalGeneration(config))
    inputs = {**with_image(16), "pixel_values": pixels(1, 3, 32, 32)}
    return Tiny(model, inputs, 8, 16, 16)


def _mllama() -> Tiny:
    config = hf.MllamaConfig(
        vision_config={
            "hidden_size": 16, "attention_heads": 2, "num_hidden_layers": 2, "num_global_layers": 1,
            "intermediate_size": 32, "image_size": 32, "patch_size": 8, "max_num_tiles": 2,
            "vision_output_dim": 32, "intermediate_layers_indices": [1], "supported_aspect_ratios": [[1, 1], [1, 2]],
        },
        text_config=text_config(
            hf.models.mllama.configuration_mllama.MllamaTextConfig, num_hidden_layers=3, cross_attention_layers=[1],
            **({"rope_scaling": {"rope_type": "default"}} if hf.__version__.startswith("4.") else {}),
        ).to_dict(),
        image_token_index=IMAGE_ID,
    )  # fmt: skip
    model = prepared(hf.MllamaForConditionalGeneration(config))
    inputs = {
        **with_image(1), "pixel_values": pixels(1, 1, 2, 3, 32, 32), "aspect_ratio_ids": torch.tensor([[2]]),
        "aspect_ratio_mask": torch.ones(1, 1, 2, dtype=torch.long),
    }  # fmt: skip
    inputs["cross_attention_mask"] = torch.ones(1, inputs["input_ids"].shape[1], 1, 2, dtype=torch.long)
    return Tiny(model, inputs, 9, 2 * (16 + 1), 2 * (16 + 1))


def _blip2() -> Tiny:
    config = hf.Blip2Config(
        vision_config=vision_config(hf.Blip2VisionConfig).to_dict(),
        qformer_config={
            "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
            "encoder_hidden_size": 16, "vocab_size": 128,
        },
        text_config=hf.OPTConfig(
            vocab_size=128, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
            word_embed_proj_dim=32, max_position_embeddings=256, pad_token_id=PAD_ID, bos_token_id=2, eos_token_id=1,
        ).to_dict(),
        num_query_tokens=4,
        image_token_index=IMAGE_ID,
    )  # fmt: skip
    model = prepared(hf.Blip2ForConditionalGeneration(config))
    prepared(model.language_model)
    return Tiny(model, {**with_image(4), "pixel_values": pixels(1, 3, 32, 32)}, 8, 4, 17)


def _llama() -> Tiny:
    model = prepared(hf.LlamaForCausalLM(text_config(hf.LlamaConfig)))
    ids = torch.tensor([[2, *TEXT]])
    return Tiny(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, 8, 0, None)


def _clip() -> Tiny:
    config = hf.CLIPConfig(
        vision_config=vision_config(hf.CLIPVisionConfig).to_dict(),
        text_config=hf.CLIPTextConfig(
            vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            pad_token_id=PAD_ID, bos_token_id=2, eos_token_id=1,
        ).to_dict(),
        projection_dim=16,
    )  # fmt: skip
    ids = torch.tensor([[2, *TEXT, 1]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels(1, 3, 32, 32)}
    return Tiny(prepared(hf.CLIPModel(config)), inputs, 9, 0, 17)


BUILDERS: dict[str, Callable[[], Tiny]] = {
    "llava": _llava,
    "qwen2_5_vl": _qwen2_5_vl,
    "smolvlm": _smolvlm,
    "gemma3": _gemma3,
    "internvl": _internvl,
    "paligemma": _paligemma,
    "mllama": _mllama,
    "blip2": _blip2,
    "llama": _llama,
    "clip": _clip,
}


@cache
def _tiny(name: str) -> Tiny:
    torch.manual_seed(0)
    return BUILDERS[name]()


@pytest.fixture
def tiny() -> Callable[[str], Tiny]:
    """The tiny model of a family, built once a test run."""
    return _tiny


@pytest.fixture
def generate() -> Callable[..., Any]:
    return _generate


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield

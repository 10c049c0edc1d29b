"""Kimi-VL: MoonViT on packed patches of any size, two by two merged, features scattered; a mixture of experts reads.

Source: moonshotai/Kimi-VL-A3B's modeling_kimi_vl.py, in the port to MindSpore that was found under that name.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Block, Case, Truth, ids, language_config, past_length, pixels

MEDIA_ID = 111
GRIDS = [(4, 4), (2, 6)]
PATCHES = sum(height * width for height, width in GRIDS)


class MoonVisionPatchEmbed(nn.Module):
    """Patches come cut: each is a picture of one patch."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 8, 8)

    def forward(self, x: torch.Tensor, grids: torch.Tensor) -> Any:
        return self.proj(x).view(x.size(0), -1)


class MoonVitEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(16), Block(16)])
        self.final_layernorm = nn.LayerNorm(16)

    def forward(self, x: torch.Tensor, grids: torch.Tensor) -> Any:
        packed = x[None]
        for block in self.blocks:
            packed = block(packed)
        return self.final_layernorm(packed[0])


def patch_merger(x: torch.Tensor, grids: torch.Tensor) -> Any:
    """One tensor an image: groups of four neighbours."""
    merged, start = [], 0
    for height, width in grids.tolist():
        image = x[start : start + height * width].view(height // 2, 2, width // 2, 2, -1)
        merged.append(image.permute(0, 2, 1, 3, 4).reshape(height * width // 4, 4, -1))
        start += height * width
    return merged


class MoonVitPretrainedModel(hf.PreTrainedModel):
    config_class = hf.LlamaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.patch_embed = MoonVisionPatchEmbed()
        self.encoder = MoonVitEncoder()

    def forward(self, pixel_values: torch.Tensor, grid_hws: torch.Tensor) -> Any:
        return patch_merger(self.encoder(self.patch_embed(pixel_values, grid_hws), grid_hws), grid_hws)


class KimiVLMultiModalProjector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(16)
        self.linear_1, self.act, self.linear_2 = nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 32)

    def forward(self, image_features: list[torch.Tensor]) -> Any:
        return self.linear_2(self.act(self.linear_1(self.pre_norm(torch.cat(image_features)).view(-1, 64))))


class KimiVLForConditionalGeneration(hf.PreTrainedModel, hf.GenerationMixin):
    config_class = hf.Qwen2MoeConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vision_tower = MoonVitPretrainedModel(config)
        self.multi_modal_projector = KimiVLMultiModalProjector()
        self.language_model = hf.Qwen2MoeForCausalLM(config)  # DeepSeek's mixture in the real one
        self.post_init()

    def get_input_embeddings(self) -> Any:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return self.language_model.get_output_embeddings()

    def _extract_image_features(self, pixel_values: torch.Tensor, image_grid_hws: torch.Tensor) -> Any:
        return self.multi_modal_projector(self.vision_tower(pixel_values, image_grid_hws))

    def forward(
        self, input_ids=None, attention_mask=None, inputs_embeds=None, pixel_values=None, image_grid_hws=None,
        past_key_values=None, use_cache=None, **kwargs,
    ):  # fmt: skip
        inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None and pixel_values.shape[0] > 0:
            features = self._extract_image_features(pixel_values, image_grid_hws)
            size, length, width = inputs_embeds.shape
            flat = inputs_embeds.reshape(-1, width)
            flat[input_ids.flatten() == MEDIA_ID] = features
            inputs_embeds = flat.reshape(size, length, width)
        return self.language_model(inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=use_cache)

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, pixel_values=None, **kwargs):
        given = {"past_key_values": past_key_values, "use_cache": kwargs.get("use_cache")}
        if past_length(past_key_values):
            return {**given, "input_ids": input_ids[:, -1:]}
        grids = kwargs.get("image_grid_hws")
        return {**given, "input_ids": input_ids, "pixel_values": pixel_values, "image_grid_hws": grids}


def kimi() -> Any:
    config = language_config(hf.Qwen2MoeConfig, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
    config.media_placeholder_token_id = MEDIA_ID
    model = KimiVLForConditionalGeneration(config)
    model.generation_config.pad_token_id = 0
    return model


def ask(model: Any) -> Any:
    prompt = ids(2, *[MEDIA_ID] * (16 // 4), 5, *[MEDIA_ID] * (12 // 4), 6, 7)
    given = {"attention_mask": torch.ones_like(prompt), "pixel_values": pixels(PATCHES, 3, 8, 8)}
    return model.generate(input_ids=prompt, image_grid_hws=torch.tensor(GRIDS), **given, **GREEDY)


CASES = [
    Case(
        "Kimi-VL",
        "moonshotai/Kimi-VL-A3B-Instruct modeling_kimi_vl.py (a MindSpore port of it)",
        "packed patches of two images of different size, merged two by two, scattered over media_placeholder_token_id",
        kimi,
        ask,
        Truth(4, PATCHES // 4, PATCHES, "exact (placeholders = feature rows)", images=2),
    )
]

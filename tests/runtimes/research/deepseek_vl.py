"""DeepSeek-VL and VL2: the user encodes with prepare_inputs_embeds, then calls a generate by embeddings.

Source: deepseek-ai/DeepSeek-VL deepseek_vl/models/modeling_vlm.py, clip_encoder.py, projector.py, inference.py;
deepseek-ai/DeepSeek-VL2 deepseek_vl2/models/modeling_deepseek_vl_v2.py, inference.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Case, TimmVit, Truth, ids, language_config, past_length, pixels

IMAGE_ID = 112


class SingleTower(nn.Module):
    """Its CLIPVisionTower around a vision transformer that is not of transformers."""

    def __init__(self, width: int, as_map: bool) -> None:
        super().__init__()
        self.vision_tower, self.as_map = TimmVit(width), as_map

    def forward(self, images: torch.Tensor) -> Any:
        features = self.vision_tower(images)
        return features.transpose(1, 2).unflatten(2, (4, 4)) if self.as_map else features


class HybridVisionTower(nn.Module):
    """SAM on the picture, SigLIP on a smaller copy; both go on as a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_tower_high, self.vision_tower_low = SingleTower(16, True), SingleTower(24, False)
        self.high_layer_norm, self.low_layer_norm = nn.LayerNorm(16), nn.LayerNorm(24)

    def forward(self, images: torch.Tensor) -> Any:
        high = self.vision_tower_high(images).flatten(2).transpose(1, 2)
        return high, self.vision_tower_low(images)


class MlpProjector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.high_up_proj, self.low_up_proj = nn.Linear(16, 16), nn.Linear(24, 16)
        self.layers = nn.Sequential(nn.GELU(), nn.Linear(32, 32))

    def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> Any:
        return self.layers(torch.cat([self.high_up_proj(pair[0]), self.low_up_proj(pair[1])], dim=-1))


class MultiModalityCausalLM(hf.PreTrainedModel):
    """No generate and no forward of its own."""

    config_class = hf.LlamaConfig
    base_model_prefix = "multi_modality"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vision_model = HybridVisionTower()
        self.aligner = MlpProjector()
        self.language_model = hf.LlamaForCausalLM(config)
        self.post_init()

    def prepare_inputs_embeds(self, input_ids, pixel_values, images_seq_mask, images_emb_mask, **kwargs):
        size, count = pixel_values.shape[:2]
        features = self.aligner(self.vision_model(pixel_values.flatten(0, 1)))
        features = features.reshape(size, count * features.shape[1], -1)
        input_ids[input_ids < 0] = 0
        embeds = self.language_model.get_input_embeddings()(input_ids)
        embeds[images_seq_mask] = features[images_emb_mask.flatten(1)]
        return embeds


def prepared(images: int = 1) -> dict[str, Any]:
    """What its processor gives for a prompt with images."""
    prompt = ids(2, 5, *([IMAGE_ID] * 16 + [9]) * (images - 1), *[IMAGE_ID] * 16, 6, 7, 8)
    return {
        "input_ids": prompt,
        "pixel_values": pixels(1, images, 3, 32, 32),
        "images_seq_mask": prompt == IMAGE_ID,
        "images_emb_mask": torch.ones(1, images, 16, dtype=torch.bool),
        "attention_mask": torch.ones_like(prompt),
    }


def deepseek() -> Any:
    model = MultiModalityCausalLM(language_config())
    model.language_model.generation_config.pad_token_id = 0
    return model


def ask(model: Any, images: int = 1) -> Any:
    inputs = prepared(images)
    embeds = model.prepare_inputs_embeds(**inputs)
    return model.language_model.generate(inputs_embeds=embeds, attention_mask=inputs["attention_mask"], **GREEDY)


def ask_in_half_precision_copy(model: Any) -> Any:
    """The embeddings are copied between: it is not the same tensor that generate is given."""
    inputs = prepared()
    embeds = model.prepare_inputs_embeds(**inputs).clone()
    return model.language_model.generate(inputs_embeds=embeds, attention_mask=inputs["attention_mask"], **GREEDY)


class DeepseekVLV2ForCausalLM(hf.PreTrainedModel, hf.GenerationMixin):
    """Tiles with a learned newline a row and a separator; its forward calls language.forward, not the module."""

    config_class = hf.LlamaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vision = TimmVit()
        self.projector = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32))
        self.image_newline, self.view_seperator = nn.Parameter(torch.zeros(32)), nn.Parameter(torch.zeros(32))
        self.language = hf.LlamaForCausalLM(config)
        self.post_init()

    def get_input_embeddings(self) -> Any:
        return self.language.get_input_embeddings()

    def prepare_inputs_embeds(self, input_ids, images=None, images_seq_mask=None, **kwargs):
        if images is None:
            return self.language.get_input_embeddings()(input_ids)
        features = self.projector(self.vision(images[0])).unflatten(1, (4, 4))
        newlines = self.image_newline.expand(4, 1, -1)
        overview = torch.cat([features[0], newlines], dim=1).flatten(0, 1)
        tile = torch.cat([features[1], newlines], dim=1).flatten(0, 1)
        embeds = self.language.get_input_embeddings()(input_ids)
        joined = torch.cat([overview, self.view_seperator[None], tile])
        return embeds.masked_scatter(images_seq_mask.unsqueeze(-1), joined)

    def incremental_prefilling(self, input_ids, attention_mask, images, images_seq_mask, chunk_size=1024):
        """The prompt but its last position, in chunks; the cache goes to the host and back between two of them."""
        embeds = self.prepare_inputs_embeds(input_ids, images, images_seq_mask)
        length = embeds.shape[1] - 1
        cache = None
        for start in range(0, length, chunk_size):
            end = min(start + chunk_size, length)
            mask = attention_mask[:, :end]
            out = self.forward(
                inputs_embeds=embeds[:, start:end], attention_mask=mask, past_key_values=cache, use_cache=True
            )
            cache = copied(out.past_key_values)
        return embeds, cache

    def forward(
        self, input_ids=None, attention_mask=None, inputs_embeds=None, images=None, images_seq_mask=None,
        past_key_values=None, use_cache=None, **kwargs,
    ):  # fmt: skip
        if inputs_embeds is None:
            inputs_embeds = self.prepare_inputs_embeds(input_ids, images, images_seq_mask)
        return self.language.forward(
            inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=use_cache, return_dict=True
        )

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, inputs_embeds=None, **kwargs):
        given = {"past_key_values": past_key_values, "use_cache": kwargs.get("use_cache")}
        if inputs_embeds is not None and not past_length(past_key_values):
            return {**given, "inputs_embeds": inputs_embeds}
        return {**given, "input_ids": input_ids[:, -1:]}


def copied(cache: Any) -> Any:
    """Another cache of the same keys and values, as after the way to another device."""
    layers = [(each.keys.clone(), each.values.clone()) for each in cache.layers]
    return hf.DynamicCache(layers)


V2_VISUAL = (4 * 5) + 1 + (4 * 5)


def deepseek2() -> Any:
    model = DeepseekVLV2ForCausalLM(language_config())
    model.generation_config.pad_token_id = 0
    return model


def ask2(model: Any) -> Any:
    prompt = ids(2, 5, *[IMAGE_ID] * V2_VISUAL, 6, 7, 8)
    given = {"images": pixels(1, 2, 3, 32, 32), "images_seq_mask": prompt == IMAGE_ID}
    embeds = model.prepare_inputs_embeds(prompt, **given)
    mask = torch.ones_like(prompt)
    return model.generate(inputs_embeds=embeds, input_ids=prompt, attention_mask=mask, **given, **GREEDY)


def ask2_in_chunks(model: Any, chunk_size: int) -> Any:
    """As its inference.py with --chunk_size."""
    prompt = ids(2, 5, *[IMAGE_ID] * V2_VISUAL, 6, 7, 8)
    given = {"images": pixels(1, 2, 3, 32, 32), "images_seq_mask": prompt == IMAGE_ID}
    mask = torch.ones_like(prompt)
    embeds, cache = model.incremental_prefilling(prompt, mask, chunk_size=chunk_size, **given)
    return model.generate(
        inputs_embeds=embeds, input_ids=prompt, attention_mask=mask, past_key_values=cache, **given, **GREEDY
    )


SOURCE = "deepseek-ai/DeepSeek-VL deepseek_vl/models/modeling_vlm.py"
FLOW = "the user calls prepare_inputs_embeds (two encoders), then language_model.generate by embeddings"
EXACT = "exact (token id 112 occurs once a feature row)"
CASES = [
    Case("DeepSeek-VL", SOURCE, FLOW, deepseek, ask, Truth(5, 16, 16, EXACT)),
    Case(
        "DeepSeek-VL, two images", SOURCE, "as above", deepseek, lambda model: ask(model, 2),
        Truth(6, 32, 32, EXACT, images=2),
    ),
    Case(
        "DeepSeek-VL, embeddings copied between", SOURCE, "as above; generate is given a copy", deepseek,
        ask_in_half_precision_copy, Truth(5, 16, 16, EXACT),
    ),
    Case(
        "DeepSeek-VL2",
        "deepseek-ai/DeepSeek-VL2 deepseek_vl2/models/modeling_deepseek_vl_v2.py",
        "prepare_inputs_embeds by the user, then the model's own generate; newlines and a separator among the features",
        deepseek2,
        ask2,
        Truth(5, V2_VISUAL, 2 * 16, "token id 112 in unbroken runs", images=1),
    ),
    *(
        Case(
            f"DeepSeek-VL2, prefilled in chunks of {chunk_size}",
            "deepseek-ai/DeepSeek-VL2 deepseek_vl2/models/modeling_deepseek_vl_v2.py, inference.py",
            "incremental_prefilling by the user: all positions but the last in forward passes of their own; then "
            "generate with their cache",
            deepseek2,
            partial(ask2_in_chunks, chunk_size=chunk_size),
            Truth(5, V2_VISUAL, 2 * 16, "token id 112 in unbroken runs", images=1, prefills=prefills),
        )
        for chunk_size, prefills in ((16, 4), (44, 3), (1024, 2))
    ),
]  # fmt: skip

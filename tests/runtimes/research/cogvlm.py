"""CogVLM: an encoder inside the language model, ids of another type for its features, an expert for them in each layer.

Source: THUDM/CogVLM utils/models/cogvlm_model.py (SwissArmyTransformer), and the port of its Hugging Face code to
MindSpore as mindspore-lab's mindnlp keeps it (modeling_cogvlm.py).
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import (
    GREEDY,
    Block,
    Case,
    PatchEmbed,
    Truth,
    ids,
    language_config,
    past_length,
    pixels,
)

LANGUAGE, VISION = 0, 1
PATCHES = 16


class Glu(nn.Module):
    """The projector, inside the encoder."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_proj = nn.Linear(width, out, bias=False)
        self.norm1 = nn.LayerNorm(out)
        self.gate_proj, self.dense_4h_to_h = nn.Linear(out, 2 * out), nn.Linear(2 * out, out)

    def forward(self, x: torch.Tensor) -> Any:
        return self.dense_4h_to_h(torch.nn.functional.silu(self.gate_proj(self.norm1(self.linear_proj(x)))))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(16), Block(16)])

    def forward(self, x: torch.Tensor) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


class Eva2ClipModel(nn.Module):
    """Encoder, projector, and one learned feature before and after each image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch_embedding = PatchEmbed(16, 8)
        self.transformer = Transformer()
        self.linear_proj = Glu(16, width)
        self.boi, self.eoi = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, images: torch.Tensor) -> Any:
        x = self.linear_proj(self.transformer(self.patch_embedding(images)))
        return torch.cat([self.boi.expand(len(x), -1, -1), x, self.eoi.expand(len(x), -1, -1)], dim=1)


class VisionExpertMLP(nn.Module):
    def __init__(self, inner: Any, config: Any) -> None:
        super().__init__()
        self.language_mlp = inner
        self.vision_mlp = type(inner)(config)
        self.is_visual: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> Any:
        out = self.language_mlp(x)
        if self.is_visual is not None and self.is_visual.shape == x.shape[:2]:
            out[self.is_visual] = self.vision_mlp(x[self.is_visual])
        return out


class CogVLMModel(hf.LlamaModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.layers:
            layer.mlp = VisionExpertMLP(layer.mlp, config)
        self.vision = Eva2ClipModel(config.hidden_size)

    def encode_images(self, images: list[list[torch.Tensor]]) -> Any:
        return self.vision(torch.stack([each for row in images for each in row]))

    def forward(self, input_ids=None, images=None, token_type_ids=None, past_key_values=None, use_cache=None, **kwargs):
        inputs_embeds = self.embed_tokens(input_ids)
        if not past_length(past_key_values) and images:
            features = self.encode_images(images).flatten(0, 1)
            inputs_embeds = inputs_embeds.index_put([token_type_ids == VISION], features)
        for layer in self.layers:
            layer.mlp.is_visual = token_type_ids == VISION
        return super().forward(inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=use_cache)


class CogVLMForCausalLM(hf.PreTrainedModel, hf.GenerationMixin):
    config_class = hf.LlamaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = CogVLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> Any:
        return self.model.embed_tokens

    def get_output_embeddings(self) -> Any:
        return self.lm_head

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        images=None,
        token_type_ids=None,
        past_key_values=None,
        use_cache=None,
        **kwargs,
    ):
        outputs = self.model(
            input_ids=input_ids,
            images=images,
            token_type_ids=token_type_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        return hf.modeling_outputs.CausalLMOutputWithPast(
            logits=self.lm_head(outputs[0]), past_key_values=outputs.past_key_values
        )

    def prepare_inputs_for_generation(self, input_ids, token_type_ids, images=None, past_key_values=None, **kwargs):
        given = {"past_key_values": past_key_values, "use_cache": kwargs.get("use_cache")}
        if past_length(past_key_values):
            language = torch.full_like(input_ids[:, -1:], LANGUAGE)
            return {**given, "input_ids": input_ids[:, -1:], "token_type_ids": language}
        return {**given, "input_ids": input_ids, "token_type_ids": token_type_ids, "images": images}

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, **kwargs):
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, **kwargs)
        types = model_kwargs["token_type_ids"]
        model_kwargs["token_type_ids"] = torch.cat([types, torch.full_like(types[:, -1:], LANGUAGE)], dim=-1)
        return model_kwargs


def cogvlm() -> Any:
    model = CogVLMForCausalLM(language_config())
    model.generation_config.pad_token_id = 0
    return model


def ask(model: Any) -> Any:
    """What its build_conversation_input_ids gives: pad ids where the image goes, one more before and after."""
    prompt = ids(2, *[0] * (PATCHES + 2), 5, 6, 7)
    types = ids(LANGUAGE, *[VISION] * (PATCHES + 2), *[LANGUAGE] * 3)
    return model.generate(
        input_ids=prompt,
        token_type_ids=types,
        attention_mask=torch.ones_like(prompt),
        images=[[pixels(3, 32, 32)]],
        use_cache=True,
        **GREEDY,
    )


CASES = [
    Case(
        "CogVLM",
        "THUDM/CogVLM utils/models/cogvlm_model.py",
        "encoder inside the language model's forward, features put where token_type_ids say; an expert in each layer",
        cogvlm,
        ask,
        Truth(4, PATCHES + 2, PATCHES, "exact (token id 0 occurs once a feature row)", fusion="deep"),
    )
]

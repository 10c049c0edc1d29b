"""OpenVLA: predict_action calls generate, which makes seven action tokens; features are put after the start token.

Source: openvla/openvla prismatic/extern/hf/modeling_prismatic.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import Case, TimmVit, Truth, ids, language_config, past_length, pixels

EMPTY_ID = 29
ACTIONS = 7


def unpack_tuple(fn: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)[0]

    return wrapper


class PrismaticVisionBackbone(nn.Module):
    """Two featurizers side by side; each has its forward replaced on the instance."""

    def __init__(self) -> None:
        super().__init__()
        self.featurizer: Any = TimmVit()
        self.fused_featurizer: Any = TimmVit(24)
        each: Any
        for each in (self.featurizer, self.fused_featurizer):
            each.forward = unpack_tuple(partial(each.get_intermediate_layers, n={len(each.blocks) - 2}))
        self.embed_dim = 16 + 24

    def forward(self, pixel_values: torch.Tensor) -> Any:
        one, two = torch.split(pixel_values, [3, 3], dim=1)
        return torch.cat([self.featurizer(one), self.fused_featurizer(two)], dim=2)


class PrismaticProjector(nn.Module):
    def __init__(self, vision_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(vision_dim, 4 * vision_dim), nn.Linear(4 * vision_dim, llm_dim)
        self.fc3 = nn.Linear(llm_dim, llm_dim)
        self.act_fn1, self.act_fn2 = nn.GELU(), nn.GELU()

    def forward(self, patches: torch.Tensor) -> Any:
        return self.fc3(self.act_fn2(self.fc2(self.act_fn1(self.fc1(patches)))))


class PrismaticForConditionalGeneration(hf.PreTrainedModel, hf.GenerationMixin):
    config_class = hf.LlamaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vision_backbone = PrismaticVisionBackbone()
        self.projector = PrismaticProjector(self.vision_backbone.embed_dim, config.hidden_size)
        self.language_model = hf.LlamaForCausalLM(config)
        self.post_init()

    def get_input_embeddings(self) -> Any:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return self.language_model.get_output_embeddings()

    def forward(
        self, input_ids=None, attention_mask=None, pixel_values=None, past_key_values=None, use_cache=None, **kwargs
    ):
        if input_ids.shape[1] == 1:
            return self.language_model(input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache)
        patches = self.projector(self.vision_backbone(pixel_values))
        embedded = self.get_input_embeddings()(input_ids)
        joined = torch.cat([embedded[:, :1], patches, embedded[:, 1:]], dim=1)
        seen = attention_mask
        if seen is not None:
            seen = torch.cat([seen[:, :1], torch.ones(patches.shape[:2]).long(), seen[:, 1:]], dim=1)
        return self.language_model(
            inputs_embeds=joined, attention_mask=seen, past_key_values=past_key_values, use_cache=use_cache
        )

    def prepare_inputs_for_generation(self, input_ids=None, past_key_values=None, pixel_values=None, **kwargs):
        if past_length(past_key_values):
            input_ids = input_ids[:, -1:]
        return {
            "input_ids": input_ids,
            "attention_mask": kwargs.get("attention_mask"),
            "pixel_values": pixel_values,
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache"),
        }


class OpenVLAForActionPrediction(PrismaticForConditionalGeneration):
    """predict_action ends the prompt, generates as many tokens as the arm has dimensions, and bins them."""

    bins = torch.linspace(-1, 1, 32)

    def get_action_dim(self, unnorm_key: str | None = None) -> int:
        return ACTIONS

    def predict_action(self, input_ids=None, unnorm_key=None, **kwargs):
        if not torch.all(input_ids[:, -1] == EMPTY_ID):
            input_ids = torch.cat([input_ids, ids(EMPTY_ID)], dim=1)
            kwargs["attention_mask"] = torch.ones_like(input_ids)
        generated = self.generate(input_ids, max_new_tokens=self.get_action_dim(unnorm_key), **kwargs)
        predicted = generated[0, -self.get_action_dim(unnorm_key) :]
        return self.bins[predicted % len(self.bins)]


class PrismaticOfOldTransformers(OpenVLAForActionPrediction):
    """As a model is that accelerate has dispatched: its forward is replaced on the instance."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._old_forward = self.forward

        @wraps(self._old_forward)
        def new_forward(*args: Any, **kwargs: Any) -> Any:
            return self._old_forward(*args, **kwargs)

        self.__dict__["forward"] = new_forward


def openvla(cls: Any = OpenVLAForActionPrediction) -> Any:
    model = cls(language_config())
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = None
    return model


def act(model: Any) -> Any:
    return model.predict_action(ids(2, 5, 6, 7), unnorm_key="arm", pixel_values=pixels(1, 6, 32, 32), do_sample=False)


SOURCE = "openvla/openvla prismatic/extern/hf/modeling_prismatic.py"
FLOW = "predict_action calls generate for 7 action tokens; two encoders fused by channel, features after the start id"
TRUTH = Truth(5, 16, 16, "exact (sequence length - text ids)", output=ACTIONS, steps=ACTIONS - 1)
CASES = [
    Case("OpenVLA", SOURCE, FLOW, openvla, act, TRUTH),
    Case(
        "OpenVLA, dispatched by accelerate",
        SOURCE,
        "as above; forward replaced on the instance",
        lambda: openvla(PrismaticOfOldTransformers),
        act,
        TRUTH,
    ),
]

"""InternVL-Chat: chat -> generate, which encodes and calls the generate of its language model by embeddings.

Source: OpenGVLab/InternVL internvl_chat/internvl/model/internvl_chat/modeling_internvl_chat.py.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Case, Tokenizer, Truth, clip_config, language_config, pixels

CONTEXT, OPEN, CLOSE = "<IMG_CONTEXT>", "<img>", "</img>"
TOKENIZER = Tokenizer({CONTEXT: [101], OPEN: [102], CLOSE: [103]})


class InternVLChatModel(hf.PreTrainedModel):
    config_class = hf.LlamaConfig
    main_input_name = "pixel_values"
    base_model_prefix = "language_model"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vision_model = hf.CLIPVisionModel(clip_config())
        self.language_model = hf.LlamaForCausalLM(config)
        self.mlp1 = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 32))
        self.num_image_token = 16 // 4
        self.img_context_token_id: int | None = None
        self.post_init()

    def pixel_shuffle(self, x: torch.Tensor) -> Any:
        """Four neighbours become one wider feature."""
        n, side, _, width = x.shape
        x = x.reshape(n, side // 2, 2, side // 2, 2, width).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(n, (side // 2) ** 2, 4 * width)

    def extract_feature(self, pixel_values: torch.Tensor) -> Any:
        patches = self.vision_model(pixel_values=pixel_values, return_dict=True).last_hidden_state[:, 1:]
        side = int(patches.shape[1] ** 0.5)
        return self.mlp1(self.pixel_shuffle(patches.reshape(len(patches), side, side, -1)))

    def chat(self, tokenizer, pixel_values, question, generation_config, num_patches_list=None):
        if "<image>" not in question:
            question = "<image>\n" + question
        self.img_context_token_id = tokenizer.markers[CONTEXT][0]
        for tiles in num_patches_list or [pixel_values.shape[0]]:
            question = question.replace("<image>", OPEN + CONTEXT * self.num_image_token * tiles + CLOSE, 1)
        input_ids = torch.tensor([tokenizer.encode(question)])
        output = self.generate(
            pixel_values=pixel_values,
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            **generation_config,
        )
        return tokenizer.decode(output[0])

    @torch.no_grad()
    def generate(self, pixel_values=None, input_ids=None, attention_mask=None, visual_features=None, **generate_kwargs):
        assert self.img_context_token_id is not None
        features = self.extract_feature(pixel_values) if visual_features is None else visual_features
        embeds = self.language_model.get_input_embeddings()(input_ids)
        size, length, width = embeds.shape
        embeds = embeds.reshape(size * length, width)
        embeds[input_ids.reshape(-1) == self.img_context_token_id] = features.reshape(-1, width)
        return self.language_model.generate(
            inputs_embeds=embeds.reshape(size, length, width),
            attention_mask=attention_mask,
            use_cache=True,
            **generate_kwargs,
        )

    def get_input_embeddings(self) -> Any:
        return self.language_model.get_input_embeddings()


def internvl() -> Any:
    model = InternVLChatModel(language_config())
    model.language_model.generation_config.pad_token_id = 0
    return model


def ask(model: Any) -> Any:
    return model.chat(TOKENIZER, pixels(3, 3, 32, 32), "what?", dict(GREEDY))


def ask_about_two(model: Any) -> Any:
    question = "<image> and <image>?"
    return model.chat(TOKENIZER, pixels(3, 3, 32, 32), question, dict(GREEDY), num_patches_list=[2, 1])


SOURCE = "OpenGVLab/InternVL internvl_chat/internvl/model/internvl_chat/modeling_internvl_chat.py"
FLOW = (
    "chat -> generate -> extract_feature, then the language model's generate by embeddings; pixel shuffle to a quarter"
)
EXACT = "exact (placeholders = feature rows)"
CASES = [
    Case("InternVL-Chat", SOURCE, FLOW, internvl, ask, Truth(1 + 2 + 1 + 5, 3 * 4, 3 * 17, EXACT)),
    Case(
        "InternVL-Chat, two images",
        SOURCE,
        "as above; three tiles of two images",
        internvl,
        ask_about_two,
        Truth(1 + 2 * 2 + 6, 3 * 4, 3 * 17, EXACT, images=2),
    ),
]

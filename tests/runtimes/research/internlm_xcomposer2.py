"""InternLM-XComposer2: chat encodes each image between pieces of text, then calls its own generate by embeddings.

Partial LoRA: a mask says which positions are visual, and only those pass through the low-rank weights.
Source: InternLM/InternLM-XComposer
InternLM-XComposer-2.5-OmniLive/internlm-xcomposer2d5-ol-7b/base/modeling_internlm_xcomposer2.py.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import (
    GREEDY,
    NEW_TOKENS,
    Case,
    ClipTower,
    Tokenizer,
    Truth,
    language_config,
    past_length,
    pixels,
)

HERE = "<ImageHere>"
TOKENIZER = Tokenizer({})


class PartialLora(nn.Linear):
    """A linear layer with low-rank weights for visual positions."""

    im_mask: torch.Tensor | None = None

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__(inner.in_features, inner.out_features, bias=False)
        self.Plora_A = nn.Linear(inner.in_features, 2, bias=False)
        self.Plora_B = nn.Linear(2, inner.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        result = super().forward(x)
        mask = PartialLora.im_mask
        if mask is not None and mask.shape == x.shape[:2]:
            result[mask] += self.Plora_B(self.Plora_A(x[mask]))
        return result


class InternLM2Model(hf.LlamaModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.tok_embeddings = self.embed_tokens
        del self.embed_tokens
        for layer in self.layers:
            layer.mlp.down_proj = PartialLora(layer.mlp.down_proj)

    def get_input_embeddings(self) -> Any:
        return self.tok_embeddings

    def forward(self, input_ids=None, inputs_embeds=None, **kwargs):
        if inputs_embeds is None:
            inputs_embeds = self.tok_embeddings(input_ids)
        return super().forward(inputs_embeds=inputs_embeds, **kwargs)


class InternLMXComposer2ForCausalLM(hf.PreTrainedModel, hf.GenerationMixin):
    config_class = hf.LlamaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = InternLM2Model(config)
        self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.vit = ClipTower()
        self.vision_proj = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32))

    def get_input_embeddings(self) -> Any:
        return self.model.tok_embeddings

    def get_output_embeddings(self) -> Any:
        return self.output

    def encode_img(self, image: Any) -> Any:
        if isinstance(image, str):
            image = pixels(1, 3, 32, 32)  # stands for opening the file and preparing it
        return self.img2emb(image)

    def img2emb(self, image: torch.Tensor) -> Any:
        return self.vision_proj(self.vit(image))

    def interleav_wrap_chat(self, tokenizer: Any, query: str, images: list[Any]) -> Any:
        if len(images) == 1 and HERE not in query:
            query = HERE + query
        embeds, masks = [], []
        for index, part in enumerate(query.split(HERE)):
            tokens = tokenizer.encode(part)[0 if index == 0 else 1 :]
            if tokens:
                embedded = self.model.tok_embeddings(torch.tensor([tokens]))
                embeds.append(embedded)
                masks.append(torch.zeros(embedded.shape[:2]))
            if index < len(images):
                image = self.encode_img(images[index])
                embeds.append(image)
                masks.append(torch.ones(image.shape[:2]))
        return {"inputs_embeds": torch.cat(embeds, dim=1)}, torch.cat(masks, dim=1).bool()

    def forward(self, input_ids=None, inputs_embeds=None, im_mask=None, past_key_values=None, use_cache=None, **kwargs):
        PartialLora.im_mask = im_mask
        outputs = self.model(
            input_ids=input_ids, inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=use_cache
        )
        return hf.modeling_outputs.CausalLMOutputWithPast(
            logits=self.output(outputs[0]), past_key_values=outputs.past_key_values
        )

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, inputs_embeds=None, im_mask=None, **kwargs
    ):
        given = {"past_key_values": past_key_values, "use_cache": kwargs.get("use_cache")}
        if inputs_embeds is not None and not past_length(past_key_values):
            return {**given, "inputs_embeds": inputs_embeds, "im_mask": im_mask}
        return {**given, "input_ids": input_ids[:, -1:]}

    @torch.no_grad()
    def chat(self, tokenizer, query, image, history=(), **kwargs):
        inputs, im_mask = self.interleav_wrap_chat(tokenizer, query, image)
        outputs = self.generate(**inputs, im_mask=im_mask, **kwargs)
        return tokenizer.decode(outputs[0]), [*history, query]

    @torch.no_grad()
    def write_twice(self, tokenizer, query, image, **kwargs):
        """Two answers in one method, as its methods for articles and web pages give."""
        answers = []
        for _ in range(2):
            inputs, im_mask = self.interleav_wrap_chat(tokenizer, query, image)
            answers.append(self.generate(**inputs, im_mask=im_mask, **kwargs))
        return answers


def xcomposer() -> Any:
    model = InternLMXComposer2ForCausalLM(language_config())
    model.generation_config.pad_token_id = 0
    return model


def ask(model: Any) -> Any:
    return model.chat(TOKENIZER, "what?", ["cat.png"], **GREEDY)


def ask_about_two(model: Any) -> Any:
    return model.chat(TOKENIZER, f"{HERE}and{HERE}?", ["cat.png", "dog.png"], **GREEDY)


SOURCE = "InternLM/InternLM-XComposer internlm-xcomposer2d5-ol-7b/base/modeling_internlm_xcomposer2.py"
FLOW = "chat encodes images between pieces of text, then calls its own generate by embeddings with im_mask"
EXACT = "exact (sequence length - ids that were embedded)"
CASES = [
    Case("InternLM-XComposer2", SOURCE, FLOW, xcomposer, ask, Truth(1 + 5, 16, 16, EXACT)),
    Case(
        "InternLM-XComposer2, two images",
        SOURCE,
        "as above; how many pictures two rows are is not known to the model",
        xcomposer,
        ask_about_two,
        Truth(1 + 3 + 1, 2 * 16, 2 * 16, EXACT, images=None, output=NEW_TOKENS),
    ),
]

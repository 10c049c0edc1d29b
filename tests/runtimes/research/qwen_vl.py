"""Qwen-VL (the first): paths of images in the ids, encoder and resampler in one visual module inside the forward.

Source: QwenLM/Qwen-VL's modeling_qwen.py and visual.py on the hub, as several repositories keep them.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Block, Case, Tokenizer, Truth, language_config, past_length, pixels

QUERIES = 8
START_ID, END_ID, PAD_ID = 116, 117, 118
TOKENIZER = Tokenizer({})


class Resampler(nn.Module):
    def __init__(self, width: int, kv_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(QUERIES, width))
        self.kv_proj = nn.Linear(kv_dim, width, bias=False)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=True)
        self.ln_q, self.ln_kv = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.ln_kv(self.kv_proj(x))
        return self.attn(self.ln_q(self.query).expand(len(x), -1, -1), x, x)[0]


class TransformerBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([Block(16), Block(16)])

    def forward(self, x: torch.Tensor) -> Any:
        for block in self.resblocks:
            x = block(x)
        return x


class VisionTransformer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 8, 8, bias=False)
        self.positional_embedding = nn.Parameter(torch.zeros(16, 16))
        self.ln_pre = nn.LayerNorm(16)
        self.transformer = TransformerBlocks()
        self.attn_pool = Resampler(width, 16)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.eye(width))

    def forward(self, x: torch.Tensor) -> Any:
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        x = self.transformer(self.ln_pre(x + self.positional_embedding))
        return self.ln_post(self.attn_pool(x)) @ self.proj

    def encode(self, image_paths: list[str]) -> Any:
        return self(torch.stack([pixels(3, 32, 32) for _ in image_paths]))  # stands for opening the files


class QWenModel(hf.LlamaModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.visual = VisionTransformer(config.hidden_size)

    def forward(self, input_ids=None, past_key_values=None, use_cache=None, **kwargs):
        hidden = self.embed_tokens(input_ids)
        starts = (input_ids == START_ID).nonzero().tolist()
        if not past_length(past_key_values) and starts:
            stops = (input_ids == END_ID).nonzero().tolist()
            paths = ["".join(chr(token) for token in input_ids[row, at + 1 : stop] if token < PAD_ID)
                     for (row, at), (_, stop) in zip(starts, stops)]  # fmt: skip
            features = self.visual.encode(paths)
            hidden = hidden.clone()
            for index, ((row, at), (_, stop)) in enumerate(zip(starts, stops)):
                hidden[row, at + 1 : stop] = features[index]
        return super().forward(inputs_embeds=hidden, past_key_values=past_key_values, use_cache=use_cache)


class QWenLMHeadModel(hf.PreTrainedModel, hf.GenerationMixin):
    config_class = hf.LlamaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.transformer = QWenModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> Any:
        return self.transformer.embed_tokens

    def get_output_embeddings(self) -> Any:
        return self.lm_head

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        outputs = self.transformer(input_ids, past_key_values=past_key_values, use_cache=use_cache)
        return hf.modeling_outputs.CausalLMOutputWithPast(
            logits=self.lm_head(outputs[0]), past_key_values=outputs.past_key_values
        )

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, **kwargs):
        if past_length(past_key_values):
            input_ids = input_ids[:, -1:]
        return {"input_ids": input_ids, "past_key_values": past_key_values, "use_cache": kwargs.get("use_cache")}

    def generate(self, inputs=None, generation_config=None, **kwargs):
        return super().generate(inputs, generation_config=generation_config, **kwargs)

    def chat(self, tokenizer, query, history, **kwargs):
        """The path of the image, filled up to as many ids as there are queries, stands where the features go."""
        path = [97, 98, 99]
        filled = [START_ID, *path, *[PAD_ID] * (QUERIES - len(path)), END_ID]
        outputs = self.generate(torch.tensor([[2, *filled, *tokenizer.encode(query)[1:]]]), **kwargs)
        return tokenizer.decode(outputs[0]), history


def qwen_vl() -> Any:
    model = QWenLMHeadModel(language_config())
    model.generation_config.pad_token_id = 0
    return model


def ask(model: Any) -> Any:
    return model.chat(TOKENIZER, "what?", [], use_cache=True, **GREEDY)


CASES = [
    Case(
        "Qwen-VL",
        "QwenLM/Qwen-VL modeling_qwen.py, visual.py (copies of them)",
        "chat -> generate; encoder and 256-query resampler inside forward, features over the bytes of the image's path",
        qwen_vl,
        ask,
        Truth(1 + 2 + 5, QUERIES, 16, "feature rows, each in the place of one id"),
    )
]

"""MiniCPM-V 2: chat -> generate -> timm's forward_features a slice, a resampler, then llm.generate by embeddings.

Source: openbmb/MiniCPM-V-2's modeling_minicpmv.py and resampler.py, as openmatch's visrag and others keep them.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Case, TimmVit, Tokenizer, Truth, language_config, pixels

QUERIES = 6
START, UNKNOWN, END = "<image>", "<unk>", "</image>"
TOKENIZER = Tokenizer({START: [113], UNKNOWN: [114], END: [115]})


class Picture:
    """Stands for PIL's: not a tensor until the model prepares it."""

    def __init__(self, size: int) -> None:
        self.size = size


class Resampler(nn.Module):
    """A fixed number of learned queries that attend to one slice's features."""

    def __init__(self, width: int, kv_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(QUERIES, width))
        self.kv_proj = nn.Linear(kv_dim, width, bias=False)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=True)
        self.ln_q, self.ln_kv, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.eye(width))

    def forward(self, x: torch.Tensor, tgt_size: Any = None) -> Any:
        x = self.ln_kv(self.kv_proj(x))
        query = self.ln_q(self.query).expand(len(x), -1, -1)
        return self.ln_post(self.attn(query, x, x)[0]) @ self.proj


class MiniCPMV(hf.PreTrainedModel):
    config_class = hf.LlamaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.llm = hf.LlamaForCausalLM(config)
        self.vpm = TimmVit()
        self.resampler = Resampler(config.hidden_size, self.vpm.embed_dim)
        self.post_init()

    def get_vision_embedding(self, pixel_values: list[torch.Tensor]) -> Any:
        """The overview, then all slices together."""
        found = [self.resampler(self.vpm.forward_features(pixel_values[0][None]), (4, 4))]
        if len(pixel_values) > 1:
            found.append(self.resampler(self.vpm.forward_features(torch.stack(pixel_values[1:])), (4, 4)))
        return torch.vstack(found)

    def get_vllm_embedding(self, data: dict[str, Any]) -> Any:
        features = [self.get_vision_embedding(each) if each else [] for each in data["pixel_values"]]
        embeds = self.llm.model.embed_tokens(data["input_ids"])
        for row, bounds in enumerate(data["image_bound"]):
            positions = torch.cat([torch.arange(start, stop) for start, stop in bounds])
            embeds[row].index_copy_(0, positions, features[row].flatten(0, 1))
        return embeds, features

    def _decode(self, inputs_embeds: torch.Tensor, tokenizer: Any, **kwargs: Any) -> Any:
        output = self.llm.generate(inputs_embeds=inputs_embeds, pad_token_id=0, **kwargs)
        return [tokenizer.decode(row) for row in output]

    def generate(self, data_list=None, img_list=None, tokenizer=None, **kwargs):
        tokens = tokenizer.encode(data_list[0])
        starts = [index + 1 for index, token in enumerate(tokens) if token == tokenizer.markers[START][0]]
        stops = [index for index, token in enumerate(tokens) if token == tokenizer.markers[END][0]]
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([tokens]),
            "image_bound": [list(zip(starts, stops))],
            "pixel_values": [[pixels(3, each.size, each.size) for each in img_list[0]]],
        }
        with torch.inference_mode():
            inputs["inputs_embeds"], _ = self.get_vllm_embedding(inputs)
            return self._decode(inputs["inputs_embeds"], tokenizer, **kwargs)

    def chat(self, image, msgs, tokenizer, **kwargs):
        slices = [image, image, image]  # an overview and two slices
        prompt = (START + UNKNOWN * QUERIES + END) * len(slices) + msgs[0]["content"]
        return self.generate(data_list=[prompt], img_list=[slices], tokenizer=tokenizer, **kwargs)[0]


def minicpm() -> Any:
    return MiniCPMV(language_config())


def ask(model: Any) -> Any:
    return model.chat(image=Picture(32), msgs=[{"content": "what?"}], tokenizer=TOKENIZER, **GREEDY)


CASES = [
    Case(
        "MiniCPM-V 2",
        "openbmb/MiniCPM-V-2 modeling_minicpmv.py (copies of it)",
        "chat -> generate -> timm's forward_features a slice, resampler, then llm.generate by embeddings",
        minicpm,
        ask,
        Truth(1 + 3 * 2 + 5, 3 * QUERIES, 3 * 16, "exact (token id 114 occurs once a feature row)", images=None),
    )
]

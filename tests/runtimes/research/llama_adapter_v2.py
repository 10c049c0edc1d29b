"""LLaMA-Adapter V2: its own loop over the layers; image features enter adapters of the upper layers, not the sequence.

Source: OpenGVLab/LLaMA-Adapter llama_adapter_v2_multimodal7b/llama/llama_adapter.py, llama.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.runtimes.research.cases import NEW_TOKENS, Block, Case, Truth, pixels

QUERIES = 10
ADAPTED = 2
PAD = -1


class VisualTransformer(nn.Module):
    """openai's CLIP, visual side; whoever uses it walks through it piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 8, 8, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(16))
        self.positional_embedding = nn.Parameter(torch.zeros(17, 16))
        self.ln_pre = nn.LayerNorm(16)
        self.transformer = nn.Sequential(Block(16), Block(16))
        self.ln_post = nn.LayerNorm(16)
        self.proj = nn.Parameter(torch.eye(16))


class Clip(nn.Module):
    """More text ids than the language model, narrower; its text transformer has been deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = VisualTransformer()
        self.token_embedding = nn.Embedding(192, 16)
        self.ln_final = nn.LayerNorm(16)


class Attention(nn.Module):
    """Attention with a cache of its own and, in the upper layers, queries of the image beside the sequence."""

    cache_k: torch.Tensor
    cache_v: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wq, self.wk = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.wv, self.wo = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate = nn.Parameter(torch.ones(1))
        self.register_buffer("cache_k", torch.zeros(1, 64, width), persistent=False)
        self.register_buffer("cache_v", torch.zeros(1, 64, width), persistent=False)

    def forward(self, x: torch.Tensor, start: int, mask: Any, adapter: Any) -> Any:
        stop = start + x.shape[1]
        self.cache_k[:, start:stop], self.cache_v[:, start:stop] = self.wk(x), self.wv(x)
        scores = self.wq(x) @ self.cache_k[:, :stop].transpose(1, 2)
        out = torch.softmax(scores if mask is None else scores + mask, -1) @ self.cache_v[:, :stop]
        if adapter is not None:
            beside = torch.softmax(self.wq(x) @ self.wk(adapter).transpose(1, 2), -1)
            out = out + self.gate.tanh() * (beside @ self.wv(adapter))
        return self.wo(out)


class TransformerBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, start: int, mask: Any, prompt: Any = None) -> Any:
        h = x + self.attention.forward(self.attention_norm(x), start, mask, prompt)
        return h + self.feed_forward.forward(self.ffn_norm(h))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(128, 32)
        self.layers = nn.ModuleList([TransformerBlock(32) for _ in range(4)])
        self.norm = nn.LayerNorm(32)
        self.output = nn.Linear(32, 128, bias=False)


class LLaMA_adapter(nn.Module):  # its own spelling
    def __init__(self) -> None:
        super().__init__()
        self.clip = Clip()
        self.clip_proj, self.clip_proj_norm = nn.Linear(16, 24), nn.LayerNorm(24)
        self.visual_query = nn.Embedding(QUERIES, 24)
        self.visual_blocks = nn.ModuleList([Block(24) for _ in range(3)])
        self.visual_proj, self.visual_proj_norm = nn.Linear(24, 32), nn.LayerNorm(32)
        self.adapter_query = nn.Embedding(QUERIES * ADAPTED, 32)
        self.llama = Transformer()

    def clip_encode_image(self, x: torch.Tensor) -> Any:
        visual = self.clip.visual
        x = visual.conv1(x).flatten(2).permute(0, 2, 1)
        first = visual.class_embedding + torch.zeros(x.shape[0], 1, x.shape[-1])
        x = visual.ln_pre(torch.cat([first, x], dim=1) + visual.positional_embedding)
        x = visual.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        return visual.ln_post(x) @ visual.proj

    def forward_visual(self, imgs: torch.Tensor) -> Any:
        features = self.clip_proj_norm(self.clip_proj(self.clip_encode_image(imgs)))
        query = torch.cat([self.visual_query.weight.unsqueeze(0).repeat(len(imgs), 1, 1), features], dim=1)
        for block in self.visual_blocks:
            query = block(query)
        return self.visual_proj_norm(self.visual_proj(query[:, :QUERIES, :]))

    @torch.inference_mode()
    def forward_inference(self, visual_query: torch.Tensor, tokens: torch.Tensor, start_pos: int) -> Any:
        h = self.llama.tok_embeddings(tokens)
        mask = torch.full((1, tokens.shape[1], start_pos + tokens.shape[1]), float("-inf")).triu(start_pos + 1)
        for layer in self.llama.layers[:-ADAPTED]:
            h = layer(h, start_pos, mask)
        adapter = self.adapter_query.weight.reshape(ADAPTED, QUERIES, -1).unsqueeze(1)
        for index, layer in enumerate(self.llama.layers[-ADAPTED:]):
            h = layer(h, start_pos, mask, adapter[index] + visual_query)
        return self.llama.output(self.llama.norm(h)[:, -1, :]).float()

    @torch.inference_mode()
    def generate(self, imgs, prompts, max_gen_len: int = 256, temperature: float = 0.1):
        visual_query = self.forward_visual(imgs)
        length = len(prompts[0])
        tokens = torch.full((1, length + max_gen_len), PAD)
        tokens[0, :length] = torch.tensor(prompts[0])
        prev_pos = 0
        for cur_pos in range(length, length + max_gen_len):
            logits = self.forward_inference(visual_query, tokens[:, prev_pos:cur_pos], prev_pos)
            tokens[:, cur_pos] = torch.argmax(logits, dim=-1)
            prev_pos = cur_pos
        return [row[length:] for row in tokens.tolist()]


def ask(model: Any) -> Any:
    return model.generate(pixels(1, 3, 32, 32), [[2, 5, 6, 7, 8]], max_gen_len=NEW_TOKENS, temperature=0)


CASES = [
    Case(
        "LLaMA-Adapter V2",
        "OpenGVLab/LLaMA-Adapter llama_adapter_v2_multimodal7b/llama/llama_adapter.py",
        "own generate and own loop over layers; CLIP run piece by piece; 10 queries enter adapters beside the sequence",
        LLaMA_adapter,
        ask,
        Truth(5, 0, 17, "none in the sequence, which its ids fill (10 feature rows", output=None),
    )
]

"""Encoders and embedders: no decoding. CLIP as open_clip has it, adapters in a frozen encoder, VLM2Vec, ColPali.

Source: mlfoundations/open_clip src/open_clip/model.py; TIGER-AI-Lab/VLM2Vec src/model/model.py and
src/model/baseline_backbone/colpali/modeling_colpali.py. ALTA (arXiv 2506.08990): its code was not found; what is built
here is its description, adapters inside a frozen vision transformer beside a text encoder.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn
from torch.nn import functional

from tests.runtimes.research.cases import Block, Case, TimmVit, Truth, clip_config, ids, language_config, pixels
from wattvlm.trace import PREFILL, VISION_ENCODE


class TextTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([Block(16), Block(16)])

    def forward(self, x: torch.Tensor) -> Any:
        for block in self.resblocks:
            x = block(x)
        return x


class OpenClip(nn.Module):
    """Image and text side by side; used through encode_image and encode_text."""

    def __init__(self, visual: nn.Module | None = None) -> None:
        super().__init__()
        self.visual = visual or TimmVit()
        self.transformer = TextTransformer()
        self.token_embedding = nn.Embedding(128, 16)
        self.ln_final = nn.LayerNorm(16)
        self.text_projection = nn.Parameter(torch.eye(16))

    def encode_image(self, image: torch.Tensor, normalize: bool = False) -> Any:
        return functional.normalize(self.visual(image).mean(dim=1), dim=-1)

    def encode_text(self, text: torch.Tensor) -> Any:
        return self.ln_final(self.transformer(self.token_embedding(text)))[:, -1] @ self.text_projection


class Adapted(nn.Module):
    """A frozen block and a small trained one after it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block.requires_grad_(False)
        self.down, self.up = nn.Linear(16, 4), nn.Linear(4, 16)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.block(x)
        return x + self.up(functional.gelu(self.down(x)))


def alta() -> Any:
    visual = TimmVit()
    visual.blocks = nn.Sequential(*(Adapted(block) for block in visual.blocks))
    return OpenClip(visual)


class EmbeddingLlava(hf.LlavaForConditionalGeneration):
    """A model of transformers, as the encoder that VLM2Vec holds."""


class MMEBModel(nn.Module):
    """VLM2Vec: one forward pass; the state of the last token is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        config = hf.LlavaConfig(
            vision_config=clip_config(), text_config=language_config(), image_token_index=100, image_seq_length=16
        )
        self.encoder = EmbeddingLlava(config)

    def encode_input(self, given: dict[str, torch.Tensor]) -> Any:
        states = self.encoder(**given, return_dict=True, output_hidden_states=True).hidden_states[-1]
        return self._pooling(states, given["attention_mask"])

    def _pooling(self, states: torch.Tensor, mask: torch.Tensor) -> Any:
        return functional.normalize(states[:, -1], dim=-1)

    def forward(self, qry=None, tgt=None):
        return self.encode_input(qry) if qry is not None else self.encode_input(tgt)


class ColPali(nn.Module):
    """One embedding a token: the language model's states through a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = MMEBModel().encoder
        self.custom_text_proj = nn.Linear(32, 8)

    def embed(self, **given: torch.Tensor) -> Any:
        states = self.model(**given, output_hidden_states=True, return_dict=True).hidden_states[-1]
        return functional.normalize(self.custom_text_proj(states), dim=-1) * given["attention_mask"].unsqueeze(-1)


def page() -> dict[str, torch.Tensor]:
    prompt = ids(2, *[100] * 16, 5, 6)
    return {"input_ids": prompt, "attention_mask": torch.ones_like(prompt), "pixel_values": pixels(1, 3, 32, 32)}


def encoded(images: int) -> Truth:
    return Truth(
        None, None, images * 16, images=images, prompts=images, output=None, steps=None, phases=(VISION_ENCODE,)
    )


EMBEDDING = Truth(
    3, 16, 17, "exact (placeholders = feature rows)", output=None, steps=0, phases=(VISION_ENCODE, PREFILL)
)
CASES = [
    Case(
        "open_clip, images", "mlfoundations/open_clip src/open_clip/model.py", "encode_image, beside a text encoder",
        OpenClip, lambda model: model.encode_image(pixels(4, 3, 32, 32)),
        encoded(4),
    ),
    Case(
        "ALTA", "arXiv 2506.08990 (no code found)", "encode_image of a frozen encoder with adapters in its blocks",
        alta, lambda model: model.encode_image(pixels(2, 3, 32, 32)),
        encoded(2),
    ),
    Case(
        "VLM2Vec", "TIGER-AI-Lab/VLM2Vec src/model/model.py", "one forward pass of a VLM, last token pooled",
        MMEBModel, lambda model: model.encode_input(page()), EMBEDDING,
    ),
    Case(
        "ColPali-like", "TIGER-AI-Lab/VLM2Vec src/model/baseline_backbone/colpali/modeling_colpali.py",
        "one forward pass of a VLM, an embedding a token", ColPali, lambda model: model.embed(**page()), EMBEDDING,
    ),
]  # fmt: skip

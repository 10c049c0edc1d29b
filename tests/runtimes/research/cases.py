"""What a case of this folder is: a small model built like one of the field, what its user calls, and the truth.

Each file beside this one re-creates, in words of our own and at tiny size, the calls, names, nesting and shapes of a
model whose code is not in transformers; its docstring names the source that was read. CASES is what it offers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers as hf
from torch import nn

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NEW_TOKENS = 5
GREEDY: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
END_ID, START_ID = 1, 2
TEXT = [5, 6, 7, 8, 9, 10, 11]


@dataclass(frozen=True)
class Truth:
    """What one call must be seen as, by the model's own arithmetic; None is a count that nobody can know.

    how: part of what the report must say of how it counted visual tokens. prefills: forward passes of the prompt.
    """

    text: int | None
    visual: int | None
    encoded: int | None
    how: str = ""
    kept: int | None = None
    output: int | None = NEW_TOKENS
    steps: int | None = NEW_TOKENS - 1
    images: int | None = 1
    prompts: int = 1
    fusion: str = "late"
    phases: tuple[str, ...] = (VISION_ENCODE, PREFILL, DECODE)
    prefills: int = 1


@dataclass(frozen=True)
class Case:
    """A model of the field. call: what its user writes, given the model; gives tokens, features or an answer.

    flow: how it runs, in a few words for the documentation. source: repository and file that were read.
    """

    name: str
    source: str
    flow: str
    build: Callable[[], Any]
    call: Callable[[Any], Any]
    truth: Truth
    counts_as: str = field(default="one call")


def built(make: Callable[[], Any]) -> Any:
    """A model with the same random weights each time."""
    torch.manual_seed(0)
    model = make()
    return model.eval() if isinstance(model, nn.Module) else model


def pixels(*shape: int) -> Any:
    return torch.rand(shape, generator=torch.Generator().manual_seed(7))


def ids(*tokens: int) -> Any:
    return torch.tensor([tokens])


def language_config(cls: Any = hf.LlamaConfig, **changes: Any) -> Any:
    sizes = {
        "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0,
        "bos_token_id": START_ID, "eos_token_id": END_ID,
    }  # fmt: skip
    return cls(**{**sizes, **changes})


def clip_config(**changes: Any) -> Any:
    sizes = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 8,
    }  # fmt: skip
    return hf.CLIPVisionConfig(**{**sizes, **changes})


class ClipTower(nn.Module):
    """The wrapper that LLaVA and its kin put around CLIP: the last layer but one, without the class token."""

    def __init__(self, delay_load: bool = False) -> None:
        super().__init__()
        self.is_loaded = False
        self.cfg_only = clip_config()
        if not delay_load:
            self.load_model()

    def load_model(self) -> None:
        self.vision_tower = hf.CLIPVisionModel(self.cfg_only).eval()
        self.vision_tower.requires_grad_(False)
        self.is_loaded = True

    def feature_select(self, outputs: Any) -> Any:
        return outputs.hidden_states[-2][:, 1:]

    @torch.no_grad()
    def forward(self, images: Any) -> Any:
        if isinstance(images, list):
            return [self.feature_select(self.vision_tower(each[None], output_hidden_states=True)) for each in images]
        return self.feature_select(self.vision_tower(images, output_hidden_states=True))

    @property
    def dtype(self) -> Any:
        return self.vision_tower.dtype

    @property
    def num_patches_per_side(self) -> int:
        return int(self.cfg_only.image_size // self.cfg_only.patch_size)


class Block(nn.Module):
    """A transformer block as timm and openai's CLIP have them: norms, attention, mlp."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> Any:
        normed = self.norm1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.norm = nn.Identity()

    def forward(self, x: torch.Tensor) -> Any:
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class TimmVit(nn.Module):
    """A vision transformer with timm's names and methods, nothing of transformers in it."""

    def __init__(self, width: int = 16, depth: int = 4, patch: int = 8) -> None:
        super().__init__()
        self.embed_dim = width
        self.patch_embed = PatchEmbed(width, patch)
        self.pos_drop = nn.Dropout(0.0)
        self.norm_pre = nn.Identity()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Identity()

    def forward_features(self, x: torch.Tensor) -> Any:
        return self.norm(self.blocks(self.norm_pre(self.pos_drop(self.patch_embed(x)))))

    def get_intermediate_layers(self, x: torch.Tensor, n: set[int]) -> Any:
        x = self.norm_pre(self.pos_drop(self.patch_embed(x)))
        taken = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in n:
                taken.append(x)
        return tuple(taken)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.forward_features(x))


class Tokenizer:
    """Words to ids: a marker becomes its own ids, any other letter one id of the text."""

    def __init__(self, markers: dict[str, list[int]]) -> None:
        self.markers = markers

    def encode(self, text: str) -> list[int]:
        found = [START_ID]
        while text:
            marker = next((each for each in self.markers if text.startswith(each)), None)
            found += self.markers[marker] if marker else [3 + ord(text[0]) % 50]
            text = text[len(marker) if marker else 1 :]
        return found

    def decode(self, tokens: Any) -> str:
        return " ".join(str(int(token)) for token in tokens)


def past_length(cache: Any) -> Any:
    return 0 if cache is None else cache.get_seq_length()

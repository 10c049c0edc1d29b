"""A llama.cpp model and its vision part, some hundred kilobytes of random weights, written by the gguf package.

The text model is a Llama of two blocks whose tokens are the 256 bytes; the vision part is a CLIP tower of two blocks
with LLaVA's projector, so an image of any size is (IMAGE_SIZE / PATCH_SIZE)^2 tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

END_ID = 257
HIDDEN = 64
FEED_FORWARD = 96
HEADS = 4
BLOCKS = 2
IMAGE_SIZE = 32
PATCH_SIZE = 8
VISUAL_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


class _Weights:
    """A writer that makes tensors as it is asked for them."""

    def __init__(self, writer: Any, seed: int) -> None:
        self._writer = writer
        self._chance = np.random.default_rng(seed)

    def random(self, name: str, *shape: int) -> None:
        self._writer.add_tensor(name, self._chance.normal(0.0, 0.05, shape).astype(np.float32))

    def ones(self, name: str, size: int) -> None:
        self._writer.add_tensor(name, np.ones(size, np.float32))

    def zeros(self, name: str, size: int) -> None:
        self._writer.add_tensor(name, np.zeros(size, np.float32))


def write_language_model(path: Path) -> None:
    """A Llama in GGUF."""
    import gguf

    writer: Any = gguf.GGUFWriter(str(path), "llama")
    words = [*_byte_letters(), "<s>", "</s>"]
    writer.add_vocab_size(len(words))
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges([f"{words[ord('t')]} {words[ord('h')]}"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(END_ID)
    writer.add_chat_template(TEMPLATE)
    weights = _Weights(writer, 1)
    weights.random("token_embd.weight", len(words), HIDDEN)
    weights.ones("output_norm.weight", HIDDEN)
    weights.random("output.weight", len(words), HIDDEN)
    for block in range(BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.random(f"blk.{block}.{name}.weight", HIDDEN, HIDDEN)
        weights.ones(f"blk.{block}.attn_norm.weight", HIDDEN)
        weights.ones(f"blk.{block}.ffn_norm.weight", HIDDEN)
        for name, shape in (("ffn_gate", (FEED_FORWARD, HIDDEN)), ("ffn_up", (FEED_FORWARD, HIDDEN))):
            weights.random(f"blk.{block}.{name}.weight", *shape)
        weights.random(f"blk.{block}.ffn_down.weight", HIDDEN, FEED_FORWARD)
    _write(writer)


def write_vision_part(path: Path) -> None:
    """A CLIP tower and a projector of two layers in GGUF, as LLaVA 1.5 has them."""
    import gguf

    writer: Any = gguf.GGUFWriter(str(path), "clip")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(IMAGE_SIZE)
    writer.add_vision_patch_size(PATCH_SIZE)
    writer.add_vision_embedding_length(HIDDEN)
    writer.add_vision_feed_forward_length(FEED_FORWARD)
    writer.add_vision_block_count(BLOCKS)
    writer.add_vision_head_count(HEADS)
    writer.add_vision_projection_dim(HIDDEN)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)
    weights = _Weights(writer, 2)
    weights.random("v.class_embd", HIDDEN)
    weights.random("v.patch_embd.weight", HIDDEN, 3, PATCH_SIZE, PATCH_SIZE)
    weights.random("v.position_embd.weight", VISUAL_TOKENS + 1, HIDDEN)
    weights.ones("v.pre_ln.weight", HIDDEN)
    weights.zeros("v.pre_ln.bias", HIDDEN)
    for block in range(BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.random(f"v.blk.{block}.{name}.weight", HIDDEN, HIDDEN)
            weights.zeros(f"v.blk.{block}.{name}.bias", HIDDEN)
        for name in ("ln1", "ln2"):
            weights.ones(f"v.blk.{block}.{name}.weight", HIDDEN)
            weights.zeros(f"v.blk.{block}.{name}.bias", HIDDEN)
        weights.random(f"v.blk.{block}.ffn_up.weight", FEED_FORWARD, HIDDEN)
        weights.zeros(f"v.blk.{block}.ffn_up.bias", FEED_FORWARD)
        weights.random(f"v.blk.{block}.ffn_down.weight", HIDDEN, FEED_FORWARD)
        weights.zeros(f"v.blk.{block}.ffn_down.bias", HIDDEN)
    for layer in (0, 2):
        weights.random(f"mm.{layer}.weight", HIDDEN, HIDDEN)
        weights.zeros(f"mm.{layer}.bias", HIDDEN)
    _write(writer)


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _byte_letters() -> list[str]:
    """A printable letter for each byte, as byte-level tokenizers write them: unprintable ones from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    letters: list[str] = []
    for byte in range(256):
        letters.append(chr(byte) if byte in printable else chr(256 + sum(b not in printable for b in range(byte))))
    return letters

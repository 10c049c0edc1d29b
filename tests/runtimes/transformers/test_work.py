"""Operations of a prefill as the runtime reads them off a model, against torch's own counter of operations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.families.building import build
from tests.families.registry import families
from tests.runtimes.transformers.conftest import TEXT, Tiny, pixels, with_image
from wattvlm.flops import BlockShape, attention_flops
from wattvlm.runtimes.transformers.discovery import find_layout
from wattvlm.runtimes.transformers.shapes import shape_of
from wattvlm.runtimes.transformers.tree import ModuleTree

POSITIONS = 12
COUNTED = ("llava", "qwen2_vl", "gemma3", "blip-2", "kimi_k25", "gemma4", "phi4_multimodal")
"""Of different attention each: grouped, multi-rotary, windowed, with biases, latent, two widths, one matrix for all."""


@pytest.mark.parametrize("model_type", [each for each in COUNTED if each in {f.model_type for f in families()}])
def test_operations_of_the_blocks_are_those_that_torch_counts(model_type):
    """torch counts the whole square of attention, also what a mask hides: as if each position attended to all."""
    model = build(next(each for each in families() if each.model_type == model_type))
    tree = ModuleTree(model)
    layout = find_layout(model, tree)
    shape = shape_of(layout, tree)
    assert isinstance(shape, BlockShape)
    assert layout.language_model is not None
    language = tree.at(layout.language_model)
    blocks = tree.at(layout.blocks or "")
    language.config._attn_implementation = "eager"
    counted: list[int] = []
    counters: list[FlopCounterMode] = []
    for block in blocks:
        block.register_forward_pre_hook(lambda *_: _count(counters))
        block.register_forward_hook(lambda *_: counted.append(_done(counters)))
    language(input_ids=torch.arange(5, 5 + POSITIONS)[None])
    assert len(counted) == len(blocks)
    whole = (0, POSITIONS)
    assert sum(counted) == POSITIONS * shape.linear_flops + attention_flops(shape, whole, POSITIONS, both_ways=True)


def _count(counters: list[FlopCounterMode]) -> None:
    counters.append(FlopCounterMode(display=False))
    counters[-1].__enter__()


def _done(counters: list[FlopCounterMode]) -> int:
    counters[-1].__exit__(None, None, None)
    return int(counters[-1].get_total_flops())


WEIGHTS = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
"""Of the tiny language model: two blocks of queries and outputs, grouped keys and values, and a gated pair."""


def test_an_images_part_of_the_prefill_is_that_of_the_positions_it_holds(watched, tiny, generate):
    llava = tiny("llava")
    generate(llava)
    work = watched.call().work
    length, start, image = 24, 3, 16
    pair = 2 * 4 * 32
    assert work.flops == length * 2 * WEIGHTS + pair * length * (length + 1) // 2
    assert work.visual_flops == image * 2 * WEIGHTS + pair * sum(range(start + 1, start + image + 1))
    assert "attends to those before it" in work.how


def test_padding_belongs_to_neither(watched, tiny, generate):
    llava = tiny("llava")
    alone, short = with_image(16), with_image(16, text=TEXT[:4])
    missing = alone["input_ids"].shape[1] - short["input_ids"].shape[1]
    rows = [alone["input_ids"], torch.nn.functional.pad(short["input_ids"], (missing, 0), value=0)]
    masks = [alone["attention_mask"], torch.nn.functional.pad(short["attention_mask"], (missing, 0), value=0)]
    inputs = {"input_ids": torch.cat(rows), "attention_mask": torch.cat(masks), "pixel_values": pixels(2, 3, 32, 32)}
    generate(Tiny(llava.model, inputs, 0, 0, 0))
    work = watched.call().work
    pair = 2 * 4 * 32
    lengths = (24, 24 - missing)
    assert work.flops == sum(n * 2 * WEIGHTS + pair * n * (n + 1) // 2 for n in lengths)


def test_a_model_of_a_prefix_that_sees_itself_whole_is_told_by_its_mask(watched, tiny, generate):
    paligemma = tiny("paligemma")
    kinds = torch.zeros_like(paligemma.inputs["input_ids"])
    generate(replace(paligemma, inputs={**paligemma.inputs, "token_type_ids": kinds}), tokens=2)
    work = watched.call().work
    assert work.visual_flops / work.flops == pytest.approx(16 / 24)
    assert "attends to all" in work.how


@pytest.mark.parametrize("family", ["mllama"])
def test_features_beside_the_sequence_have_no_positions_in_it(watched, tiny, generate, family):
    generate(tiny(family), tokens=2)
    assert watched.call().work is None


def test_with_a_cached_prefix_the_share_is_not_known(watched, tiny, generate):
    llava = tiny("llava")
    with torch.no_grad():
        cache = llava.model(**llava.inputs).past_key_values
    longer = torch.cat([llava.inputs["input_ids"], torch.tensor([[9, 10, 11]])], dim=1)
    generate(Tiny(llava.model, {"input_ids": longer, "attention_mask": torch.ones_like(longer)}, 0, 0, 0),
              past_key_values=cache)  # fmt: skip
    assert watched.calls()[-1].work is None

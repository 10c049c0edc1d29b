"""Video beside images, and where features enter the language model."""

from __future__ import annotations

import pytest
import torch

from tests.families.building import build
from tests.families.registry import families
from tests.runtimes.transformers.conftest import kinds_of_tokens
from wattvlm.runtimes.transformers.discovery import find_layout
from wattvlm.runtimes.transformers.model_facts import facts_of
from wattvlm.runtimes.transformers.tree import ModuleTree
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NEW = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
IMAGE, VIDEO = 100, 101


def asked(ids):
    ids = torch.tensor([ids])
    kinds = (ids == IMAGE).int() + 2 * (ids == VIDEO).int()
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **kinds_of_tokens(kinds)}


def video(frames):
    """Two frames to a patch, four patches to a token: 8 x 8 patches give 16 tokens a pair of frames."""
    pairs = frames // 2
    pixels = torch.rand(64 * pairs, 3 * 2 * 8 * 8, generator=torch.Generator().manual_seed(5))
    return {"pixel_values_videos": pixels, "video_grid_thw": torch.tensor([[pairs, 8, 8]])}


def test_the_frames_of_a_video_are_visual_tokens(tiny, watched):
    model = tiny("qwen2_5_vl").model
    inputs = {**asked([2, 5, *[VIDEO] * 32, 6, 7]), **video(4)}
    seen = model.generate(**inputs, **NEW)
    call = watched.call()
    watched.runtime.uninstall()
    assert torch.equal(seen, model.generate(**inputs, **NEW))
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert (call.tokens.text_input, call.tokens.visual_input, call.tokens.visual_encoded) == (4, 32, 128)
    assert (call.tokens.output, call.decode_steps) == (5, 4)


def test_an_image_and_a_video_of_one_prompt_are_both_counted(tiny, watched):
    model = tiny("qwen2_5_vl")
    pictures = {name: model.inputs[name] for name in ("pixel_values", "image_grid_thw")}
    model.model.generate(**asked([2, *[IMAGE] * 16, 5, *[VIDEO] * 32, 6]), **pictures, **video(4), **NEW)
    call = watched.call()
    assert (call.tokens.text_input, call.tokens.visual_input, call.tokens.visual_encoded) == (3, 48, 192)
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]


def test_what_a_model_wrote_is_not_called_reasoning_by_guess(tiny, generate, watched):
    """Which ids open and close a train of thought is the tokenizer's to know, which no model holds."""
    generate(tiny("llava"))
    assert watched.call().tokens.reasoning_output is None


@pytest.mark.parametrize(
    ("model_type", "fusion"),
    [("fuyu", "early"), ("qwen2_5_vl", "late"), ("qwen3_vl", "deep"), ("mllama", "cross-attention")],
)
def test_where_features_enter_is_told_by_the_models_structure(model_type, fusion):
    (family,) = [each for each in families() if each.model_type == model_type]
    model = build(family)
    tree = ModuleTree(model)
    assert facts_of(find_layout(model, tree), tree).fusion == fusion

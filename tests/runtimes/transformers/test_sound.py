"""Sound beside pictures: its tokens are neither text nor visual, and its encoder is no part of the vision side."""

from __future__ import annotations

import time

import pytest
import torch

from tests.families.asking import question_for
from tests.families.building import build
from tests.families.registry import families
from wattvlm.runtimes.transformers.discovery import find_layout
from wattvlm.runtimes.transformers.tree import ModuleTree
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

FRAMES, SOUND_TOKENS = 16, 4
KNOWN = {family.model_type: family for family in families()}


@pytest.fixture(scope="module")
def omni():
    """A tiny model of both and its question about a picture."""
    if "qwen2_5_omni_thinker" not in KNOWN:
        pytest.skip("this version of transformers has no qwen2_5_omni_thinker")
    model = build(KNOWN["qwen2_5_omni_thinker"])
    return model, dict(question_for(KNOWN["qwen2_5_omni_thinker"], model).inputs)


def test_a_picture_and_a_sound_are_counted_apart_and_only_the_picture_is_vision_encode(omni, watched):
    model, asked = omni
    config, inputs = model.config, dict(asked)
    sound = torch.full((1, SOUND_TOKENS), config.audio_token_id)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], sound, torch.tensor([[7, 8]])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["input_features"] = torch.rand(1, config.audio_config.num_mel_bins, FRAMES)
    inputs["feature_attention_mask"] = torch.ones(1, FRAMES, dtype=torch.long)
    heard: list[tuple[int, int]] = []
    tower = next(module for name, module in model.named_modules() if name.endswith("audio_tower"))
    started: list[int] = []
    tower.register_forward_pre_hook(lambda *_: started.append(time.monotonic_ns()))
    tower.register_forward_hook(lambda *_: heard.append((started.pop(), time.monotonic_ns())))
    model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    call = watched.call()
    tokens = call.tokens
    assert (tokens.visual_input, tokens.audio_input, tokens.text_input) == (16, SOUND_TOKENS, 10)
    assert tokens.prompt == inputs["input_ids"].shape[1]
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    ((sound_ns, silent_ns),) = heard
    spans = [span for phase in call.phases if phase.name == VISION_ENCODE for span in phase.spans]
    assert all(span.end_ns <= sound_ns or span.start_ns >= silent_ns for span in spans)


@pytest.mark.skipif("phi4_multimodal" not in KNOWN, reason="this version of transformers has no phi4_multimodal")
def test_what_holds_the_encoders_of_both_is_taken_apart():
    model = build(KNOWN["phi4_multimodal"])
    paths = [part.path for part in find_layout(model, ModuleTree(model)).parts]
    assert paths == ["model.embed_tokens_extend.image_embed"]


def test_without_a_sound_there_are_none_of_its_tokens(omni, watched):
    model, inputs = omni
    model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert watched.call().tokens.audio_input == 0

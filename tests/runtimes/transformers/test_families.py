"""Each family: the outputs are the user's own, the phases in order, and the counts those of the model's config."""

from __future__ import annotations

import pytest
import torch

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

GENERATING = ["llava", "qwen2_5_vl", "smolvlm", "gemma3", "internvl", "paligemma", "mllama", "blip2", "llama"]
WITH_IMAGES = [name for name in GENERATING if name != "llama"]


@pytest.mark.parametrize("name", GENERATING)
def test_a_watched_call_returns_what_an_unwatched_one_does(name, tiny, generate, watched):
    seen = generate(tiny(name))
    watched.runtime.uninstall()
    assert torch.equal(seen, generate(tiny(name)))


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_vision_comes_before_prefill_and_prefill_before_decode(name, tiny, generate, watched):
    generate(tiny(name))
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    spans = [phase.spans for phase in call.phases]
    assert all(len(each) == 1 for each in spans)
    edges = [edge for (span,) in spans for edge in (span.start_ns, span.end_ns)]
    assert edges == sorted(edges)
    assert call.start_ns <= edges[0]
    assert edges[-1] == call.end_ns
    assert call.first_token_ns == edges[3]


@pytest.mark.parametrize("name", GENERATING)
def test_decode_steps_are_the_forward_passes_after_the_prefill(name, tiny, generate, watched):
    generate(tiny(name), tokens=6)
    assert watched.call().decode_steps == 5


@pytest.mark.parametrize("name", GENERATING)
def test_tokens_are_those_of_the_config(name, tiny, generate, watched):
    model = tiny(name)
    generate(model, tokens=5)
    tokens = watched.call().tokens
    assert (tokens.text_input, tokens.visual_input, tokens.output) == (model.text, model.visual, 5)
    assert tokens.visual_encoded == model.encoded
    assert set(tokens.how) >= {"text_input", "visual_input", "output"}


@pytest.mark.parametrize("name", [name for name in WITH_IMAGES if name != "mllama"])
def test_placeholders_that_equal_feature_rows_are_called_exact(name, tiny, generate, watched):
    generate(tiny(name))
    assert watched.call().tokens.how["visual_input"].startswith("exact")


def test_cross_attended_features_are_not_called_part_of_the_sequence(tiny, generate, watched):
    generate(tiny("mllama"))
    assert "beside the sequence" in watched.call().tokens.how["visual_input"]


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_one_prompt_with_one_image_is_just_that(name, tiny, generate, watched):
    generate(tiny(name))
    call = watched.call()
    assert (call.batch_size, call.images) == (1, 1)


@pytest.mark.parametrize("name", [name for name in WITH_IMAGES if name != "blip2"])  # blip2 refuses text alone
def test_text_alone_has_no_vision_phase_and_no_visual_token(name, tiny, watched):
    ids = torch.tensor([[2, 5, 6, 7]])
    tiny(name).model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False)
    call = watched.call()
    assert [phase.name for phase in call.phases] == [PREFILL, DECODE]
    assert (call.tokens.text_input, call.tokens.visual_input, call.images) == (4, 0, 0)


@pytest.mark.parametrize("name", GENERATING)
def test_parameters_by_part_are_those_of_the_modules(name, tiny, generate, watched):
    model = tiny(name).model
    generate(tiny(name))
    facts = watched.call().model
    assert facts.class_name == type(model).__name__
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (facts.dtype, facts.device, facts.quantisation) == ("float32", "cpu", "")
    vision, projector = _VISION_MODULES.get(name, ((), ()))
    assert facts.vision_parameters == _parameters(model, vision, without=projector)
    assert facts.projector_parameters == _parameters(model, projector)


def test_fusion_is_told_from_structure(tiny, generate, watched):
    for name in ("llava", "mllama", "llama"):
        generate(tiny(name))
    assert [call.model.fusion for call in watched.calls()] == ["late", "cross-attention", "unknown"]


_VISION_MODULES = {
    "llava": (["model.vision_tower"], ["model.multi_modal_projector"]),
    "qwen2_5_vl": (["model.visual"], ["model.visual.merger"]),
    "smolvlm": (["model.vision_model"], ["model.connector"]),
    "gemma3": (["model.vision_tower"], ["model.multi_modal_projector"]),
    "internvl": (["model.vision_tower"], ["model.multi_modal_projector"]),
    "paligemma": (["model.vision_tower"], ["model.multi_modal_projector"]),
    "mllama": (["model.vision_model"], ["model.multi_modal_projector"]),
    "blip2": (["vision_model"], ["qformer", "language_projection"]),
}


def _parameters(model, paths, without=()):
    counted = {id(each): each.numel() for path in paths for each in model.get_submodule(path).parameters()}
    for path in without:
        for each in model.get_submodule(path).parameters():
            counted.pop(id(each), None)
    return sum(counted.values()) if paths else None

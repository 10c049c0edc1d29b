"""Ways in which users drive such models that a single call does not show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from tests.runtimes.research import deepseek_vl, encoders, internlm_xcomposer2, llava, pruned, videochat2
from tests.runtimes.research.cases import GREEDY, NEW_TOKENS, START_ID, built, ids, language_config, pixels
from wattvlm.assembly import assemble
from wattvlm.runtimes.transformers.runtime import TransformersRuntime
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark


class Watching:
    def __init__(self):
        self.marks: list[Mark] = []
        self.runtime = TransformersRuntime()
        self.runtime.install(lambda *given: self.marks.extend(given))

    def calls(self):
        self.runtime.settle()
        return assemble(self.marks).calls


@pytest.fixture
def watching():
    found = Watching()
    with torch.no_grad():
        yield found
    found.runtime.uninstall()
    assert [mark.text for mark in found.marks if mark.kind == "note"] == []


def phases_of(call):
    return [phase.name for phase in call.phases]


def test_a_tower_that_is_loaded_after_the_first_call_is_seen(watching):
    model = built(lambda: llava.llava(delay_load=True))
    model.generate(ids(2, 5, 6), **GREEDY)
    model.get_vision_tower().load_model()
    llava.one_image(model)
    text, image = watching.calls()
    assert phases_of(text) == [PREFILL, DECODE]
    assert (text.tokens.text_input, text.tokens.visual_input) == (3, 0)
    assert phases_of(image) == [VISION_ENCODE, PREFILL, DECODE]
    assert (image.tokens.text_input, image.tokens.visual_input) == (5, 16)


def test_two_answers_in_one_method_are_two_calls(watching):
    model = built(internlm_xcomposer2.xcomposer)
    model.write_twice(internlm_xcomposer2.TOKENIZER, "what?", ["cat.png"], **GREEDY)
    first, second = watching.calls()
    for call in (first, second):
        assert phases_of(call) == [VISION_ENCODE, PREFILL, DECODE]
        assert (call.tokens.text_input, call.tokens.visual_input, call.tokens.output) == (6, 16, 5)
    assert first.end_ns <= second.start_ns


def test_a_method_lasts_as_long_as_its_call(watching):
    model = built(internlm_xcomposer2.xcomposer)
    internlm_xcomposer2.ask(model)
    (call,) = watching.calls()
    assert call.start_ns < call.phase(VISION_ENCODE).spans[0].start_ns
    assert call.end_ns > call.phase(DECODE).spans[-1].end_ns


def test_an_encoding_that_nothing_follows_stays_a_call_of_its_own(watching):
    model = built(deepseek_vl.deepseek)
    model.prepare_inputs_embeds(**deepseek_vl.prepared())
    (call,) = watching.calls()
    assert phases_of(call) == [VISION_ENCODE]
    assert (call.tokens.visual_encoded, call.tokens.visual_input, call.tokens.text_input) == (16, None, None)
    assert call.ended == "returned"


def test_the_next_prompt_without_an_image_is_not_the_encodings(watching):
    model = built(deepseek_vl.deepseek)
    model.prepare_inputs_embeds(**deepseek_vl.prepared())
    model.language_model.generate(ids(2, 5, 6), **GREEDY)
    encoding, text = watching.calls()
    assert phases_of(encoding) == [VISION_ENCODE]
    assert phases_of(text) == [PREFILL, DECODE]
    assert text.tokens.text_input == 3


def test_two_prompts_encoded_before_the_first_answer_are_not_mixed_up(watching):
    """Only the latest encoding can be gone on with; the other answer's visual tokens are unknown, not wrong."""
    model = built(deepseek_vl.deepseek)
    one = model.prepare_inputs_embeds(**deepseek_vl.prepared())
    two = model.prepare_inputs_embeds(**deepseek_vl.prepared(2))
    model.language_model.generate(inputs_embeds=one, **GREEDY)
    model.language_model.generate(inputs_embeds=two, **GREEDY)
    calls = watching.calls()
    assert [phases_of(call) for call in calls] == [
        [VISION_ENCODE],
        [VISION_ENCODE],
        [PREFILL, DECODE],
        [PREFILL, DECODE],
    ]
    assert [call.tokens.visual_input for call in calls] == [None] * 4


def test_another_models_answer_is_not_the_encodings(watching):
    encoder, other = built(encoders.OpenClip), built(llava.llava)
    encoder.encode_image(pixels(1, 3, 32, 32))
    embeds = other.model.embed_tokens(ids(2, *[5] * 30))
    super(llava.LlavaLlamaForCausalLM, other).generate(inputs_embeds=embeds, **GREEDY)
    first, second = watching.calls()
    assert phases_of(first) == [VISION_ENCODE]
    assert phases_of(second) == [PREFILL, DECODE]


def test_looking_at_the_model_between_encoding_and_answer_changes_nothing(watching):
    class Looked(videochat2.VideoChat2):
        def current_device(self):
            return next(self.parameters()).device

    model = built(Looked)
    chat = videochat2.Chat(model)
    features: list[torch.Tensor] = []
    chat.upload_video(pixels(1, 4, 3, 32, 32), features)
    model.current_device()
    chat.answer(features, **GREEDY)
    (call,) = watching.calls()
    assert phases_of(call) == [VISION_ENCODE, PREFILL, DECODE]


def test_an_answer_that_fails_ends_its_call_and_the_next_is_whole(watching):
    model = built(deepseek_vl.deepseek)
    embeds = model.prepare_inputs_embeds(**deepseek_vl.prepared())
    with pytest.raises(ValueError, match="max_new_tokens"):
        model.language_model.generate(inputs_embeds=embeds, max_new_tokens=0)
    deepseek_vl.ask(model)
    failed, whole = watching.calls()
    assert failed.ended == "raised ValueError"
    assert phases_of(whole) == [VISION_ENCODE, PREFILL, DECODE]


def test_a_mask_that_only_hides_positions_is_told_from_dropping_them(watching):
    (hides,) = [case for case in pruned.CASES if case.name == "FastV, mask only"]
    hides.call(built(hides.build))
    (call,) = watching.calls()
    assert call.tokens.visual_kept == call.tokens.visual_input == pruned.PATCHES
    assert f"a mask hides {pruned.PATCHES - 30} of them" in call.tokens.how["visual_kept"]


class Retrying(internlm_xcomposer2.InternLMXComposer2ForCausalLM):
    def try_twice(self, tokenizer, **kwargs):
        inputs, mask = self.interleav_wrap_chat(tokenizer, "what?", ["cat.png"])
        try:
            self.generate(**inputs, im_mask=mask, max_new_tokens=0)
        except ValueError:
            inputs, mask = self.interleav_wrap_chat(tokenizer, "what?", ["cat.png"])
            return self.generate(**inputs, im_mask=mask, **kwargs)


def test_a_method_that_tries_again_after_an_error_has_a_whole_second_call(watching):
    model = built(lambda: Retrying(language_config()))
    model.try_twice(internlm_xcomposer2.TOKENIZER, **GREEDY)
    failed, whole = watching.calls()
    assert failed.ended == "raised ValueError"
    assert phases_of(whole) == [VISION_ENCODE, PREFILL, DECODE]
    assert whole.tokens.visual_input == 16


class Module(nn.Module):
    """Methods of a module that has nothing to do with pictures or text."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def score(self, x):
        return self.layer(x)


def test_methods_of_other_modules_are_no_calls(watching):
    Module().score(torch.ones(1, 2))
    assert watching.calls() == ()


class Scored(Module):
    def helper(self, x: torch.Tensor) -> Any:
        return nn.functional.relu(self.layer(x))

    def forward(self, x: torch.Tensor) -> Any:
        return self.helper(x)


def test_a_wrapped_method_can_still_be_scripted_and_compiled_whole(watching):
    model, given = Scored(), torch.ones(1, 2)
    expected = model(given)
    assert torch.equal(torch.jit.script(model)(given), expected)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(given), expected)


def test_methods_are_the_users_own_again_afterwards():
    before = dict(vars(internlm_xcomposer2.InternLMXComposer2ForCausalLM))
    mixin = dict(vars(llava.LlavaMetaForCausalLM))
    runtime = TransformersRuntime()
    runtime.install(lambda *marks: None)
    assert vars(llava.LlavaMetaForCausalLM)["encode_images"] is not mixin["encode_images"]
    runtime.uninstall()
    assert dict(vars(internlm_xcomposer2.InternLMXComposer2ForCausalLM)) == before
    assert dict(vars(llava.LlavaMetaForCausalLM)) == mixin


class OlderLlama(hf.LlamaForCausalLM):
    """What generate by embeddings was before transformers 4.38, on which LLaVA's and InternVL's own code runs."""

    def _maybe_initialize_input_ids_for_generation(self, inputs=None, bos_token_id=None, model_kwargs=None):
        empty = super()._maybe_initialize_input_ids_for_generation(inputs, bos_token_id, model_kwargs)
        return torch.full((len(model_kwargs["inputs_embeds"]), 1), START_ID) if not empty.shape[1] else empty


def test_a_start_id_before_the_new_ones_is_no_output(watching):
    model = built(lambda: OlderLlama(language_config()))
    returned = model.generate(inputs_embeds=pixels(2, 6, 32), **GREEDY)
    (call,) = watching.calls()
    assert returned.shape == (2, 1 + NEW_TOKENS)
    assert (call.tokens.output, call.decode_steps) == (2 * NEW_TOKENS, NEW_TOKENS - 1)

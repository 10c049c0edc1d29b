"""Models that no library knows: found by structure, whenever and however they are defined."""

from __future__ import annotations

import types

import pytest
import torch
import transformers as hf
from torch import nn

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NEW = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


def test_a_class_defined_after_the_meter_opened_is_seen(tiny, watched):
    class Later(hf.LlavaForConditionalGeneration):
        def generate(self, **kwargs):
            return super().generate(**kwargs)

    model = tiny("llava")
    later = Later(model.model.config).eval()
    later.generate(**model.inputs, **NEW)
    call = watched.call()
    assert call.model.class_name == "Later"
    assert (call.decode_steps, call.tokens.visual_input, call.tokens.output) == (4, 16, 5)


class NestedGenerate(nn.Module):
    """Encodes images itself, then hands embeddings to the generate of its language model, as InternVL-Chat does."""

    def __init__(self, llava):
        super().__init__()
        self.vision_model = llava.model.vision_tower
        self.mlp1 = nn.Linear(16, 32)
        self.language_model = hf.LlamaForCausalLM(llava.config.text_config).eval()
        self.language_model.generation_config.pad_token_id = 0

    def generate(self, pixel_values, input_ids, **kwargs):
        features = self.mlp1(self.vision_model(pixel_values).last_hidden_state[:, 1:])
        embeds = self.language_model.get_input_embeddings()(input_ids)
        embeds[input_ids == 99] = features.flatten(0, 1)
        return self.language_model.generate(inputs_embeds=embeds, **kwargs)


def test_a_generate_inside_a_generate_is_one_call(tiny, watched):
    model = NestedGenerate(tiny("llava").model)
    ids = torch.tensor([[2, 5, *[99] * 16, 6, 7]])
    out = model.generate(tiny("llava").inputs["pixel_values"], ids, **NEW)
    assert out.shape == (1, 5)
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert (call.decode_steps, call.tokens.output) == (4, 5)
    assert (call.tokens.text_input, call.tokens.visual_input) == (4, 16)
    assert "token id 99" in call.tokens.how["visual_input"]  # no config names this placeholder


class Spliced(hf.LlamaForCausalLM):
    """Replaces one sentinel id by the image's features inside forward, as LLaVA's own repository does."""

    def __init__(self, config, tower):
        super().__init__(config)
        self.vision_tower = tower
        self.mm_projector = nn.Linear(16, 32)

    def forward(self, input_ids=None, images=None, inputs_embeds=None, attention_mask=None, **kwargs):
        if images is not None and input_ids is not None and (input_ids < 0).any():
            features = self.mm_projector(self.vision_tower(images).last_hidden_state[:, 1:])
            at = int((input_ids[0] < 0).nonzero()[0])
            embed = self.get_input_embeddings()
            inputs_embeds = torch.cat([embed(input_ids[:, :at]), features, embed(input_ids[:, at + 1 :])], dim=1)
            input_ids, attention_mask = None, None
            kwargs.pop("position_ids", None)
        return super().forward(
            input_ids=input_ids, inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs
        )


def test_features_spliced_between_embeddings_are_the_growth_of_the_sequence(tiny, watched):
    model = tiny("llava")
    spliced = Spliced(model.model.config.text_config, model.model.model.vision_tower).eval()
    spliced(input_ids=torch.tensor([[2, 5, -200, 6, 7, 8]]), images=model.inputs["pixel_values"])
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL]
    assert (call.tokens.text_input, call.tokens.visual_input) == (5, 16)
    assert call.tokens.how["visual_input"].startswith("exact")


class OwnLoop(hf.LlavaForConditionalGeneration):
    """A generate with a loop of its own that calls nothing of transformers' generation."""

    def generate(self, input_ids, steps, **kwargs):
        out = self(input_ids=input_ids, use_cache=True, **kwargs)
        ids = [out.logits[:, -1].argmax(-1, keepdim=True)]
        for _ in range(steps):
            out = self(input_ids=ids[-1], past_key_values=out.past_key_values, use_cache=True)
            ids.append(out.logits[:, -1].argmax(-1, keepdim=True))
        return torch.cat(ids, dim=1)


def test_a_generate_with_its_own_loop_is_counted_by_forward_passes(tiny, watched):
    model = tiny("llava")
    own = OwnLoop(model.model.config).eval()
    own.generate(model.inputs["input_ids"], 6, pixel_values=model.inputs["pixel_values"])
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert (call.decode_steps, call.tokens.text_input, call.tokens.visual_input) == (6, 8, 16)


class Homemade(nn.Module):
    """Nothing of transformers in it: a token embedding, blocks, and a loop of its own."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 8, 8)
        self.embed_tokens = nn.Embedding(16, 8)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))

    def generate(self, input_ids, images, steps):
        features = self.patch_embed(images).flatten(2).transpose(1, 2)
        hidden = torch.cat([features, self.embed_tokens(input_ids)], dim=1)
        for _ in range(1 + steps):
            out = hidden
            for layer in self.layers:
                out = layer(out)
            hidden = torch.cat([hidden, out[:, -1:]], dim=1)
        return hidden


def test_a_model_without_transformers_is_counted_by_its_blocks(watched):
    Homemade().eval().generate(torch.tensor([[1, 2, 3]]), torch.rand(1, 3, 16, 16), steps=4)
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert (call.decode_steps, call.tokens.text_input, call.tokens.visual_input) == (4, 3, 4)


def test_a_generate_set_on_one_instance_is_seen_when_the_meter_is_given_the_model(tiny, watched):
    model = tiny("llava")
    own = hf.LlavaForConditionalGeneration(model.model.config).eval()
    own.generation_config.pad_token_id = 0

    def generate(self, **kwargs):
        return type(self).generate(self, **kwargs)

    own.generate = types.MethodType(generate, own)
    before = own.__dict__["generate"]
    watched.runtime.watch(own)
    own.generate(**model.inputs, **NEW)
    assert watched.call().tokens.output == 5
    watched.runtime.uninstall()
    assert own.__dict__["generate"] is before


class Plain(nn.Module):
    """Not a transformers model at all."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)


def test_a_plain_module_is_seen_when_the_meter_is_given_it(watched):
    given, other = Plain(), Plain()
    watched.runtime.watch(given)
    given(torch.ones(1, 4))
    other(torch.ones(1, 4))
    assert watched.call().model.class_name == "Plain"
    watched.runtime.uninstall()
    assert "__call__" not in vars(Plain)


def test_a_forward_pass_alone_is_a_call_without_decode(tiny, watched):
    model = tiny("llava")
    model.model(**model.inputs)
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL]
    assert (call.tokens.text_input, call.tokens.visual_input, call.tokens.output) == (8, 16, None)
    assert call.first_token_ns is None
    assert call.ended == "returned"


def test_a_merging_encoder_in_a_forward_pass_alone_is_counted_before_and_after_its_merger(tiny, watched):
    model = tiny("qwen2_5_vl")
    model.model(**model.inputs)
    tokens = watched.call().tokens
    assert (tokens.visual_encoded, tokens.visual_input, tokens.text_input) == (64, 16, 8)


def test_two_encoders_side_by_side_put_no_visual_token_into_the_text_model(tiny, watched):
    model = tiny("clip")
    model.model(**model.inputs)
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL]
    assert (call.tokens.text_input, call.tokens.visual_encoded, call.tokens.visual_input) == (9, 17, None)
    assert call.images == 1


def test_an_image_encoder_alone_has_no_prefill(tiny, watched):
    tower = tiny("llava").model.model.vision_tower
    tower(tiny("llava").inputs["pixel_values"])
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE]
    assert call.tokens.visual_encoded == 17
    assert call.tokens.text_input is None


def hand_loop(model, inputs, steps):
    out = model(**inputs, use_cache=True)
    tokens = [int(out.logits[0, -1].argmax())]
    for _ in range(steps):
        ids = torch.tensor([[tokens[-1]]])
        out = model(input_ids=ids, past_key_values=out.past_key_values, use_cache=True)
        tokens.append(int(out.logits[0, -1].argmax()))
    return tokens


def test_a_loop_written_by_hand_is_one_call(tiny, watched):
    model = tiny("llava")
    seen = hand_loop(model.model, model.inputs, steps=4)
    call = watched.call()
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert (call.decode_steps, call.tokens.output) == (4, 5)
    assert (call.tokens.text_input, call.tokens.visual_input) == (8, 16)
    watched.runtime.uninstall()
    assert seen == hand_loop(model.model, model.inputs, steps=4)


def test_two_loops_written_by_hand_are_two_calls(tiny, watched):
    model = tiny("llama")
    hand_loop(model.model, model.inputs, steps=2)
    hand_loop(model.model, model.inputs, steps=3)
    assert [call.decode_steps for call in watched.calls()] == [2, 3]


def test_a_loop_that_goes_on_after_a_report_stays_one_call(tiny, watched):
    model = tiny("llama").model
    out = model(input_ids=torch.tensor([[2, 5, 6]]), use_cache=True)
    out = model(input_ids=torch.tensor([[7]]), past_key_values=out.past_key_values, use_cache=True)
    assert watched.call().decode_steps == 1
    out = model(input_ids=torch.tensor([[8]]), past_key_values=out.past_key_values, use_cache=True)
    call = watched.call()
    assert call.decode_steps == 2
    decode = call.phase(DECODE)
    assert decode.spans[-1].end_ns == call.end_ns


def test_the_programs_cache_lives_no_longer_for_being_metered(tiny, watched):
    import gc
    import weakref

    out = tiny("llama").model(input_ids=torch.tensor([[2, 5, 6]]), use_cache=True)
    cache = weakref.ref(out.past_key_values)
    del out
    gc.collect()
    assert cache() is None


def test_rows_dropped_inside_the_language_model_are_not_kept(tiny, watched):
    """A stand-in for FastV: the layer loop drops half of the visual positions before the last block."""
    model = tiny("llava")
    blocks = model.model.model.language_model.layers

    def drop(module, args, kwargs):
        hidden = args[0]
        if hidden.shape[1] == 1:
            return None
        keep = [*range(3), *range(3, 19, 2), *range(19, hidden.shape[1])]
        position_embeddings = tuple(each[:, keep] for each in kwargs["position_embeddings"])
        changed = {**kwargs, "position_embeddings": position_embeddings, "attention_mask": None}
        return (hidden[:, keep],), changed

    handle = blocks[1].register_forward_pre_hook(drop, with_kwargs=True)
    try:
        model.model(**model.inputs, use_cache=False)
    finally:
        handle.remove()
    tokens = watched.call().tokens
    assert (tokens.visual_input, tokens.visual_kept) == (16, 8)


@pytest.mark.parametrize("call_with", ["generate", "forward"])
def test_a_model_replaced_inside_is_looked_at_anew(call_with, tiny, watched):
    model = hf.LlavaForConditionalGeneration(tiny("llava").model.config).eval()
    inputs = tiny("llava").inputs
    model(**inputs)
    model.model.vision_tower = hf.CLIPVisionModel(
        hf.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        )
    ).eval()
    if call_with == "generate":
        model.generate(**inputs, **NEW)
    else:
        model(**inputs)
    first, second = (call.model.vision_parameters for call in watched.calls())
    assert second > first

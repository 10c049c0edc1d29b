"""Ways of decoding in which forward passes are not tokens, and prompts that a cache holds in part.

The truth is a count of the model's forward passes by a hook that is the test's own.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import transformers as hf

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE


@pytest.fixture
def forward_lengths():
    """How many positions each forward pass of a model had, and the end of its watching."""
    handles = []

    def watch(model):
        lengths: list[int] = []

        def entered(module, args, kwargs):
            lengths.append(kwargs["input_ids"].shape[1] if "input_ids" in kwargs else args[0].shape[1])

        handles.append(model.register_forward_pre_hook(entered, with_kwargs=True))
        return lengths

    yield watch
    for handle in handles:
        handle.remove()


def unwatched(watched, act):
    watched.runtime.uninstall()
    return act()


WAYS: dict[str, tuple[dict[str, Any], int]] = {
    "chunks": ({"prefill_chunk_size": 8}, 3 + 4),
    "chunks that end with one position": ({"prefill_chunk_size": 23}, 2 + 4),
    "static cache": ({"cache_implementation": "static"}, 5),
    "beams": ({"num_beams": 3}, 5),
    "sampled beams": ({"num_beams": 2, "do_sample": True}, 5),
    "sampling": ({"do_sample": True, "temperature": 2.0}, 5),
    "several answers": ({"do_sample": True, "num_return_sequences": 3}, 5),
    "no cache": ({"use_cache": False}, 5),
    "dictionary": ({"return_dict_in_generate": True, "output_logits": True}, 5),
    "guidance": ({"guidance_scale": 2.0}, 5 + 5),
}
"""Settings, and forward passes of the model for five tokens; guidance runs it once more a step, without the prompt."""


@pytest.mark.parametrize("way", WAYS)
def test_each_way_returns_what_it_always_did_and_is_one_prefill(way, tiny, generate, watched, forward_lengths):
    if "prefill_chunk_size" in WAYS[way][0] and hf.__version__.startswith("4."):
        pytest.skip("transformers 4 cuts no prompt with an image in chunks")
    model, (settings, forward_passes) = tiny("llava"), WAYS[way]

    def call():
        torch.manual_seed(3)
        out = generate(model, **settings)
        return getattr(out, "sequences", out)

    lengths = forward_lengths(model.model)
    seen = call()
    call_seen = watched.call()
    passes = list(lengths)
    assert torch.equal(seen, unwatched(watched, call))
    assert [phase.name for phase in call_seen.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert all(len(phase.spans) == 1 for phase in call_seen.phases)
    assert call_seen.decode_steps == 4
    assert len(passes) == forward_passes
    answers = settings.get("num_return_sequences", 1)
    tokens = call_seen.tokens
    assert (tokens.text_input, tokens.visual_input, tokens.output) == (8, 16, 5 * answers)
    assert tokens.visual_encoded == 17


@pytest.mark.parametrize("name", ["llama", "llava"])
def test_prompt_lookup_has_fewer_forward_passes_than_tokens(name, tiny, generate, watched, forward_lengths):
    model = tiny(name)

    def call():
        return generate(model, tokens=20, prompt_lookup_num_tokens=3)

    lengths = forward_lengths(model.model)
    seen = call()
    found, passes = watched.call(), len(lengths)
    assert torch.equal(seen, unwatched(watched, call))
    assert found.tokens.output == 20
    assert found.decode_steps == passes - 1
    assert (found.tokens.text_input, found.tokens.visual_input) == (model.text, model.visual)
    assert [phase.name for phase in found.phases if phase.name != VISION_ENCODE] == [PREFILL, DECODE]


@pytest.mark.skipif(hf.__version__.startswith("4."), reason="transformers 4 refuses a least length while drafting")
def test_a_model_that_drafts_adds_no_step_of_its_own(tiny, generate, watched, forward_lengths):
    model = tiny("llama")
    draft = copy.deepcopy(model.model)
    draft.generation_config.num_assistant_tokens = 4

    def call():
        return generate(model, tokens=12, assistant_model=draft)

    lengths, drafted = forward_lengths(model.model), forward_lengths(draft)
    seen = call()
    found, passes = watched.call(), len(lengths)
    assert len(drafted) > 0
    assert torch.equal(seen, unwatched(watched, call))
    assert (found.tokens.output, found.tokens.text_input) == (12, 8)
    assert found.decode_steps == passes - 1 < 11


def test_a_prompt_that_a_cache_holds_in_part_was_not_computed_in_that_part(tiny, generate, watched):
    model = tiny("llama")
    ids = model.inputs["input_ids"]

    def call():
        cache = hf.DynamicCache(config=model.model.config)
        model.model(input_ids=ids[:, :5], past_key_values=cache)
        return generate(model, past_key_values=cache)

    seen = call()
    _, found = watched.calls()
    assert torch.equal(seen, unwatched(watched, call))
    assert (found.tokens.text_input, found.tokens.cached_input, found.tokens.output) == (8, 5, 5)
    assert found.decode_steps == 4
    assert [phase.name for phase in found.phases] == [PREFILL, DECODE]


def test_a_cache_of_what_was_not_given_is_no_part_of_the_prompt(tiny, watched):
    """forward takes the ids that come next; those of the cache were an earlier call's prompt."""
    model = tiny("llama")
    ids = model.inputs["input_ids"]
    cache = hf.DynamicCache(config=model.model.config)
    model.model(input_ids=ids[:, :5], past_key_values=cache)
    watched.marks.clear()
    copied = copy.deepcopy(cache)  # another cache, so that this is no step of a loop
    model.model(input_ids=ids[:, 5:], past_key_values=copied)
    tokens = watched.calls()[-1].tokens
    assert (tokens.text_input, tokens.cached_input, tokens.prompt) == (3, None, 3)


def test_an_image_that_a_cache_holds_is_not_encoded_again(tiny, generate, watched):
    """A second question about the same image: the cache of the first answer goes into the second call."""
    model = tiny("llava")
    first = generate(model, return_dict_in_generate=True)
    longer = torch.cat([first.sequences, torch.tensor([[5, 6, 7]])], dim=1)
    known = first.past_key_values.get_seq_length()
    model.model.generate(
        input_ids=longer, attention_mask=torch.ones_like(longer), past_key_values=first.past_key_values,
        max_new_tokens=3, min_new_tokens=3, do_sample=False,
    )  # fmt: skip
    _, second = watched.calls()
    assert [phase.name for phase in second.phases] == [PREFILL, DECODE]
    assert second.tokens.cached_input == known == 24 + 4
    assert (second.tokens.text_input, second.tokens.visual_input) == (8 + 5 + 3, 16)
    assert second.tokens.output == 3


def test_pieces_of_a_prompt_by_embeddings_are_one_prefill_of_a_loop_written_by_hand(tiny, watched):
    model = tiny("llama")
    embeddings = model.model.get_input_embeddings()(model.inputs["input_ids"])
    cache = None
    for start in (0, 3, 6):
        out = model.model(inputs_embeds=embeddings[:, start : start + 3], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
    for _ in range(2):
        token = out.logits[:, -1:].argmax(-1)
        out = model.model(input_ids=token, past_key_values=cache, use_cache=True)
    call = watched.call()
    assert [(phase.name, len(phase.spans)) for phase in call.phases] == [(PREFILL, 3), (DECODE, 1)]
    assert (call.decode_steps, call.tokens.output) == (2, 3)

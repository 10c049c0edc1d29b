"""Every way of calling a model: the same output, and the counts of what was really asked for."""

from __future__ import annotations

import threading
import time

import pytest
import torch
import transformers as hf

from tests.runtimes.transformers.conftest import kinds_of_tokens
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

ImageProcessor = hf.CLIPImageProcessor if hf.__version__.startswith("4.") else hf.CLIPImageProcessorPil
NEW = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


def batch_of_two(tiny):
    """A second prompt that is two tokens shorter, padded on the left; both with an image."""
    ids, mask = tiny.inputs["input_ids"], tiny.inputs["attention_mask"]
    shorter = torch.cat([torch.zeros(1, 2, dtype=torch.long), ids[:, :-2]], dim=1)
    hidden = torch.cat([torch.zeros(1, 2, dtype=torch.long), mask[:, :-2]], dim=1)
    pixels = tiny.inputs["pixel_values"]
    return {
        "input_ids": torch.cat([ids, shorter]),
        "attention_mask": torch.cat([mask, hidden]),
        "pixel_values": torch.cat([pixels, pixels.flip(-1)]),
    }


def test_padding_is_no_text(tiny, watched):
    model = tiny("llava")
    model.model.generate(**batch_of_two(model), **NEW)
    call = watched.call()
    assert call.tokens.text_input == 8 + 6
    assert call.tokens.visual_input == 2 * 16
    assert call.tokens.output == 2 * 5
    assert (call.batch_size, call.images) == (2, 2)


def test_padding_without_a_mask_is_found_as_generate_finds_it(tiny, watched):
    model = tiny("llama")
    ids = torch.tensor([[0, 0, 2, 5, 6], [2, 5, 6, 7, 8]])
    model.model.generate(input_ids=ids, **NEW)
    assert watched.call().tokens.text_input == 3 + 5


def test_two_images_in_one_prompt(tiny, watched):
    model = tiny("llava")
    ids = torch.tensor([[2, 5, *[100] * 16, 6, *[100] * 16, 7]])
    pixels = torch.cat([model.inputs["pixel_values"]] * 2)
    model.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, **NEW)
    call = watched.call()
    assert (call.tokens.text_input, call.tokens.visual_input, call.images, call.batch_size) == (4, 32, 2, 1)


def test_two_images_of_different_size(tiny, watched):
    model = tiny("qwen2_5_vl")
    ids = torch.tensor([[2, 5, *[100] * 16, 6, *[100] * 8, 7]])
    pixels = torch.rand(64 + 32, 3 * 2 * 8 * 8)
    grid = torch.tensor([[1, 8, 8], [1, 4, 8]])
    kinds = (ids == 100).int()
    mask = torch.ones_like(ids)
    model.model.generate(
        input_ids=ids, attention_mask=mask, pixel_values=pixels, image_grid_thw=grid, **kinds_of_tokens(kinds), **NEW
    )
    call = watched.call()
    assert (call.tokens.text_input, call.tokens.visual_input, call.images) == (4, 24, 2)
    assert call.tokens.visual_encoded == 64 + 32


def test_tiles_that_may_be_images_are_not_counted_as_images(tiny, watched):
    """SmolVLM cuts one picture into tiles, each with a run of placeholders, as it would several pictures."""
    model = tiny("smolvlm")
    ids = torch.tensor([[2, 5, *[100] * 4, 6, *[100] * 4, 7, *[100] * 4, 8, *[100] * 4]])
    pixels = model.inputs["pixel_values"].repeat(1, 4, 1, 1, 1)
    model.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, **NEW)
    call = watched.call()
    assert (call.images, call.tokens.visual_input, call.tokens.text_input) == (None, 16, 5)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "mllama"])
def test_beams_do_not_multiply_the_prompt(name, tiny, generate, watched):
    if name == "qwen2_5_vl" and hf.__version__.startswith("4."):
        pytest.skip("transformers 4 finds each beam's images by a start token, which this prompt has not")
    model = tiny(name)
    generate(model, num_beams=3)
    call = watched.call()
    assert (call.tokens.text_input, call.tokens.visual_input) == (model.text, model.visual)
    assert (call.batch_size, call.images, call.tokens.output, call.decode_steps) == (1, 1, 5, 4)


@pytest.mark.parametrize("name", ["llava", "mllama"])
def test_every_returned_sequence_counts_as_output(name, tiny, generate, watched):
    model = tiny(name)
    generate(model, num_return_sequences=3, do_sample=True)
    tokens = watched.call().tokens
    assert (tokens.text_input, tokens.visual_input, tokens.output) == (model.text, model.visual, 15)


def test_output_ends_with_the_end_token_and_without_padding(tiny, watched):
    model = tiny("llama").model
    ids = torch.tensor([[2, 5, 6], [2, 7, 8]])

    class End(hf.LogitsProcessor):
        def __call__(self, input_ids, scores):
            scores = torch.full_like(scores, -1e9)
            scores[:, 9] = 0
            if input_ids.shape[1] == 4:
                scores[0, 1] = 1  # the first row ends with its second token
            return scores

    out = model.generate(input_ids=ids, max_new_tokens=5, do_sample=False, logits_processor=[End()])
    assert out.tolist() == [[2, 5, 6, 9, 1, 0, 0, 0], [2, 7, 8, 9, 9, 9, 9, 9]]
    assert watched.call().tokens.output == 2 + 5


class Spelling:
    """A tokenizer that only decodes."""

    def decode(self, ids, **kwargs):
        return "".join(f"{token}\n" for token in ids)


def test_a_streamer_in_a_thread_sees_what_it_always_saw(tiny, watched):
    model = tiny("llava")
    streamer = hf.TextIteratorStreamer(Spelling(), skip_prompt=True)
    thread = threading.Thread(target=model.model.generate, kwargs={**model.inputs, **NEW, "streamer": streamer})
    thread.start()
    lane = thread.ident
    words = "".join(streamer).split()
    thread.join()
    assert len(words) == 5
    call = watched.call()
    assert call.lane == lane
    assert (call.decode_steps, call.tokens.output, call.tokens.visual_input) == (4, 5, 16)


def test_calls_in_two_threads_stay_apart(tiny, watched):
    model = tiny("llava")
    text = torch.tensor([[2, 5, 6]])
    barrier = threading.Barrier(2)

    def run(tokens, **inputs):
        barrier.wait()
        for _ in range(3):
            settings = {**NEW, "max_new_tokens": tokens, "min_new_tokens": tokens}
            model.model.generate(**inputs, **settings)

    threads = [
        threading.Thread(target=run, args=(4,), kwargs=model.inputs),
        threading.Thread(target=run, args=(7,), kwargs={"input_ids": text, "attention_mask": torch.ones_like(text)}),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted((call.tokens.visual_input, call.tokens.output, call.decode_steps) for call in watched.calls())
    assert found == [(0, 7, 6)] * 3 + [(16, 4, 3)] * 3
    for call in watched.calls():
        assert (call.phase(VISION_ENCODE) is not None) == (call.tokens.visual_input == 16)


def test_an_error_inside_reaches_the_user_unchanged_and_ends_the_call(tiny, generate, watched):
    with pytest.raises(ValueError, match="do not match"):
        generate(tiny("llava"), pixel_values=torch.rand(2, 3, 32, 32))
    assert watched.call().ended == "raised ValueError"


def test_control_c_in_the_middle_keeps_what_was_recorded(tiny, generate, watched):
    class Interrupting(hf.LogitsProcessor):
        def __call__(self, input_ids, scores):
            if input_ids.shape[1] >= 24 + 3:
                raise KeyboardInterrupt
            return scores

    with pytest.raises(KeyboardInterrupt):
        generate(tiny("llava"), tokens=50, logits_processor=[Interrupting()])
    call = watched.call()
    assert call.ended == "raised KeyboardInterrupt"
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert (call.tokens.visual_input, call.decode_steps, call.tokens.output) == (16, 3, 3)


def test_one_token_has_no_decode_step(tiny, generate, watched):
    generate(tiny("llava"), tokens=1)
    call = watched.call()
    assert (call.decode_steps, call.tokens.output) == (0, 1)


def test_a_static_cache_changes_no_count(tiny, generate, watched):
    model = tiny("llava")
    generate(model, cache_implementation="static")
    call = watched.call()
    assert (call.decode_steps, call.tokens.text_input, call.tokens.visual_input) == (4, 8, 16)


def test_without_a_cache_each_step_is_still_one_step(tiny, generate, watched):
    generate(tiny("llava"), use_cache=False)
    call = watched.call()
    assert (call.decode_steps, call.tokens.visual_input, call.tokens.output) == (4, 16, 5)


@pytest.mark.skipif(hf.__version__.startswith("4."), reason="transformers 4 cuts no prompt with an image in chunks")
def test_a_prefill_in_chunks_is_one_prefill(tiny, generate, watched):
    generate(tiny("llava"), prefill_chunk_size=8)
    call = watched.call()
    assert (call.decode_steps, call.tokens.text_input, call.tokens.visual_input) == (4, 8, 16)


def test_prompt_lookup_counts_tokens_not_forward_passes(tiny, generate, watched):
    model = tiny("llama")
    ids = torch.tensor([[2, 5, 6, 5, 6, 5, 6, 5, 6]])
    out = generate(model, tokens=12, input_ids=ids, attention_mask=torch.ones_like(ids), prompt_lookup_num_tokens=2)
    call = watched.call()
    assert call.tokens.output == out.shape[1] - ids.shape[1]
    assert (call.tokens.text_input, call.tokens.visual_input) == (9, 0)


@pytest.mark.skipif(hf.__version__.startswith("4."), reason="transformers 4 refuses a least length while drafting")
def test_the_steps_of_a_drafting_model_are_not_the_calls(tiny, generate, watched):
    draft = hf.LlamaForCausalLM(tiny("llama").model.config).eval()
    draft.generation_config = tiny("llama").model.generation_config
    out = generate(tiny("llama"), tokens=8, assistant_model=draft)
    call = watched.call()
    assert call.tokens.output == out.shape[1] - 8
    assert call.tokens.text_input == 8
    assert call.decode_steps <= 7


def test_a_dictionary_as_result_is_counted_alike(tiny, generate, watched):
    generate(tiny("llava"), return_dict_in_generate=True, output_scores=True)
    assert watched.call().tokens.output == 5


def test_a_call_by_embeddings_counts_what_it_can(tiny, generate, watched):
    model = tiny("llama").model
    embeds = model.get_input_embeddings()(torch.tensor([[2, 5, 6, 7]]))
    model.generate(inputs_embeds=embeds, **NEW)
    call = watched.call()
    assert call.tokens.output == 5
    assert call.decode_steps == 4
    assert call.phase(DECODE) is not None


def test_an_image_processor_called_directly_is_preprocessing(tiny, generate, watched):
    processor = ImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(torch.zeros(3, 40, 40, dtype=torch.uint8).numpy(), return_tensors="pt")["pixel_values"]
    generate(tiny("llava"), pixel_values=pixels)
    call = watched.call()
    assert [phase.name for phase in call.phases] == ["preprocess", VISION_ENCODE, PREFILL, DECODE]
    assert len(call.phases[0].spans) == 1
    assert call.phases[0].spans[0].end_ns <= call.start_ns


class TwoStage(hf.ProcessorMixin):
    """A processor that uses another and has a chat template."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, images):
        return self.inner(images, return_tensors="pt")

    def apply_chat_template(self, images, tokenize=False, **kwargs):
        return self(images) if tokenize else "<image> what is it?"


def test_processors_inside_each_other_are_one_phase(watched):
    processor = TwoStage(ImageProcessor(size={"shortest_edge": 32}))
    image = torch.zeros(3, 40, 40, dtype=torch.uint8).numpy()
    processor.apply_chat_template(image, tokenize=True)
    assert [mark.kind for mark in watched.marks] == ["phase_start", "phase_end"]
    assert {mark.name for mark in watched.marks} == {"preprocess"}


def test_writing_a_prompt_is_no_preprocessing(watched):
    TwoStage(None).apply_chat_template(None)
    assert watched.marks == []


def test_a_processor_that_fails_ends_its_phase(watched):
    with pytest.raises(TypeError):
        TwoStage(None)(None)
    assert [mark.kind for mark in watched.marks] == ["phase_start", "phase_end"]


def test_a_long_call_tells_its_prompt_and_its_steps_before_it_ends(tiny, watched):
    """A killed process leaves what was written by then. The step is made long, not the test: one slow token."""
    seen: list[str] = []

    class Slow(hf.LogitsProcessor):
        def __call__(self, input_ids, scores):
            if input_ids.shape[1] == 24 + 1:
                time.sleep(0.3)
            if input_ids.shape[1] == 24 + 3:
                seen.extend(mark.name for mark in watched.marks if mark.kind == "count")
            return scores

    model = tiny("llava")
    model.model.generate(**model.inputs, **NEW, logits_processor=[Slow()])
    assert {"decode_steps", "text_input", "visual_input"} <= set(seen)
    assert watched.call().decode_steps == 4


def test_a_token_that_pads_other_rows_is_output_where_there_is_one_row(tiny, watched):
    model = tiny("llama")

    def pads_only(input_ids, scores):
        return torch.full_like(scores, float("-inf")).index_fill(1, torch.tensor([0]), 0.0)

    model.model.generate(**model.inputs, max_new_tokens=3, logits_processor=[pads_only])
    assert watched.call().tokens.output == 3

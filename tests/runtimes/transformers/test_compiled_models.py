"""torch.compile: no graph break for our sake, no lost step, the same output."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NEW = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
IS_4 = hf.__version__.startswith("4.")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def llava(tiny):
    """A model of its own: compiled parts stay on it."""
    model = hf.LlavaForConditionalGeneration(tiny("llava").model.config).eval()
    model.load_state_dict(tiny("llava").model.state_dict())
    model.generation_config = tiny("llava").model.generation_config
    return model


def compiled_frames():
    counters = torch._dynamo.utils.counters
    return sum(counters["graph_break"].values()), counters["frames"]["total"]


def test_a_forward_compiled_by_the_user_counts_its_prefill(llava, tiny, generate, watched):
    inputs = tiny("llava").inputs
    llava.forward = torch.compile(llava.forward, backend="eager")
    torch._dynamo.utils.counters.clear()
    out = llava.generate(**inputs, **NEW)
    call = watched.call()
    # transformers 4 encodes inside forward, and so inside the user's graph, where nothing is seen
    assert [phase.name for phase in call.phases] == [*([] if IS_4 else [VISION_ENCODE]), PREFILL, DECODE]
    assert (call.decode_steps, call.tokens.visual_input, call.tokens.text_input) == (4, 16, 8)
    watched.runtime.uninstall()
    assert torch.equal(out, generate(tiny("llava")))


@pytest.mark.parametrize("name", ["clip", "llama"])
def test_watching_adds_neither_graph_break_nor_frame(name, tiny, watched):
    model, inputs = tiny(name).model, tiny(name).inputs
    model(**inputs)
    found = []
    for watching in (True, False):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        if not watching:
            watched.runtime.uninstall()
        compiled = torch.compile(model, backend="eager")
        compiled(**inputs)
        compiled(**inputs)
        found.append(compiled_frames())
    assert found[0] == found[1]
    assert len(watched.calls()) == 3
    assert {call.model.class_name for call in watched.calls()} == {type(model).__name__}


def test_a_language_model_compiled_as_one_graph_stays_one_graph(tiny, watched):
    model = hf.LlamaForCausalLM(tiny("llama").model.config).eval()
    ids = torch.tensor([[2, 5, 6, 7]])
    expected = model(input_ids=ids, use_cache=False).logits
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(compiled(input_ids=ids, use_cache=False).logits, expected)
    calls = watched.calls()
    assert len(calls) == 3
    assert [[phase.name for phase in call.phases] for call in calls] == [[PREFILL]] * 3
    assert all(call.tokens.text_input == 4 for call in calls)


@pytest.mark.parametrize("name", ["clip", "llama"])
def test_a_graph_compiled_before_the_meter_is_not_compiled_again(name, tiny, watched):
    model, inputs = tiny(name).model, tiny(name).inputs
    watched.runtime.uninstall()
    compiled = torch.compile(model, backend="eager")
    compiled(**inputs)
    before = compiled_frames()
    watched.runtime.install(lambda *given: watched.marks.extend(given))
    compiled(**inputs)
    assert compiled_frames() == before
    assert len(watched.calls()) == 1


@pytest.mark.parametrize("name", ["clip", "llama"])
def test_a_graph_compiled_under_the_meter_is_not_compiled_again_after_it(name, tiny, watched):
    model, inputs = tiny(name).model, tiny(name).inputs
    compiled = torch.compile(model, backend="eager")
    compiled(**inputs)
    compiled(**inputs)
    before = compiled_frames()
    assert len(watched.calls()) == 2
    watched.runtime.uninstall()
    compiled(**inputs)
    assert compiled_frames() == before


def test_a_part_that_is_compiled_by_the_user_is_not_compiled_again_after_the_meter(llava, tiny, watched):
    llava.model.language_model = torch.compile(llava.model.language_model, backend="eager")
    seen = llava.generate(**tiny("llava").inputs, **NEW)
    before = compiled_frames()
    watched.runtime.uninstall()
    assert torch.equal(seen, llava.generate(**tiny("llava").inputs, **NEW))
    assert compiled_frames() == before
    assert watched.call().decode_steps == 4


def test_compiled_decoding_with_a_static_cache_loses_no_step(llava, tiny, watched):
    from transformers.generation.configuration_utils import CompileConfig

    config = CompileConfig(backend="eager", mode=None, fullgraph=False)
    config._compile_all_devices = True
    settings = {**NEW, "cache_implementation": "static", "compile_config": config}
    seen = llava.generate(**tiny("llava").inputs, **settings)
    assert hasattr(llava, "_compiled_call")
    again = llava.generate(**tiny("llava").inputs, **settings)
    assert torch.equal(seen, again)
    assert [call.decode_steps for call in watched.calls()] == [4, 4]
    assert [call.tokens.visual_input for call in watched.calls()] == [16, 16]


@pytest.mark.skipif(IS_4, reason="transformers 4 checks features against ids in a way that no graph can hold")
def test_a_whole_model_compiled_as_one_graph_stays_one_graph_and_counts_its_image(llava, tiny, watched):
    inputs = tiny("llava").inputs
    expected = llava(**inputs, use_cache=False).logits
    compiled = torch.compile(llava, backend="eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(compiled(**inputs, use_cache=False).logits, expected)
    plain, *calls = watched.calls()
    assert [phase.name for phase in plain.phases] == [VISION_ENCODE, PREFILL]
    assert [[phase.name for phase in call.phases] for call in calls] == [[PREFILL]] * 2
    assert [(call.tokens.text_input, call.tokens.visual_input) for call in calls] == [(8, 16)] * 2


@pytest.mark.skipif(IS_4, reason="transformers 4 cuts no prompt with an image in chunks")
def test_a_prefill_in_chunks_through_a_compiled_call_is_one_prefill(llava, tiny, watched):
    from transformers.generation.configuration_utils import CompileConfig

    config = CompileConfig(backend="eager", mode=None, fullgraph=False)
    config._compile_all_devices = True
    settings = {**NEW, "cache_implementation": "static", "compile_config": config, "prefill_chunk_size": 8}
    seen = llava.generate(**tiny("llava").inputs, **settings)
    call = watched.call()
    watched.runtime.uninstall()
    assert torch.equal(seen, tiny("llava").model.generate(**tiny("llava").inputs, **NEW))
    assert [phase.name for phase in call.phases][-2:] == [PREFILL, DECODE]
    assert (call.decode_steps, call.tokens.text_input, call.tokens.visual_input) == (4, 8, 16)

"""After the last uninstall the process is as it was; and whatever goes wrong inside stays inside."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
import weakref

import pytest
import torch
import transformers as hf
from torch import nn
from transformers.generation.utils import GenerationMixin

from wattvlm.runtimes import Runtime, Settles, WatchesModels, next_call_id, own_runtimes
from wattvlm.runtimes.transformers.calls import ObservedCall
from wattvlm.runtimes.transformers.runtime import TransformersRuntime
from wattvlm.trace import Mark

PATCHED = [
    (GenerationMixin, "generate"),
    (GenerationMixin, "_update_model_kwargs_for_generation"),
    (hf.PreTrainedModel, "__call__"),
    (hf.Blip2ForConditionalGeneration, "generate"),
    (hf.ProcessorMixin, "__call__"),
    (hf.ProcessorMixin, "apply_chat_template"),
    (nn.Module, "__init_subclass__"),
]


def nowhere(*marks):
    """A sink that keeps nothing."""


def held():
    return [vars(owner).get(name) for owner, name in PATCHED]


def hooks_of(model):
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks), sorted(vars(module))) for module in model.modules()
    ]


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "blip2", "mllama"])
def test_hooks_and_patches_are_gone(name, tiny, generate):
    model = tiny(name)
    generate(model)
    before, hooks, finders = held(), hooks_of(model.model), list(sys.meta_path)
    runtime = TransformersRuntime()
    runtime.install(nowhere)
    generate(model)
    model.model(**model.inputs)
    assert hooks_of(model.model) == hooks  # already at the end of each call
    runtime.uninstall()
    assert held() == before
    assert hooks_of(model.model) == hooks
    assert sys.meta_path == finders


def test_a_call_broken_off_leaves_no_hook(tiny, generate, watched):
    model = tiny("llava")
    before = hooks_of(model.model)
    with pytest.raises(ValueError, match="do not match"):
        generate(model, pixel_values=torch.rand(2, 3, 32, 32))
    assert hooks_of(model.model) == before


def test_a_class_defined_meanwhile_is_unwrapped_too():
    runtime = TransformersRuntime()
    runtime.install(nowhere)

    class Meanwhile(nn.Module):
        def generate(self):
            return 1

    wrapped = vars(Meanwhile)["generate"]
    runtime.uninstall()
    assert vars(Meanwhile)["generate"] is wrapped.__wrapped__


def test_what_someone_else_patched_meanwhile_stays_theirs():
    before = GenerationMixin.generate
    runtime = TransformersRuntime()
    runtime.install(nowhere)

    def theirs(self):
        return None

    GenerationMixin.generate = theirs
    runtime.uninstall()
    assert GenerationMixin.generate is theirs
    GenerationMixin.generate = before


def test_it_takes_as_many_uninstalls_as_installs(tiny, generate):
    before = held()
    marks: list[Mark] = []
    runtime = TransformersRuntime()
    runtime.install(lambda *given: marks.extend(given))
    runtime.install(lambda *given: marks.extend(given))
    runtime.uninstall()
    generate(tiny("llama"))
    assert marks
    runtime.uninstall()
    assert held() == before
    seen = len(marks)
    generate(tiny("llama"))
    assert len(marks) == seen


def test_signatures_are_kept(watched):
    assert list(inspect.signature(hf.LlavaForConditionalGeneration.generate).parameters)[:3] == [
        "self",
        "inputs",
        "generation_config",
    ]
    assert GenerationMixin.generate.__name__ == "generate"


def test_a_model_is_not_kept_alive(tiny, watched):
    model = hf.LlamaForCausalLM(tiny("llama").model.config).eval()
    model.generate(input_ids=torch.tensor([[2, 5]]), max_new_tokens=2, pad_token_id=0)
    model(input_ids=torch.tensor([[2, 5]]))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


class Breaking:
    """A sink that cannot write."""

    def __call__(self, *marks):
        raise OSError("disk full")


def test_a_sink_that_fails_changes_no_output(tiny, generate):
    expected, hooks = generate(tiny("llava")), hooks_of(tiny("llava").model)
    runtime = TransformersRuntime()
    runtime.install(Breaking())
    try:
        assert torch.equal(generate(tiny("llava")), expected)
        assert tiny("llava").model(**tiny("llava").inputs).logits is not None
        assert hooks_of(tiny("llava").model) == hooks
    finally:
        runtime.uninstall()


class Odd(hf.LlamaForCausalLM):
    """Remote code can be odd: what is asked of it beside the call fails."""

    def get_output_embeddings(self):
        raise RuntimeError("not today")

    def get_input_embeddings(self):
        if inspect.stack()[1].filename.endswith("discovery.py"):
            raise RuntimeError("not today")
        return super().get_input_embeddings()


def test_a_model_that_refuses_questions_is_still_observed(tiny, watched):
    odd = Odd(tiny("llama").model.config).eval()
    odd.generate(input_ids=torch.tensor([[2, 5]]), max_new_tokens=3, min_new_tokens=3, pad_token_id=0)
    assert watched.call().tokens.output == 3


def test_what_is_known_at_the_end_of_a_call_is_written_in_one_piece(tiny, generate):
    writes: list[tuple[Mark, ...]] = []
    runtime = TransformersRuntime()
    runtime.install(lambda *marks: writes.append(marks))
    try:
        generate(tiny("llava"))
    finally:
        runtime.uninstall()
    ends = [marks for marks in writes if any(mark.kind == "call_end" for mark in marks)]
    counts = [mark for marks in writes for mark in marks if mark.kind == "count"]
    assert ends == [writes[-1]]
    assert len(counts) > 5
    assert set(counts) <= set(writes[-1])


def test_our_own_error_becomes_one_note_and_the_call_goes_on(tiny, generate):
    marks: list[Mark] = []

    class Sink:
        def __call__(self, *given):
            if any(mark.kind == "phase_start" for mark in given):
                raise LookupError("our own")
            marks.extend(given)

    expected = generate(tiny("llava"))
    runtime = TransformersRuntime()
    runtime.install(Sink())
    try:
        assert torch.equal(generate(tiny("llava")), expected)
        assert torch.equal(generate(tiny("llava")), expected)
    finally:
        runtime.uninstall()
    (note,) = [mark.text for mark in marks if mark.kind == "note"]
    assert "our own" in note
    assert "Cure" in note


def test_the_contract_is_kept():
    (runtime,) = [each for each in own_runtimes() if each.name == "transformers"]
    assert isinstance(runtime, Runtime)
    assert isinstance(runtime, WatchesModels)
    assert isinstance(runtime, Settles)
    assert next_call_id() != next_call_id()


def test_each_call_has_an_id_of_its_own(tiny, generate, watched):
    generate(tiny("llama"))
    generate(tiny("llama"))
    first, second = watched.calls()
    assert first.call_id != second.call_id


FRESH = """
import sys
from wattvlm.runtimes import own_runtimes
(runtime,) = [each for each in own_runtimes() if each.name == "transformers"]
marks = []
runtime.install(lambda *given: marks.extend(given))
heavy = [name for name in ("torch", "transformers", "numpy", "asyncio") if name in sys.modules]
assert not heavy, heavy
import torch, transformers as hf
config = hf.LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                        num_attention_heads=2, num_key_value_heads=2)
model = hf.LlamaForCausalLM(config).eval()
model.generate(input_ids=torch.tensor([[2, 5]]), max_new_tokens=3, min_new_tokens=3, pad_token_id=0)
runtime.uninstall()
assert not [mark for mark in marks if mark.kind == "note"], marks
print(sorted({mark.kind for mark in marks}))
print(type(sys.modules["transformers.modeling_utils"].__spec__.loader).__module__)
"""


def test_transformers_imported_inside_the_block_is_seen():
    ran = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    kinds, loader = ran.stdout.splitlines()
    assert "first_token" in kinds
    assert "wattvlm" not in loader


def test_an_observed_call_lets_go_of_the_users_tensors(tiny, generate, watched):
    generate(tiny("llava"))
    gc.collect()
    left = [each for each in gc.get_objects() if type(each) is ObservedCall]
    assert all(call.model is None and not call.given for call in left)

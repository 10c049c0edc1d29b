"""Models whose modules are not what the model's class makes: quantised, adapted, or moved about."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NEW = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


@pytest.fixture(autouse=True)
def without_the_deprecation():
    """torch.ao's dynamic quantisation is deprecated, but in use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def dynamically_quantised(model: Any) -> Any:
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def quantised_by_torchao(model: Any) -> Any:
    quantization = pytest.importorskip("torchao.quantization")
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    return model


def quantised_by_quanto(model: Any) -> Any:
    quanto = pytest.importorskip("optimum.quanto")
    quanto.quantize(model, weights=quanto.qint8)
    quanto.freeze(model)
    return model


def with_adapters(model: Any) -> Any:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"])).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    return adapted


def with_weights_brought_in_for_each_call(model: Any) -> Any:
    accelerate = pytest.importorskip("accelerate")
    return accelerate.cpu_offload(model, execution_device=torch.device("cpu"))


def dispatched(model: Any) -> Any:
    accelerate = pytest.importorskip("accelerate")
    return accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True)


def hooks_of(model: Any) -> list[tuple[int, int, list[str]]]:
    return [(len(each._forward_hooks), len(each._forward_pre_hooks), sorted(vars(each))) for each in model.modules()]


WRAPS = [
    dynamically_quantised,
    quantised_by_torchao,
    quantised_by_quanto,
    with_adapters,
    with_weights_brought_in_for_each_call,
    dispatched,
]


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_wrapped_model_is_followed_like_the_plain_one(wrap, name, tiny, watched):
    plain = tiny(name)
    model = wrap(copy.deepcopy(plain.model))
    model.generate(**plain.inputs, **NEW)  # transformers itself leaves hooks in its first call
    before = hooks_of(model)
    seen = model.generate(**plain.inputs, **NEW)
    _, call = watched.calls()
    assert hooks_of(model) == before
    watched.runtime.uninstall()
    assert torch.equal(seen, model.generate(**plain.inputs, **NEW))
    assert [phase.name for phase in call.phases] == [VISION_ENCODE, PREFILL, DECODE]
    assert all(len(phase.spans) == 1 for phase in call.phases)
    assert (call.decode_steps, call.tokens.output) == (4, 5)
    assert (call.tokens.text_input, call.tokens.visual_input) == (plain.text, plain.visual)
    assert call.tokens.visual_encoded == plain.encoded


@pytest.mark.parametrize(
    ("wrap", "quantisation"),
    [(quantised_by_torchao, "torchao int8"), (quantised_by_quanto, "optimum int8"), (with_adapters, "")],
)
def test_weights_in_another_form_are_still_parameters(wrap, quantisation, tiny, watched):
    model = wrap(copy.deepcopy(tiny("llava").model))
    model.generate(**tiny("llava").inputs, **NEW)
    facts = watched.call().model
    assert facts.class_name == "LlavaForConditionalGeneration"
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert facts.quantisation == quantisation


def test_weights_packed_out_of_sight_leave_the_parameters_unknown(tiny, watched):
    model = dynamically_quantised(copy.deepcopy(tiny("llava").model))
    model.generate(**tiny("llava").inputs, **NEW)
    facts = watched.call().model
    assert (facts.parameters, facts.vision_parameters, facts.projector_parameters) == (None, None, None)
    assert facts.quantisation == "torch qint8"


def test_a_model_whose_weights_are_brought_in_runs_where_they_are_brought(tiny, watched):
    model = with_weights_brought_in_for_each_call(copy.deepcopy(tiny("llava").model))
    model.generate(**tiny("llava").inputs, **NEW)
    assert watched.call().model.device == "cpu"

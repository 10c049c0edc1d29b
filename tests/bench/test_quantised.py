"""Weights in whole numbers: of the language model's linear layers alone, and with the reason where they cannot be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wattvlm.bench.quantised import base_dtype, quantise
from wattvlm.errors import WattvlmError

torch = pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")


def test_activations_beside_whole_numbers_are_those_of_the_device():
    assert base_dtype(torch, "int8", "cpu") is torch.float32
    assert base_dtype(torch, "int4", "cuda:1") is torch.bfloat16
    assert base_dtype(torch, "float16", "cpu") is torch.float16
    assert base_dtype(torch, "", "cpu") is torch.float32


def test_the_encoder_keeps_its_weights():
    pytest.importorskip("torchao", reason="int8 weights are torchao's")
    language, vision = (torch.nn.Sequential(torch.nn.Linear(32, 32)) for _ in range(2))
    model = SimpleNamespace(model=SimpleNamespace(language_model=language, vision_tower=vision))
    before = language[0].weight
    quantise(model, "float32")
    assert language[0].weight is before
    quantise(model, "int8")
    assert type(vision[0].weight) is torch.nn.Parameter
    assert "Int8" in type(language[0].weight).__name__ or "Quantized" in type(language[0].weight).__name__
    assert language(torch.ones(1, 32)).shape == (1, 32)


def test_a_model_that_torchao_cannot_take_says_so():
    pytest.importorskip("torchao", reason="int8 weights are torchao's")
    with pytest.raises(WattvlmError, match=r"torchao gives no int8 weights here: .*Cure"):
        quantise(SimpleNamespace(language_model=object()), "int8")


def test_a_model_whose_layers_keep_their_weights_is_no_int4_model():
    pytest.importorskip("torchao", reason="int4 weights are torchao's")
    language = torch.nn.Sequential(torch.nn.Linear(24, 24), torch.nn.Linear(24, 24))
    with pytest.raises(WattvlmError, match=r"left 2 of 2 linear layers as they were.*Cure"):
        quantise(SimpleNamespace(language_model=language), "int4")

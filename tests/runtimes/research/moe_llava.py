"""MoE-LLaVA and LLaVA-MoD: the mlp of some layers becomes DeepSpeed's mixture, and forwards are replaced on instances.

Source: PKU-YuanGroup/MoE-LLaVA moellava/model/language_model/llava_phi_moe.py; shufangxun/LLaVA-MoD
llavamod/model/language_model/llava_qwen2_moe.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.runtimes.research.cases import Case, Truth, language_config
from tests.runtimes.research.spliced_in_forward import MlpProjector, MobileLlamaForCausalLM, ask

EXPERTS, USED = 4, 2


class Experts(nn.Module):
    def __init__(self, expert: nn.Module) -> None:
        super().__init__()
        self.deepspeed_experts = nn.ModuleList(copy.deepcopy(expert) for _ in range(EXPERTS))


class MOELayer(nn.Module):
    """Gate and experts; gives the output and what DeepSpeed counts."""

    def __init__(self, width: int, expert: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Linear(width, EXPERTS, bias=False)
        self.experts = Experts(expert)

    def forward(self, x: torch.Tensor) -> Any:
        weights, chosen = self.gate(x).softmax(-1).topk(USED, dim=-1)
        out = torch.zeros_like(x)
        for index, expert in enumerate(self.experts.deepspeed_experts):
            share = (weights * (chosen == index)).sum(-1, keepdim=True)
            out = out + share * expert(x)
        return out


class MoE(nn.Module):
    def __init__(self, width: int, expert: nn.Module) -> None:
        super().__init__()
        self.deepspeed_moe = MOELayer(width, expert)

    def forward(self, x: torch.Tensor) -> Any:
        return self.deepspeed_moe(x), torch.zeros(()), torch.zeros(EXPERTS)


def first_of(mlp: MoE) -> Callable[[torch.Tensor], torch.Tensor]:
    """Its decoder layers take the mixture's tuple apart in a forward of their own."""

    def forward(x: torch.Tensor) -> Any:
        out, _, _ = MoE.forward(mlp, x)
        return out

    return forward


def inner_forward(model: Any) -> Callable[..., Any]:
    inner = type(model).forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return inner(model, *args, **kwargs)

    return forward


class EvalMoELLaVAForCausalLM(MobileLlamaForCausalLM):
    def __init__(self, config: Any) -> None:
        super().__init__(config, MlpProjector)
        for index in config.moe["moe_layers_idx"]:
            layer = self.model.layers[index]
            layer.mlp = MoE(config.hidden_size, layer.mlp)
            layer.mlp.forward = first_of(layer.mlp)
        self.model.forward = inner_forward(self.model)


def moe_llava() -> Any:
    moe = {"moe_layers_idx": [0, 2], "num_experts": [EXPERTS] * 2, "top_k_experts": USED}
    model = EvalMoELLaVAForCausalLM(language_config(moe=moe))
    model.generation_config.pad_token_id = 0
    return model


FLOW = "transformers' generate, splice in forward; mixture in some layers, forwards replaced on instances"
TRUTH = Truth(5, 16, 16, "exact (sequence length - text ids)")
CASES = [
    Case(
        "MoE-LLaVA",
        "PKU-YuanGroup/MoE-LLaVA moellava/model/language_model/llava_phi_moe.py",
        FLOW,
        moe_llava,
        ask,
        TRUTH,
    ),
    Case(
        "LLaVA-MoD",
        "shufangxun/LLaVA-MoD llavamod/model/language_model/llava_qwen2_moe.py",
        FLOW,
        moe_llava,
        ask,
        TRUTH,
    ),
]

"""MobileVLM and V2, LLaVA-Phi, Bunny, Imp: transformers' generate, and a forward that splices for a sentinel id.

Source: Meituan-AutoML/MobileVLM mobilevlm/model/mobilevlm.py, mobilellama.py, vision_projector.py;
zhuyiche/llava-phi llava_phi/model/language_model/llava_phi.py; BAAI-DCAI/Bunny bunny/model/language_model/bunny_phi.py;
MILVLG/imp imp_llava/model/language_model/imp.py.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Case, ClipTower, Truth, ids, language_config, past_length, pixels

SENTINEL = -200


class SqueezeExcitation(nn.Module):
    """Weights of channels from their means: its first convolution takes as few channels as a picture may have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)
        self.activation, self.scale_activation = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: torch.Tensor) -> Any:
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


class DepthwiseResidual(nn.Module):
    """MobileNet's inverted residual with the nesting of torchvision: lists of convolution, norm and activation."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Sequential(nn.Conv2d(width, width, 3, stride, 1, groups=width), nn.Identity(), nn.Hardswish()),
            SqueezeExcitation(width),
            nn.Sequential(nn.Conv2d(width, width, 1), nn.Identity(), nn.Identity()),
        )
        self.stride = stride

    def forward(self, x: torch.Tensor) -> Any:
        return self.block(x) if self.stride > 1 else x + self.block(x)


class LdpBlock(nn.Module):
    """MobileVLM's projector: an mlp, then convolutions of which one halves each side."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Identity(), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32))
        self.mb_block = nn.Sequential(nn.Identity(), DepthwiseResidual(32, 1), DepthwiseResidual(32, 2))

    def forward(self, x: torch.Tensor) -> Any:
        side = int(x.shape[1] ** 0.5)
        x = self.mlp(x).permute(0, 2, 1).reshape(len(x), -1, side, side)
        return self.mb_block(x).flatten(2).permute(0, 2, 1)


class LdpProjector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = LdpBlock()

    def forward(self, x: torch.Tensor) -> Any:
        return self.model(x)


class LdpV2Projector(nn.Module):
    """MobileVLM V2's: an mlp, pooling to a fixed grid, positions from a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32))
        self.dwn = nn.Sequential(nn.AdaptiveAvgPool2d((2, 2)))
        self.peg = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1, groups=32))

    def forward(self, x: torch.Tensor) -> Any:
        side = int(x.shape[1] ** 0.5)
        x = self.dwn(self.mlp(x).permute(0, 2, 1).reshape(len(x), -1, side, side))
        return (self.peg(x) + x).flatten(2).transpose(1, 2)


class MlpProjector(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32))


class VisionModelMixin:
    """What the arch file adds to a language model's inner model."""

    def add_vision(self, projector: Any) -> None:
        self.vision_tower = ClipTower()
        self.mm_projector = projector()

    def get_vision_tower(self) -> Any:
        return self.vision_tower


class SplicingMixin:
    """What the arch file adds to its outer model: encoding and splicing, for forward to call."""

    def get_model(self) -> Any:
        return self.model  # type: ignore[attr-defined]  # of the transformers side

    def get_vision_tower(self) -> Any:
        return self.get_model().get_vision_tower()

    def encode_images(self, images: torch.Tensor) -> Any:
        return self.get_model().mm_projector(self.get_model().get_vision_tower()(images))

    def prepare_inputs_labels_for_multimodal(self, input_ids: Any, images: Any) -> Any:
        if self.get_vision_tower() is None or images is None or input_ids.shape[1] == 1:
            return input_ids, None
        features = self.encode_images(images)
        rows = []
        for row, feature in zip(input_ids, features):
            at = int(torch.where(row == SENTINEL)[0])
            before, after = self.get_model().embed_tokens(row[:at]), self.get_model().embed_tokens(row[at + 1 :])
            rows.append(torch.cat([before, feature, after]))
        return None, torch.stack(rows)

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, **kwargs):
        if past_length(past_key_values):
            input_ids = input_ids[:, -1:]
        return {
            "input_ids": input_ids,
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache"),
            "images": kwargs.get("images"),
        }


class MobileLlamaModel(VisionModelMixin, hf.LlamaModel):
    pass


class MobileLlamaForCausalLM(SplicingMixin, hf.LlamaForCausalLM):
    """Calls its inner model by itself, without the forward of the class above."""

    def __init__(self, config: Any, projector: Any) -> None:
        super(hf.LlamaForCausalLM, self).__init__(config)
        self.model = MobileLlamaModel(config)
        self.model.add_vision(projector)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, images=None, **kwargs):
        input_ids, inputs_embeds = self.prepare_inputs_labels_for_multimodal(input_ids, images)
        outputs = self.model(
            input_ids=input_ids, past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache
        )
        return hf.modeling_outputs.CausalLMOutputWithPast(
            logits=self.lm_head(outputs[0]), past_key_values=outputs.past_key_values
        )


class BunnyPhiModel(VisionModelMixin, hf.PhiModel):
    pass


class BunnyPhiForCausalLM(SplicingMixin, hf.PhiForCausalLM):
    """Phi; splices, then hands embeddings to the forward of the class above. LLaVA-Phi and Imp do the same."""

    def __init__(self, config: Any) -> None:
        super(hf.PhiForCausalLM, self).__init__(config)
        self.model = BunnyPhiModel(config)
        self.model.add_vision(MlpProjector)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=True)
        self.post_init()

    def forward(self, input_ids=None, inputs_embeds=None, images=None, **kwargs):
        if inputs_embeds is None:
            input_ids, inputs_embeds = self.prepare_inputs_labels_for_multimodal(input_ids, images)
        return super().forward(input_ids=input_ids, inputs_embeds=inputs_embeds, **kwargs)


def phi() -> Any:
    model = BunnyPhiForCausalLM(language_config(hf.PhiConfig, num_key_value_heads=4))
    model.generation_config.pad_token_id = 0
    return model


def mobile(projector: Any) -> Any:
    model = MobileLlamaForCausalLM(language_config(), projector)
    model.generation_config.pad_token_id = 0
    return model


def ask(model: Any) -> Any:
    return model.generate(ids(2, 5, SENTINEL, 6, 7, 8), images=pixels(1, 3, 32, 32), use_cache=True, **GREEDY)


GROWN = "exact (sequence length - text ids)"
FLOW = "transformers' generate with images=; the first forward encodes and splices for id -200"
MOBILE = "Meituan-AutoML/MobileVLM mobilevlm/model/mobilellama.py"
CASES = [
    Case("MobileVLM (LDP)", MOBILE, FLOW, lambda: mobile(LdpProjector), ask, Truth(5, 16 // 4, 16, GROWN)),
    Case("MobileVLM V2 (LDPv2)", MOBILE, FLOW, lambda: mobile(LdpV2Projector), ask, Truth(5, 2 * 2, 16, GROWN)),
    Case(
        "LLaVA-Phi",
        "zhuyiche/llava-phi llava_phi/model/language_model/llava_phi.py",
        FLOW,
        phi,
        ask,
        Truth(5, 16, 16, GROWN),
    ),
    Case("Bunny", "BAAI-DCAI/Bunny bunny/model/language_model/bunny_phi.py", FLOW, phi, ask, Truth(5, 16, 16, GROWN)),
    Case("Imp", "MILVLG/imp imp_llava/model/language_model/imp.py", FLOW, phi, ask, Truth(5, 16, 16, GROWN)),
]

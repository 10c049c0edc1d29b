"""Visual tokens that are fewer than the encoder's rows: in the projector, before the language model, inside it.

Source: CircleRadon/TokenPacker llava/model/multimodal_projector/builder.py and multimodal_encoder/clip_encoder.py;
Thames-H/26nips-mmtok mmtok/llava/llava_arch_mmtok.py (MMTok); Tencent/SelfEvolvingAgent VScan/llava/model/llava_arch.py
and modeling_llama_x.py; pkunlp-icler/FastV src/FastV/llava-hf and src/transformers modeling_llama.py.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn
from torch.nn import functional

from tests.runtimes.research.cases import GREEDY, Case, ClipTower, Truth, clip_config, ids, language_config, pixels
from tests.runtimes.research.llava import SENTINEL, LlavaLlamaForCausalLM, LlavaLlamaModel

SIDE = 12
PATCHES = SIDE * SIDE
START = 2


class WideTower(ClipTower):
    """A picture of 12 x 12 patches, so that 1/4, 1/9 and 1/16 are whole."""

    def load_model(self) -> None:
        self.cfg_only = clip_config(image_size=8 * SIDE)
        super().load_model()


class MultiLevelTower(WideTower):
    """TokenPacker's: the features, and those of several layers side by side."""

    def feature_select(self, outputs: Any) -> Any:
        several = torch.cat([outputs.hidden_states[layer] for layer in (0, 1, 2)], dim=2)
        return outputs.hidden_states[-2][:, 1:], several[:, 1:]


class TokenPacker(nn.Module):
    """Each coarse query attends to the fine keys of its own region."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale, self.grid = scale, SIDE // scale
        self.q_proj_1, self.ln_q_1 = nn.Linear(16, 16, bias=False), nn.LayerNorm(16)
        self.k_proj_1 = nn.Sequential(nn.Linear(48, 16), nn.GELU(), nn.Linear(16, 16))
        self.v_proj_1 = nn.Sequential(nn.Linear(48, 16), nn.GELU(), nn.Linear(16, 16))
        self.clip_attn = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32))

    def regions(self, x: torch.Tensor) -> Any:
        size, _, width = x.shape
        x = x.reshape(size, self.grid, self.scale, self.grid, self.scale, width)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(size * self.grid**2, self.scale**2, width)

    def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> Any:
        x, several = pair
        coarse = x.reshape(len(x), SIDE, SIDE, -1).permute(0, 3, 1, 2)
        coarse = functional.interpolate(coarse, size=(self.grid, self.grid), mode="bilinear").flatten(2).transpose(1, 2)
        query = self.ln_q_1(self.q_proj_1(coarse)).reshape(-1, 1, 16)
        out = self.clip_attn(query, self.regions(self.k_proj_1(several)), self.regions(self.v_proj_1(several)))[0]
        return self.mlp(out.reshape(len(x), self.grid**2, -1))


class SelectingLlava(LlavaLlamaForCausalLM):
    """MMTok: all features are projected, then those that cover the picture best go on."""

    kept_features = 20

    def encode_images(self, images: torch.Tensor) -> Any:
        features = super().encode_images(images)
        covering = features.norm(dim=-1).topk(self.kept_features, dim=1).indices.sort(dim=1).values
        return features.gather(1, covering.unsqueeze(-1).expand(-1, -1, features.shape[-1]))


class MergingLlava(LlavaLlamaForCausalLM):
    """VScan's first stage: between encoder and projector, tokens not selected are merged into those that are."""

    merged_into = 36

    def encode_images(self, images: torch.Tensor) -> Any:
        features = self.get_model().get_vision_tower()(images)
        order = features.norm(dim=-1).argsort(dim=1, descending=True)
        chosen = features.gather(1, order[:, : self.merged_into, None].expand(-1, -1, features.shape[-1]))
        nearest = torch.cdist(features, chosen).argmin(dim=-1)
        merged = chosen.scatter_add(1, nearest.unsqueeze(-1).expand_as(features), features)
        return self.get_model().mm_projector(merged)


class PruningModel(LlavaLlamaModel):
    """A layer loop of its own: before layer K the positions of least weight are dropped, or only masked (FastV).

    The caches of the layers below K are longer than those above, so each layer makes its own mask.
    """

    prunes_before = 1
    keeps = 30
    drops = True

    def forward(self, input_ids=None, inputs_embeds=None, past_key_values=None, use_cache=None, **kwargs):
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        positions = torch.arange(past, past + hidden.shape[1])[None]
        hidden_columns = getattr(self, "hidden_columns", None)
        for index, layer in enumerate(self.layers):
            if index == self.prunes_before and hidden.shape[1] > 1:
                visual = torch.arange(START, START + self.visual)
                order = hidden[0, visual].norm(dim=-1).argsort(descending=True) + START
                if self.drops:
                    rest = torch.arange(START + self.visual, hidden.shape[1])
                    keep = torch.cat([torch.arange(START), order[: self.keeps].sort().values, rest])
                    hidden, positions = hidden[:, keep], positions[:, keep]
                else:
                    self.hidden_columns = hidden_columns = order[self.keeps :]
            hides = not self.drops and index >= self.prunes_before
            mask = self.mask_of(hidden, past_key_values, index, hidden_columns if hides else None)
            hidden = layer(
                hidden,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=past_key_values,
                use_cache=use_cache,
                position_embeddings=self.rotary_emb(hidden, position_ids=positions),
            )
        return hf.modeling_outputs.BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden), past_key_values=past_key_values
        )

    def mask_of(self, hidden: Any, cache: Any, index: int, hidden_columns: Any) -> Any:
        before = 0 if cache is None else cache.get_seq_length(index)
        length = hidden.shape[1]
        mask = torch.full((length, before + length), float("-inf")).triu(before + 1)[None, None]
        if hidden_columns is not None:
            mask[..., hidden_columns] = float("-inf")
            mask[:, :, torch.arange(length), before + torch.arange(length)] = 0.0
        return mask


class PruningLlava(LlavaLlamaForCausalLM):
    def __init__(self, config: Any, drops: bool, visual: int) -> None:
        super().__init__(config)
        inner = PruningModel(config)
        inner.drops, inner.visual = drops, visual
        self.model = inner


class VScanLlava(MergingLlava):
    """Both stages: merged before the projector, pruned in the middle of the language model."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        inner = PruningModel(config)
        inner.visual, inner.keeps = self.merged_into, 12
        self.model = inner


def prepared(make: Any, tower: Any = WideTower, projector: Any = None) -> Any:
    model = make(language_config(delay_load=True, tower_in_list=False, attn_implementation="eager"))
    model.model.vision_tower = tower()
    if projector is not None:
        model.model.mm_projector = projector
    model.generation_config.pad_token_id = 0
    return model


def ask(model: Any) -> Any:
    return model.generate(ids(2, 5, SENTINEL, 6, 7, 8), images=pixels(1, 3, 8 * SIDE, 8 * SIDE), **GREEDY)


def packed(scale: int) -> Case:
    return Case(
        f"TokenPacker 1/{scale**2}",
        "CircleRadon/TokenPacker llava/model/multimodal_projector/builder.py",
        "LLaVA; the tower gives a pair, the projector reduces",
        lambda: prepared(LlavaLlamaForCausalLM, MultiLevelTower, TokenPacker(scale)),
        ask,
        Truth(5, PATCHES // scale**2, PATCHES, "exact (sequence length - text ids)"),
    )


GROWN = "exact (sequence length - text ids)"
FASTV = "pkunlp-icler/FastV src/FastV/llava-hf/transformers/src/transformers/models/llama/modeling_llama.py"
VSCAN = "Tencent/SelfEvolvingAgent VScan/llava/model/llava_arch.py, modeling_llama_x.py"
CASES = [
    packed(2),
    packed(3),
    packed(4),
    Case(
        "MMTok on LLaVA",
        "Thames-H/26nips-mmtok mmtok/llava/llava_arch_mmtok.py",
        "LLaVA; features are selected after the projector",
        lambda: prepared(SelectingLlava),
        ask,
        Truth(5, 20, PATCHES, GROWN),
    ),
    Case("VScan", VSCAN, "LLaVA; merged before the projector, pruned inside the language model",
         lambda: prepared(VScanLlava), ask, Truth(5, 36, PATCHES, GROWN, kept=12)),
    Case("FastV", FASTV, "LLaVA; positions dropped before a layer of the language model",
         lambda: prepared(lambda config: PruningLlava(config, True, PATCHES)), ask,
         Truth(5, PATCHES, PATCHES, GROWN, kept=30)),
    Case("FastV, mask only", FASTV, "LLaVA; positions are hidden by a mask, not dropped: kept = input, which is said",
         lambda: prepared(lambda config: PruningLlava(config, False, PATCHES)), ask,
         Truth(5, PATCHES, PATCHES, GROWN, kept=PATCHES)),
]  # fmt: skip

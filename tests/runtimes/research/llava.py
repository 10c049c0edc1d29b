"""LLaVA's own repository: a generate that splices features for a sentinel id, then transformers' own by embeddings.

Source: haotian-liu/LLaVA llava/model/llava_arch.py, llava/model/language_model/llava_llama.py,
llava/model/multimodal_encoder/clip_encoder.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, NEW_TOKENS, Case, ClipTower, Truth, ids, language_config, pixels

SENTINEL = -200
SOURCE = "haotian-liu/LLaVA llava/model/llava_arch.py"


class LlavaMetaModel:
    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]  # the other side of the diamond is a transformers model
        tower = ClipTower(delay_load=config.delay_load)
        self.vision_tower = [tower] if config.tower_in_list else tower
        self.mm_projector = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32))
        self.image_newline = nn.Parameter(torch.zeros(32))

    def get_vision_tower(self) -> Any:
        tower = getattr(self, "vision_tower", None)
        return tower[0] if type(tower) is list else tower


class LlavaMetaForCausalLM(ABC):
    @abstractmethod
    def get_model(self) -> Any: ...

    def get_vision_tower(self) -> Any:
        return self.get_model().get_vision_tower()

    def encode_images(self, images: torch.Tensor) -> Any:
        return self.get_model().mm_projector(self.get_model().get_vision_tower()(images))

    def image_features(self, images: Any) -> Any:
        if type(images) is not list and images.ndim != 5:
            return list(self.encode_images(images))
        stacked = torch.cat(list(images), dim=0)
        tiles = torch.split(self.encode_images(stacked), [each.shape[0] for each in images], dim=0)
        return [self.with_newlines(each) for each in tiles]

    def with_newlines(self, tiles: torch.Tensor) -> Any:
        """The base view, then the tiles side by side with one newline feature a row."""
        side = self.get_vision_tower().num_patches_per_side
        base, rest = tiles[0], tiles[1:]
        rows = rest.reshape(len(rest), side, side, -1).transpose(0, 1).flatten(1, 2)
        newline = self.get_model().image_newline.expand(side, 1, -1)
        return torch.cat([base, torch.cat([rows, newline], dim=1).flatten(0, 1)])

    def prepare_inputs_labels_for_multimodal(self, input_ids: Any, attention_mask: Any, images: Any) -> Any:
        if self.get_vision_tower() is None or images is None or input_ids.shape[1] == 1:
            return input_ids, attention_mask, None
        features = self.image_features(images)
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        rows = []
        for row, seen in zip(input_ids, mask):
            row = row[seen]
            cuts = [-1, *torch.where(row == SENTINEL)[0].tolist(), len(row)]
            texts = [row[start + 1 : stop] for start, stop in pairwise(cuts)]
            embedded = torch.split(self.get_model().embed_tokens(torch.cat(texts)), [len(text) for text in texts])
            parts = [embedded[0]]
            for text in embedded[1:]:
                parts += [features.pop(0), text]
            rows.append(torch.cat(parts))
        longest = max(len(row) for row in rows)
        padded = torch.stack([torch.cat([row.new_zeros(longest - len(row), row.shape[1]), row]) for row in rows])
        new_mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return None, None if attention_mask is None else new_mask, padded


class LlavaLlamaModel(LlavaMetaModel, hf.LlamaModel):
    pass


class LlavaLlamaForCausalLM(hf.LlamaForCausalLM, LlavaMetaForCausalLM):
    def __init__(self, config: Any) -> None:
        super(hf.LlamaForCausalLM, self).__init__(config)
        self.model = LlavaLlamaModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_model(self) -> Any:
        return self.model

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, images=None, **kwargs):
        if inputs_embeds is None:
            input_ids, attention_mask, inputs_embeds = self.prepare_inputs_labels_for_multimodal(
                input_ids, attention_mask, images
            )
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
        )

    @torch.no_grad()
    def generate(self, inputs=None, images=None, image_sizes=None, **kwargs):
        attention_mask = kwargs.pop("attention_mask", None)
        if images is not None:
            inputs, attention_mask, inputs_embeds = self.prepare_inputs_labels_for_multimodal(
                inputs, attention_mask, images
            )
        else:
            inputs_embeds = self.get_model().embed_tokens(inputs)
        return super().generate(attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs)


def llava(**changes: Any) -> Any:
    settings = {"delay_load": False, "tower_in_list": False, **changes}
    model = LlavaLlamaForCausalLM(language_config(**settings))
    model.generation_config.pad_token_id = 0
    return model


def one_image(model: Any) -> Any:
    return model.generate(ids(2, 5, SENTINEL, 6, 7, 8), images=pixels(1, 3, 32, 32), **GREEDY)


def tiled(model: Any) -> Any:
    return model.generate(ids(2, 5, SENTINEL, 6, 7, 8), images=[pixels(3, 3, 32, 32)], image_sizes=[(64, 32)], **GREEDY)


def batch_of_two(model: Any) -> Any:
    prompts = torch.tensor([[2, 5, SENTINEL, 6, 7, 8], [0, 0, 2, SENTINEL, 9, 9]])
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    return model.generate(prompts, attention_mask=mask, images=pixels(2, 3, 32, 32), **GREEDY)


GROWN = "exact (sequence length - text ids)"
FLOW = "own generate splices features for id -200, then transformers' generate by embeddings"
CASES = [
    Case("LLaVA-1.5", SOURCE, FLOW, llava, one_image, Truth(5, 16, 16, GROWN)),
    Case(
        "LLaVA-1.5, tower kept in a list",
        SOURCE,
        "as above; the tower is not among the model's registered modules (FSDP)",
        lambda: llava(tower_in_list=True),
        one_image,
        Truth(5, 16, 16, GROWN),
    ),
    Case(
        "LLaVA-1.6, tiles",
        SOURCE,
        "as above; tiles of one image and a learned newline a row",
        llava,
        tiled,
        Truth(5, 16 + 2 * 16 + 4, 3 * 16, GROWN),
    ),
    Case(
        "LLaVA-1.5, two prompts padded",
        SOURCE,
        "as above; padding between the rows is not counted",
        llava,
        batch_of_two,
        Truth(5 + 3, 2 * 16, 2 * 16, "feature rows", output=2 * NEW_TOKENS, images=2, prompts=2),
    ),
]

"""VideoChat2: the user calls encode_img on a video, joins the features with text, then llama_model.generate.

Source: OpenGVLab/Ask-Anything video_chat2/models/videochat_mistra/videochat2_it_hd_mistral.py,
video_chat2/models/videochat2_qformer.py, video_chat2/conversation.py.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Block, Case, Truth, ids, language_config, pixels

FRAMES, QUERIES, EXTRA = 4, 3, 2


class VideoTransformer(nn.Module):
    """UMT: patches of all frames together; gives (clips, frames, patches, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv3d(3, 16, (1, 8, 8), (1, 8, 8))
        self.blocks = nn.ModuleList([Block(16), Block(16)])

    def forward(self, x: torch.Tensor, use_image: bool = False) -> Any:
        clips, _, frames = x.shape[:3]
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x.reshape(clips, frames, -1, x.shape[-1])


class Qformer(nn.Module):
    """Only what is under `bert` is ever called."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = Bert()
        self.cls = None


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(nn.TransformerDecoderLayer(16, 2, 32, batch_first=True) for _ in range(2))

    def forward(self, query_embeds: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        layers: Any = self.encoder.layer
        for layer in layers:
            query_embeds = layer(query_embeds, encoder_hidden_states)
        return query_embeds


class VideoChat2(nn.Module):
    """Not a transformers model, and without a generate."""

    def __init__(self) -> None:
        super().__init__()
        config = language_config()
        self.vision_encoder, self.vision_layernorm = VideoTransformer(), nn.LayerNorm(16)
        self.qformer = Qformer()
        self.query_tokens = nn.Parameter(torch.randn(1, QUERIES, 16))
        self.extra_query_tokens = nn.Parameter(torch.randn(1, EXTRA, 16))
        self.llama_model = hf.LlamaForCausalLM(config).eval()
        self.llama_model.generation_config.pad_token_id = 0
        self.llama_proj = nn.Linear(16, config.hidden_size)

    def encode_img(self, image: torch.Tensor, instruction: str) -> Any:
        frames = image.shape[1]
        embeds = self.vision_encoder(image.permute(0, 2, 1, 3, 4), frames == 1)
        embeds = self.vision_layernorm(embeds.flatten(1, 2))
        queries = torch.cat([self.query_tokens, self.extra_query_tokens], dim=1).expand(len(image), -1, -1)
        found = self.qformer.bert(query_embeds=queries, encoder_hidden_states=embeds)
        return self.llama_proj(found[:, : queries.shape[1]]), instruction


class Chat:
    """Its own helper around the model, which is no module."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def upload_video(self, video: torch.Tensor, img_list: list[Any]) -> None:
        features, _ = self.model.encode_img(video, "Watch the video.")
        img_list.append(features)

    def context(self, img_list: list[Any]) -> Any:
        embed = self.model.llama_model.model.embed_tokens
        parts = [embed(ids(2, 5, 6))]
        for features in img_list:
            parts += [features, embed(ids(7, 8))]
        return torch.cat(parts, dim=1)

    def answer(self, img_list: list[Any], **kwargs: Any) -> Any:
        return self.model.llama_model.generate(inputs_embeds=self.context(img_list), **kwargs)


def ask(model: Any, videos: int = 1) -> Any:
    chat = Chat(model)
    features: list[Any] = []
    for _ in range(videos):
        chat.upload_video(pixels(1, FRAMES, 3, 32, 32), features)
    return chat.answer(features, **GREEDY)


SOURCE = "OpenGVLab/Ask-Anything video_chat2/models/videochat_vicuna/videochat2_it_vicuna.py, conversation.py"
FLOW = "the user calls encode_img (video encoder, Q-Former), then llama_model.generate by embeddings of his own making"
ROWS = "feature rows (call by embeddings)"
CASES = [
    Case("VideoChat2", SOURCE, FLOW, VideoChat2, ask, Truth(5, QUERIES + EXTRA, FRAMES * 16, ROWS, images=FRAMES)),
    Case(
        "VideoChat2, two videos", SOURCE, "as above; each video is encoded by itself before the question", VideoChat2,
        lambda model: ask(model, 2), Truth(7, 2 * (QUERIES + EXTRA), 2 * FRAMES * 16, ROWS, images=FRAMES),
    ),
]  # fmt: skip

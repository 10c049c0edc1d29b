"""BRAVE: several frozen encoders, one MEQ-Former with queries and the prompt, a short prefix for the language model.

Its authors published no code; the paper is arXiv 2404.07204. Source of the
nesting: kyegomez/BRAVE-ViT-Swarm-Transformer brave_torch/main.py (a list of encoders in one module), and LAVIS' blip2
for the generate it is built on.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtimes.research.cases import GREEDY, Case, TimmVit, Truth, ids, language_config, pixels

QUERIES = 6


class MEQFormer(nn.Module):
    """Learned queries and the embedded prompt attend to the features of all encoders, joined in sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, QUERIES, width))
        self.layers = nn.ModuleList(nn.TransformerDecoderLayer(width, 2, 32, batch_first=True) for _ in range(2))

    def forward(self, prompt: torch.Tensor, features: torch.Tensor) -> Any:
        x = torch.cat([self.queries.expand(len(prompt), -1, -1), prompt], dim=1)
        for layer in self.layers:
            x = layer(x, features)
        return x[:, :QUERIES]


class Brave(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = language_config()
        self.vision_encoders = nn.ModuleList([TimmVit(16), TimmVit(24), TimmVit(32, patch=16)])
        self.projections = nn.ModuleList([nn.Linear(16, 32), nn.Linear(24, 32), nn.Linear(32, 32)])
        self.meq_former = MEQFormer(32)
        self.bridge = nn.Linear(32, config.hidden_size)
        self.language_model = hf.LlamaForCausalLM(config).eval()
        self.language_model.generation_config.pad_token_id = 0

    @torch.no_grad()
    def generate(self, samples: dict[str, Any], **kwargs: Any) -> Any:
        image, prompt = samples["image"], samples["input_ids"]
        features = [project(encode(image)) for encode, project in zip(self.vision_encoders, self.projections)]
        embedded = self.language_model.get_input_embeddings()(prompt)
        prefix = self.bridge(self.meq_former(embedded, torch.cat(features, dim=1)))
        return self.language_model.generate(inputs_embeds=torch.cat([prefix, embedded], dim=1), **kwargs)


def ask(model: Any) -> Any:
    return model.generate({"image": pixels(1, 3, 32, 32), "input_ids": ids(2, 5, 6, 7)}, **GREEDY)


CASES = [
    Case(
        "BRAVE",
        "arXiv 2404.07204; kyegomez/BRAVE-ViT-Swarm-Transformer brave_torch/main.py",
        "own generate: three encoders, one MEQ-Former, then the language model's generate by embeddings",
        Brave,
        ask,
        Truth(4, QUERIES, 16 + 16 + 4, "exact (sequence length - ids that were embedded)"),
    )
]

"""What the first metered call of a model pays: finding its parts, once an instance, beside one plain walk over it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from benchmarks.tables import show

ROUNDS = 60
GOAL_MS = 3.0


def run() -> None:
    """A model of the layout of Qwen2.5-VL's default configuration, with narrow layers: well over 1,000 modules."""
    import torch
    import transformers

    from wattvlm.runtimes.transformers.model_facts import facts_of
    from wattvlm.runtimes.transformers.models import ModelMemory
    from wattvlm.runtimes.transformers.on_demand import OnDemand
    from wattvlm.runtimes.transformers.shapes import shape_of

    torch.set_num_threads(1)
    narrow = {"hidden_size": 64, "intermediate_size": 64}
    config = transformers.Qwen2_5_VLConfig(
        vision_config={**narrow, "num_heads": 4, "out_hidden_size": 64},
        text_config={**narrow, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 512},
    )
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    modules = len(list(model.modules()))

    memory = ModelMemory()
    known, _ = memory.recall(model)

    def facts() -> object:
        return OnDemand(model, partial(facts_of, known.layout)).read()

    def shape() -> object:
        return OnDemand(model, partial(shape_of, known.layout)).read()

    works: dict[str, Callable[[], Any]] = {
        "torch's own walk: list(model.named_modules())": lambda: list(model.named_modules()),
        "discovery, at an instance's first call": lambda: ModelMemory().recall(model),
        "the same at each later call": lambda: memory.recall(model),
        "parameters and other facts, once, after the first call": facts,
        "shapes for FLOPs, once, after the first call": shape,
    }
    spent_ns: dict[str, list[int]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            start_ns = time.thread_time_ns()
            work()
            spent_ns[name].append(time.thread_time_ns() - start_ns)
    walk_ns = median(next(iter(spent_ns.values())))
    rows = [
        (name, f"{median(each) / 1e6 / modules * 1000:.3f} ms", f"{median(each) / walk_ns:.2f}")
        for name, each in spent_ns.items()
    ]
    show(
        f"Finding a model's parts ({modules:,} modules)",
        ("work", "per 1,000 modules, median", "of the walk"),
        rows,
        f"Thread CPU time, {ROUNDS} interleaved rounds. Goal: discovery under {GOAL_MS:g} ms per 1,000 modules.",
    )

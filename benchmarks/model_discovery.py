"""What the first metered call of a model pays: finding its parts, once an instance, beside one plain walk over it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.tables import show

ROUNDS = 60
GOAL_MS = 3.0


def run() -> None:
    """A model of Qwen2.5-VL-7B's published layout on the meta device, which has well over 1,000 modules."""
    import torch
    import transformers

    from wattvlm.runtimes.transformers.models import ModelMemory
    from wattvlm.runtimes.transformers.shapes import ShapeOnDemand

    torch.set_num_threads(1)
    with torch.device("meta"):
        model = transformers.Qwen2_5_VLForConditionalGeneration(transformers.Qwen2_5_VLConfig())
    modules = len(list(model.modules()))

    memory = ModelMemory()
    known, _ = memory.recall(model)

    def shape() -> object:
        return ShapeOnDemand(model, known.layout).read()

    works: dict[str, Callable[[], Any]] = {
        "torch's own walk: list(model.named_modules())": lambda: list(model.named_modules()),
        "discovery, at an instance's first call": lambda: ModelMemory().recall(model),
        "the same at each later call": lambda: memory.recall(model),
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

"""What a metered call costs: thread CPU time of `generate` with and without the meter, in interleaved pairs.

After each switch of the meter one call is made and thrown away in both arms: opening a meter waits for a moment, and a
call after any wait finds cold caches, which costs a millisecond with or without a meter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any

from benchmarks.tables import show, standard_error_of_median

PAIRS = 400
FULL_SIZE_CALLS = 5


def run() -> None:
    """The shipped model, the cost of one decode step, and a random-weight model of SmolVLM-256M's published sizes."""
    import torch

    torch.set_num_threads(1)
    show(
        "A metered call",
        ("model", "without", "the meter adds, median ± s.e.", "relative", "goal: at most"),
        [_shipped(), _step(), _smolvlm()],
        f"Thread CPU time, one thread, interleaved pairs in random order ({PAIRS} for the shipped model).",
    )


def _paired(call: Callable[[], Any], pairs: int) -> tuple[list[float], list[float]]:
    """Thread CPU time in ns without and with the meter, in pairs whose order alternates."""
    from wattvlm import meter

    plain: list[float] = []
    metered: list[float] = []
    for pair in range(pairs):
        for with_meter in (False, True) if pair % 2 else (True, False):
            with meter() if with_meter else nullcontext():
                call()
                (metered if with_meter else plain).append(_thread_ns(call))
    return plain, metered


def _thread_ns(call: Callable[[], Any]) -> float:
    start = time.thread_time_ns()
    call()
    return float(time.thread_time_ns() - start)


def _shipped() -> tuple[str, str, str, str, str]:
    call = shipped_call(max_new_tokens=8)
    plain, metered = _paired(call, PAIRS)
    return _row("the shipped model, one answer", plain, metered, "250 µs")


def _step() -> tuple[str, str, str, str, str]:
    """Hook time of a decode step: the slope of the added time between short and long answers."""
    steps = (4, 104)
    added: list[list[float]] = []
    plain_ns: list[float] = []
    for count in steps:
        plain, metered = _paired(shipped_call(max_new_tokens=count, min_new_tokens=count), 40)
        added.append([with_ns - without_ns for with_ns, without_ns in zip(metered, plain, strict=True)])
        plain_ns.append(median(plain))
    difference = steps[1] - steps[0]
    per_step_us = (median(added[1]) - median(added[0])) / difference / 1e3
    error_us = (standard_error_of_median(added[0]) ** 2 + standard_error_of_median(added[1]) ** 2) ** 0.5
    step_us = (plain_ns[1] - plain_ns[0]) / difference / 1e3
    return (
        "one decode step (slope over 100 more steps)",
        f"{step_us:.0f} µs",
        f"{per_step_us:.1f} ± {error_us / difference / 1e3:.1f} µs",
        f"{100 * per_step_us / step_us:.2f} %",
        "20 µs",
    )


def _smolvlm() -> tuple[str, str, str, str, str]:
    """Hooks cost by the module and not by its width: measured on a narrow model of the same depth, where the noise is
    small, and divided by the time of the full one."""
    plain, metered = _paired(_smolvlm_call(vision_width=24, text_width=18), PAIRS // 4)
    added = [with_ns - without_ns for with_ns, without_ns in zip(metered, plain, strict=True)]
    full = _smolvlm_call(vision_width=768, text_width=576)
    full()
    full_ns = median(_thread_ns(full) for _ in range(FULL_SIZE_CALLS))
    error_ns = standard_error_of_median(added)
    return (
        "random weights, SmolVLM-256M's sizes, 16 tokens",
        f"{full_ns / 1e6:.0f} ms",
        f"{median(added) / 1e3:.0f} ± {error_ns / 1e3:.0f} µs",
        f"{100 * median(added) / full_ns:.3f} ± {100 * error_ns / full_ns:.3f} %",
        "0.3 %",
    )


def _row(name: str, plain: list[float], metered: list[float], goal: str) -> tuple[str, str, str, str, str]:
    added = [with_ns - without_ns for with_ns, without_ns in zip(metered, plain, strict=True)]
    relative = [difference / without_ns for difference, without_ns in zip(added, plain, strict=True)]
    return (
        name,
        f"{median(plain) / 1e6:.2f} ms",
        f"{median(added) / 1e3:.0f} ± {standard_error_of_median(added) / 1e3:.0f} µs",
        f"{100 * median(relative):.2f} ± {100 * standard_error_of_median(relative):.2f} %",
        goal,
    )


def shipped_call(**options: int) -> Callable[[], Any]:
    """The shipped model's `generate` on one prepared image and question."""
    from transformers import AutoModelForImageTextToText, AutoProcessor, logging

    from wattvlm.demo import model_path
    from wattvlm.demo.questions import QUESTIONS, held_out, prompt

    logging.disable_progress_bar()
    processor = AutoProcessor.from_pretrained(model_path())
    model = AutoModelForImageTextToText.from_pretrained(model_path()).eval()
    inputs = processor(images=held_out().pictures()[:1], text=[prompt(QUESTIONS[0])], return_tensors="pt")
    return lambda: model.generate(**inputs, do_sample=False, **options)


def _smolvlm_call(vision_width: int, text_width: int) -> Callable[[], Any]:
    """SmolVLM-256M-Instruct's depth and tokens: SigLIP of 12 layers at 512 px, Llama of 30, 64 visual tokens a tile.

    Its widths are 768 and 576.
    """
    import torch
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        vision_config={
            "hidden_size": vision_width, "intermediate_size": 4 * vision_width, "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 512, "patch_size": 16,
        },
        text_config={
            "model_type": "llama", "hidden_size": text_width, "intermediate_size": 8 * text_width // 3,
            "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49280,
        },
        image_token_id=49190,
        scale_factor=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = SmolVLMForConditionalGeneration(config).eval()
    visual = [49190] * 64
    ids = torch.tensor([[1, 2, 3, *visual, 4, 5, 6]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.rand(1, 1, 3, 512, 512),
        "pixel_attention_mask": torch.ones(1, 1, 512, 512, dtype=torch.bool),
    }
    return lambda: model.generate(**inputs, do_sample=False, max_new_tokens=16, min_new_tokens=16)


if __name__ == "__main__":
    run()

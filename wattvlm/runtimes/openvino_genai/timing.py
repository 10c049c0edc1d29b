"""The times in a pipeline's metrics: moments of tokens in ms of the monotonic clock, lengths in microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wattvlm.units import NS_PER_MS

NS_PER_US = NS_PER_MS // 1000


@dataclass(frozen=True, slots=True)
class Timing:
    """vision_ns: encoding the images, resizing them included; 0 without images. prepare_ns: that, the chat template,
    tokens and their embeddings. prefill_ns: the language model on the prompt. first_ns, last_ns: moments of tokens.
    """

    vision_ns: int
    prepare_ns: int
    prefill_ns: int
    first_ns: int
    last_ns: int
    steps: int


def timing_of(metrics: Any) -> Timing | None:
    """The times of one call, or None where the pipeline did not take them."""
    raw, vision = metrics.raw_metrics, metrics.vlm_raw_metrics
    moments, steps = list(raw.m_new_token_times), list(raw.token_infer_durations)
    prepare_us = sum(vision.prepare_embeddings_durations)
    if not moments or not steps or prepare_us < 0 or steps[0] < 0:
        return None
    sampling = list(raw.sampling_durations)
    prefill_us = steps[0] + (sampling[0] if sampling and sampling[0] > 0 else 0.0)
    images = sum(vision.per_image_slice_counts)
    vision_us = sum(vision.vision_encoding_durations) if images else 0.0
    return Timing(
        vision_ns=round(max(vision_us, 0.0) * NS_PER_US),
        prepare_ns=round(prepare_us * NS_PER_US),
        prefill_ns=round(prefill_us * NS_PER_US),
        first_ns=round(moments[0] * NS_PER_MS),
        last_ns=round(moments[-1] * NS_PER_MS),
        steps=len(moments),
    )

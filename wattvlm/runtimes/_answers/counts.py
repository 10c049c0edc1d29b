"""Tokens and times of one answer, from what the server said of it; what it did not say is absent, never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wattvlm.runtimes._answers.asked import Asked
from wattvlm.runtimes._answers.events import mapping
from wattvlm.runtimes._answers.image_tokens import ModelFiles, image_tokens
from wattvlm.units import NS_PER_MS


@dataclass(frozen=True, slots=True)
class Count:
    """One count of a call: a field of TokenCounts or images or batch_size, and how it was counted."""

    name: str
    value: int
    how: str


@dataclass(frozen=True, slots=True)
class ServerTimes:
    """The server's own times. prefill_ns: from the start of the prompt to the first token; decode_ns: the rest."""

    prefill_ns: int
    decode_ns: int
    source: str


def times_of(answer: Mapping[str, Any]) -> ServerTimes | None:
    """llama.cpp's `timings` or vLLM's `metrics`, where they stand in an answer."""
    timings = mapping(answer.get("timings"))
    prompt_ms, predicted_ms = _number(timings, "prompt_ms"), _number(timings, "predicted_ms")
    if prompt_ms is not None and predicted_ms is not None:
        return ServerTimes(round(prompt_ms * NS_PER_MS), round(predicted_ms * NS_PER_MS), "timings of the server")
    metrics = mapping(answer.get("metrics"))
    first_ms, decode_ms = _number(metrics, "time_to_first_token_ms"), _number(metrics, "generation_time_ms")
    if first_ms is not None and decode_ms is not None:
        queue_ms = _number(metrics, "queue_time_ms") or 0.0
        prefill_ns = round(max(first_ms - queue_ms, 0.0) * NS_PER_MS)
        return ServerTimes(prefill_ns, round(decode_ms * NS_PER_MS), "metrics of the server")
    return None


def counts_of(asked: Asked | None, answer: Mapping[str, Any], files: ModelFiles | None) -> Iterator[Count]:
    """Every count that can be known. files: the model's files, to compute image tokens that the server does not say."""
    usage, timings = mapping(answer.get("usage")), mapping(answer.get("timings"))
    prompt = _whole(usage, "prompt_tokens", "input_tokens")
    cached = _whole(_details(usage), "cached_tokens")
    output = _whole(usage, "completion_tokens", "output_tokens")
    if prompt is None and (computed := _whole(timings, "prompt_n")) is not None:
        cached = _whole(timings, "cache_n") or 0
        prompt = computed + cached
    source = "usage of the server" if usage else "timings of the server"
    if output is None:
        output = _whole(timings, "predicted_n")
    if output is not None:
        yield Count("output", output, source)
        if asked is not None and output > asked.prompts:
            how = "output tokens less the first; drafts of the server are not seen"
            yield Count("decode_steps", output // asked.prompts - 1, how)
    reasoning = _whole(mapping(usage.get("completion_tokens_details") or usage.get("output_tokens_details")),
                       "reasoning_tokens")  # fmt: skip
    if reasoning is not None:
        yield Count("reasoning_output", reasoning, source)
    if cached is not None:
        yield Count("cached_input", cached, source)
    if asked is not None:
        yield Count("images", len(asked.sizes), "image parts of the request")
        yield Count("batch_size", asked.prompts, "prompts of the request")
    yield from _input_counts(asked, usage, prompt, source, files)


def _input_counts(
    asked: Asked | None, usage: Mapping[str, Any], prompt: int | None, source: str, files: ModelFiles | None
) -> Iterator[Count]:
    visual = _visual(asked, usage, files)
    if visual is None or (prompt is not None and visual.value > prompt):
        return
    yield visual
    audio = _audio(usage)
    if audio is not None:
        yield Count("audio_input", audio, source)
    if prompt is not None and prompt >= visual.value + (audio or 0):
        taken = " and ".join(kind for kind, count in (("visual", visual.value), ("audio", audio)) if count)
        how = f"prompt tokens ({source}) less {taken} ones" if taken else source
        yield Count("text_input", prompt - visual.value - (audio or 0), how)


def _audio(usage: Mapping[str, Any]) -> int | None:
    details = _details(usage)
    told = _whole(mapping(details.get("multimodal_tokens")), "audio")
    return told if told is not None else _whole(details, "audio_tokens")


def _visual(asked: Asked | None, usage: Mapping[str, Any], files: ModelFiles | None) -> Count | None:
    details = _details(usage)
    said = mapping(details.get("multimodal_tokens"))
    told = [_whole(said, name) for name in ("image", "video")] + [_whole(details, "image_tokens")]
    known = [each for each in told if each is not None]
    if known:
        return Count("visual_input", sum(known), "usage of the server")
    if asked is None or asked.has_video:
        return None
    if not asked.sizes:
        return Count("visual_input", 0, "no image in the request")
    each = [None if files is None else image_tokens(files, size) for size in asked.sizes]
    computed = [tokens for tokens in each if tokens is not None]
    if files is None or len(computed) < len(each):
        return None
    return Count("visual_input", sum(computed), f"computed from the images' sizes and {files.where}, not observed")


def _details(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))


def _whole(said: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = said.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _number(said: Mapping[str, Any], name: str) -> float | None:
    value = said.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None

"""What a call was given: its arguments by name, and what they say about its prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from wattvlm.runtimes.transformers.inputs import generation_setting, host_rows, token_ids
from wattvlm.runtimes.transformers.loose import class_of, is_sequence, is_tensor

_PLAIN = (str, int, float, bool)


def by_name(method: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call of a method, less self, by their names."""
    return {**dict(zip(parameter_names(method), args)), **kwargs} if args else kwargs


def without_contents(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ids and masks as they are, of other tensors the shape, of sequences the length: nothing of the user's stays."""
    return {
        name: kept for name, value in given.items() if (kept := _without_content(value)) is not None or value is None
    }


def _without_content(value: Any) -> Any:
    if is_tensor(value):
        return value if len(value.shape) == 2 and not value.dtype.is_floating_point else value.to("meta")
    if is_sequence(value):
        return [None] * len(value)
    return value if isinstance(value, _PLAIN) else None


def parameter_names(method: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the positional parameters after self."""
    try:
        return tuple(inspect.signature(method).parameters)[1:]
    except (TypeError, ValueError):
        return ()


def forward_names(model: Any) -> tuple[str, ...]:
    return parameter_names(class_of(model).forward)


def cached_length(given: Mapping[str, Any]) -> int:
    """Positions already in the cache that the caller gives; a cache that would have to ask the device is not asked."""
    cache = given.get("past_key_values")
    length_of = getattr(cache, "get_seq_length", None)
    if length_of is None:
        keys = first_tensor(cache)  # tuples of (prompts, heads, positions, width)
        return int(keys.shape[2]) if is_tensor(keys) and len(keys.shape) == 4 else 0
    length = length_of() if callable(length_of) else 0
    return length if isinstance(length, int) else 0


def first_tensor(cache: Any) -> Any:
    """What tells one cache from another: the object itself, or the first tensor in nested tuples."""
    while is_sequence(cache) and cache:
        cache = cache[0]
    return cache


def prompt_length(model: Any, given: Mapping[str, Any]) -> int:
    """Ids at the head of the returned sequences that were not generated."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        start = given.get("decoder_input_ids")
        if start is None and getattr(model, "main_input_name", "input_ids") != "input_ids":
            start = given.get("input_ids")  # generate hands them to the decoder where the encoder reads pixels
        if not is_tensor(start) or len(start.shape) != 2:
            return 1
        first = host_rows(start[:1, :1])[0][0]
        is_prefixed = first != generation_setting(given, model, "decoder_start_token_id")
        return int(start.shape[1]) + int(is_prefixed)
    ids = token_ids(given)
    if ids is not None:
        return int(ids.shape[1])
    return 0 if given.get("inputs_embeds") is not None else 1

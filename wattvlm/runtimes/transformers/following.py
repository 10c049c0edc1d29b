"""What is read off the modules that a call runs through, around each module's own call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wattvlm.runtimes.transformers.calls import ObservedCall
from wattvlm.runtimes.transformers.discovery import Part
from wattvlm.runtimes.transformers.hooks import vision_ends, vision_starts
from wattvlm.runtimes.transformers.inputs import given_features, language_length, result_length
from wattvlm.runtimes.transformers.loose import is_tensor
from wattvlm.runtimes.transformers.models import Piece

Method = Callable[..., Any]
OnFault = Callable[[ObservedCall, Exception], None]


def run_module(call: ObservedCall, method: Method, module: Any, args: Any, kwargs: Any, on_fault: OnFault) -> Any:
    """A model's call inside an observed call, before its first logits: the call itself, and what it shows."""
    key, known = id(module), call.known
    part = known.called.get(key)
    if part is not None:
        return _run_part(call, part, method, module, args, kwargs, on_fault)
    if key not in known.on_path:
        return method(module, *args, **kwargs)
    is_outermost = not call.forward_depth
    if is_outermost:
        forward_starts(call, args, kwargs, on_fault)
    try:
        if key == known.language_id:
            return run_language_model(call, method, module, args, kwargs, on_fault)
        return method(module, *args, **kwargs)
    finally:
        if is_outermost:
            _forward_ends(call, on_fault)


def forward_starts(call: ObservedCall, args: Any, kwargs: Mapping[str, Any], on_fault: OnFault) -> None:
    """The model, or what of it holds the language model, is called with these arguments."""
    try:
        ids = kwargs.get("input_ids", args[0] if args else None)
        shape = (int(ids.shape[0]), int(ids.shape[1])) if is_tensor(ids) and len(ids.shape) == 2 else None
        rows, images = given_features(kwargs.get("mm_encoder_outputs"))
        call.forward_starts(rows, images, shape)
    except Exception as error:
        on_fault(call, error)


def _forward_ends(call: ObservedCall, on_fault: OnFault) -> None:
    try:
        call.forward_ends()
    except Exception as error:
        on_fault(call, error)


def _run_part(
    call: ObservedCall, part: Part | Piece, method: Method, module: Any, args: Any, kwargs: Any, on_fault: OnFault
) -> Any:
    """A part of the vision side that is a model of its own."""
    try:
        vision_starts(call, part, (*args, *kwargs.values()))
    except Exception as error:
        on_fault(call, error)
    result = method(module, *args, **kwargs)
    try:
        vision_ends(call, part, result)
    except Exception as error:
        on_fault(call, error)
    return result


def run_language_model(
    call: ObservedCall, method: Method, module: Any, args: Any, kwargs: Any, on_fault: OnFault
) -> Any:
    """Positions go in and positions come out, fewer if some were pruned on the way."""
    try:
        length = language_length(args, kwargs)
        if length is not None:
            call.language_starts(length)
    except Exception as error:
        on_fault(call, error)
    result = method(module, *args, **kwargs)
    try:
        left = result_length(result)
        if left is not None:
            call.language_ends(left)
    except Exception as error:
        on_fault(call, error)
    return result

"""Module hooks for the part of a call before its first logits.

A hook that torch.compile traces does nothing there: it must neither break the user's graph nor be in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from wattvlm.runtimes.transformers.calls import ObservedCall
from wattvlm.runtimes.transformers.discovery import Part
from wattvlm.runtimes.transformers.inputs import feature_rows
from wattvlm.runtimes.transformers.loose import entries_of, is_tensor

current_call: ContextVar[ObservedCall | None] = ContextVar("wattvlm_call", default=None)
"""The call that the running code belongs to. Threads have contexts of their own, so their calls stay apart."""

OnFault = Callable[[ObservedCall, Exception], None]


def watch_modules(call: ObservedCall, on_fault: OnFault) -> None:
    """Hook what does not tell of its calls itself: projectors, the first and the last block; for this call only."""
    from torch.compiler import is_compiling

    parts = call.parts
    if parts is None:
        return

    def ours() -> bool:
        """Another thread may run the same model meanwhile."""
        return not is_compiling() and current_call.get() is call

    layout = call.known.layout
    compiled = any(_is_compiled(parts.modules[path]) for path in layout.path_to_language)
    if compiled and call.is_bare:
        return
    for part in parts.hooked:
        module = parts.modules[part.path]
        starts, ends = _part_hooks(call, part, ours, on_fault)
        if part.encodes or not layout.has_encoder:
            call.hooks.append(module.register_forward_pre_hook(starts))
        call.hooks.append(module.register_forward_hook(ends))
    inner = layout.inner_projector
    if inner is not None:
        hook = _inner_hook(call, inner, ours, on_fault)
        call.hooks.append(parts.modules[inner].register_forward_hook(hook))
    if parts.first_block is not None and not compiled:
        first = _block_hook(call.language_starts, call, ours, on_fault)
        call.hooks.append(parts.first_block.register_forward_pre_hook(first, with_kwargs=True))
        if parts.last_block is not parts.first_block:
            last = _block_hook(call.last_block_starts, call, ours, on_fault)
            call.hooks.append(parts.last_block.register_forward_pre_hook(last, with_kwargs=True))


def _is_compiled(module: Any) -> bool:
    """Whether torch.compile runs it: its inside is one graph, or frames in which hooks would be compiled too."""
    held = entries_of(module)
    compiled_forward = hasattr(held.get("forward"), "_torchdynamo_orig_callable")
    return compiled_forward or held.get("_compiled_call_impl") is not None or "_orig_mod" in module._modules


def _part_hooks(
    call: ObservedCall, part: Part, ours: Callable[[], bool], on_fault: OnFault
) -> tuple[Callable[..., None], Callable[..., None]]:
    def starts(module: Any, args: Any) -> None:
        if ours():
            try:
                call.part_starts(part.encodes)
            except Exception as error:
                on_fault(call, error)

    def ends(module: Any, args: Any, output: Any) -> None:
        if ours():
            try:
                call.part_ends(part.path, feature_rows(output), part.encodes)
            except Exception as error:
                on_fault(call, error)

    return starts, ends


def _inner_hook(
    call: ObservedCall, path: str, ours: Callable[[], bool], on_fault: OnFault
) -> Callable[[Any, Any, Any], None]:
    """A projector inside the encoder: the encoder's own rows go into it."""

    def ends(module: Any, args: Any, output: Any) -> None:
        if ours():
            try:
                call.encoder_gave(feature_rows(args[0]) if args else None)
                call.part_ends(path, feature_rows(output))
            except Exception as error:
                on_fault(call, error)

    return ends


def _block_hook(
    tell: Callable[[int], None], call: ObservedCall, ours: Callable[[], bool], on_fault: OnFault
) -> Callable[..., None]:
    def starts(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if ours():
            try:
                hidden = args[0] if args else kwargs.get("hidden_states")
                if is_tensor(hidden) and len(hidden.shape) > 1:
                    tell(int(hidden.shape[-2]))
            except Exception as error:
                on_fault(call, error)

    return starts

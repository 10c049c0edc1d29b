"""Module hooks for the part of a call before its first logits.

A hook that torch.compile traces does nothing there: it must neither break the user's graph nor be in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from wattvlm.runtimes.transformers.calls import ObservedCall
from wattvlm.runtimes.transformers.discovery import Part
from wattvlm.runtimes.transformers.inputs import feature_rows, pictures_in, seen_by
from wattvlm.runtimes.transformers.loose import is_tensor
from wattvlm.runtimes.transformers.models import Piece

current_call: ContextVar[ObservedCall | None] = ContextVar("wattvlm_call", default=None)
"""The call that the running code belongs to. Threads have contexts of their own, so their calls stay apart."""

OnFault = Callable[[ObservedCall, Exception], None]


def watch_modules(
    call: ObservedCall, modules: Sequence[Any], is_compiling: Callable[[], bool], on_fault: OnFault
) -> None:
    """Hook what does not tell of its calls itself, for this call only.

    modules: at the places of the call's model. is_compiling: whether torch.compile is tracing the caller.
    """

    def ours() -> bool:
        """Another thread may run the same model meanwhile."""
        return not is_compiling() and current_call.get() is call

    known, hooks = call.known, call.hooks
    compiled = any(id(module) in known.on_path and _is_compiled(module) for module in modules)
    if compiled and call.is_bare:
        return
    for place, part in known.hooked:
        starts, ends = _part_hooks(call, part, ours, on_fault)
        hooks.append(modules[place].register_forward_pre_hook(starts))
        hooks.append(modules[place].register_forward_hook(ends))
    if known.inner_projector is not None:
        inner = _inner_hook(call, known.places[known.inner_projector].path, ours, on_fault)
        hooks.append(modules[known.inner_projector].register_forward_hook(inner))
    if known.token_embedding is not None and not compiled:
        embeds = _embedding_hook(call, ours, on_fault)
        hooks.append(modules[known.token_embedding].register_forward_pre_hook(embeds))
    if known.blocks is not None and not compiled:
        blocks = modules[known.blocks]
        tells_itself = known.language_id is not None
        first = _block_hook(call, None if tells_itself else call.language_starts, ours, on_fault)
        hooks.append(blocks[0].register_forward_pre_hook(first, with_kwargs=True))
        if len(blocks) > 1:
            last = _block_hook(call, None if tells_itself else call.language_ends, ours, on_fault, is_last=True)
            hooks.append(blocks[len(blocks) - 1].register_forward_pre_hook(last, with_kwargs=True))


def _is_compiled(module: Any) -> bool:
    """Whether torch.compile runs it: its inside is one graph, or frames in which hooks would be compiled too."""
    held = module.__dict__
    compiled_forward = hasattr(held.get("forward"), "_torchdynamo_orig_callable")
    return compiled_forward or held.get("_compiled_call_impl") is not None or "_orig_mod" in module._modules


def _part_hooks(
    call: ObservedCall, part: Part | Piece, ours: Callable[[], bool], on_fault: OnFault
) -> tuple[Callable[..., None], Callable[..., None]]:
    def starts(module: Any, args: Any) -> None:
        if ours():
            try:
                vision_starts(call, part, args)
            except Exception as error:
                on_fault(call, error)

    def ends(module: Any, args: Any, output: Any) -> None:
        if ours():
            try:
                vision_ends(call, part, output)
            except Exception as error:
                on_fault(call, error)

    return starts, ends


def vision_starts(call: ObservedCall, part: Part | Piece, given: Iterable[Any]) -> None:
    """A part of the vision side, or a piece of one, is about to run on this."""
    if isinstance(part, Piece):
        call.piece_starts(part)
        return
    call.part_starts(part.encodes)
    shown = next((rows for each in given if (rows := pictures_in(each)) is not None), None) if part.encodes else None
    if shown is not None:
        call.shown[part.path] = call.shown.get(part.path, 0) + shown


def vision_ends(call: ObservedCall, part: Part | Piece, output: Any) -> None:
    """It has given this."""
    if isinstance(part, Piece):
        call.piece_ends(part, feature_rows(output))
    else:
        call.part_ends(part.path, feature_rows(output), part.encodes)


def _inner_hook(
    call: ObservedCall, path: str, ours: Callable[[], bool], on_fault: OnFault
) -> Callable[[Any, Any, Any], None]:
    """A projector inside the encoder: the encoder's own rows go into it."""

    def ends(module: Any, args: Any, output: Any) -> None:
        if ours():
            try:
                call.encoder_gave(feature_rows(args[0]) if args else None)
                call.part_gave(path, feature_rows(output))
            except Exception as error:
                on_fault(call, error)

    return ends


def _embedding_hook(
    call: ObservedCall, ours: Callable[[], bool], on_fault: OnFault
) -> Callable[[Any, Sequence[Any]], None]:
    def starts(module: Any, args: Sequence[Any]) -> None:
        if ours():
            try:
                if args and is_tensor(args[0]):
                    call.embeds(args[0])
            except Exception as error:
                on_fault(call, error)

    return starts


def _block_hook(
    call: ObservedCall,
    tell: Callable[[int], None] | None,
    ours: Callable[[], bool],
    on_fault: OnFault,
    *,
    is_last: bool = False,
) -> Callable[..., None]:
    """tell: what wants to know the number of positions, where the language model does not tell of it itself."""

    def starts(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if ours():
            try:
                hidden = args[0] if args else kwargs.get("hidden_states")
                if tell is not None and is_tensor(hidden) and len(hidden.shape) > 1:
                    tell(int(hidden.shape[-2]))
                _mask_enters(call, kwargs.get("attention_mask", args[1] if len(args) > 1 else None), is_last)
            except Exception as error:
                on_fault(call, error)

    return starts


def _mask_enters(call: ObservedCall, mask: Any, is_last: bool) -> None:
    """Of the mask of the first and of the last block, if it is another, what the last position may see."""
    if not is_last:
        call.first_mask = mask
        call.first_row = seen_by(0, mask)
    elif is_tensor(mask) and mask is not call.first_mask:
        first = seen_by(-1, call.first_mask)
        last = seen_by(-1, mask)
        call.masks = [each for each in (first, last) if each is not None]
        if first is None and last is not None:
            call.masks = [last[:, :0], last]
    if is_last:
        call.first_mask = None

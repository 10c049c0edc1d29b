"""The preprocess phase: processors and image processors at work, on the host, before the call that uses the result."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from wattvlm.trace import PREPROCESS, Mark, MarkKind, MarkSink

_inside: ContextVar[bool] = ContextVar("wattvlm_preprocess", default=False)


def wrap_processor(
    method: Callable[..., Any],
    sink: MarkSink,
    note: Callable[[Any], None],
    does_work: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Callable[..., Any]:
    """A processor's method that marks one phase; a processor inside another is part of it.

    note: is given the processor. does_work: whether a call with these keyword arguments preprocesses at all; None is
    always.
    """

    def mark(kind: MarkKind) -> None:
        sink(Mark(time.monotonic_ns(), kind, 0, PREPROCESS, threading.get_ident()))

    @functools.wraps(method)
    def process(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        if _inside.get() or (does_work is not None and not does_work(kwargs)):
            return method(self_, *args, **kwargs)
        token = _inside.set(True)
        note(self_)
        mark("phase_start")
        try:
            return method(self_, *args, **kwargs)
        finally:
            mark("phase_end")
            _inside.reset(token)

    return process


def template_does_work(kwargs: Mapping[str, Any]) -> bool:
    """apply_chat_template prepares inputs only when it tokenizes."""
    return bool(kwargs.get("tokenize", False))

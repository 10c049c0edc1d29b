"""Keeping torch.compile off our own code.

Compiling runs every Python frame that it meets through the compiler. Ours are to run as they are: neither counted among
the user's frames nor a reason to break the user's graph. Where our code is traced inside a graph it does nothing.

One price is left: a graph that is first compiled while a meter is open is guarded by the class's __call__ and compiled
once more after the last meter has closed. A graph compiled before is never compiled again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from wattvlm.runtimes.transformers.loose import entries_of
from wattvlm.trace import Mark

_PACKAGE = "wattvlm.runtimes"


def hide_own_frames(skip_code: Callable[[CodeType], object]) -> None:
    """Tell the compiler, by torch's own `skip_code`, to let each function of the runtimes run by itself."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGE):
            for code in _codes_of(module, name):
                skip_code(code)
    for code in _codes_of(Mark, Mark.__module__):
        skip_code(code)


def _codes_of(owner: Any, module_name: str) -> Iterator[CodeType]:
    for value in list(entries_of(owner).values()):
        inner = getattr(value, "fget", None) or value
        if isinstance(inner, FunctionType) and inner.__module__ == module_name:
            yield from _with_nested(inner.__code__)
        elif isinstance(inner, type) and inner.__module__ == module_name:
            yield from _codes_of(inner, module_name)


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)

"""Keeping torch.compile off our own code.

Compiling runs every Python frame that it meets through the compiler. Ours are to run as they are: neither counted among
the user's frames nor a reason to break the user's graph. Where our code is traced inside a graph it does nothing.

A graph is guarded by the classes that its modules have while it is traced, so the wraps that it would run through are
set aside meanwhile: it is not compiled again when the last meter closes. What another thread calls in that time is
followed without the calls of its modules. torch._dynamo.reset() forgets that it has to tell us: graphs that are
compiled in a block after it are compiled once more after the block.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from wattvlm.runtimes._patching import Patches
from wattvlm.runtimes.transformers.entries import IS_ENTRY
from wattvlm.runtimes.transformers.loose import entries_of
from wattvlm.runtimes.transformers.models import SEES_CALLS
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


class CompilerWatch:
    """Sets the wraps of methods that the compiler could trace aside for as long as it compiles.

    compiler: torch._dynamo's handler of callbacks, or None in a version that has none.
    """

    def __init__(self, compiler: Any, patches: Patches) -> None:
        self._compiler = compiler
        self._patches = patches
        if compiler is not None:
            compiler.register_start_callback(self._starts)
            compiler.register_end_callback(self._ends)

    def stop(self) -> None:
        for callbacks, ours in (("start_callbacks", self._starts), ("end_callbacks", self._ends)):
            known: list[Any] = getattr(self._compiler, callbacks, [])
            if ours in known:
                known.remove(ours)

    def _starts(self, *_: Any) -> None:
        self._patches.set_aside(lambda value: hasattr(value, SEES_CALLS) or hasattr(value, IS_ENTRY))

    def _ends(self, *_: Any) -> None:
        self._patches.replace_again()


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

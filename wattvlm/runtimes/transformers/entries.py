"""Which methods of a model a user calls to use it: chat, predict_action, encode_img, whatever they are named.

Such a method is a public one that the frameworks below the class do not know, in a class that is not theirs. What it
does before it calls generate, as encoding the image, belongs to the same call.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

IS_ENTRY = "wattvlm_is_entry"
"""Attribute of a method that is wrapped as an entry already: classes share mixins."""

_FRAMEWORKS = frozenset(("torch", "transformers", "peft", "accelerate", "wattvlm")) | sys.stdlib_module_names


def entries_in(cls: type, module_class: type) -> Iterator[tuple[type, str, Callable[..., Any]]]:
    """(owner, name, method) of a model class's entries: its own, and those of mixins that are no modules themselves."""
    if _is_framework(cls):
        return
    known: set[str] = set()
    for base in cls.__mro__:
        if _is_framework(base):
            known.update(vars(base))
    mixins = [base for base in cls.__mro__[1:] if not _is_framework(base) and not issubclass(base, module_class)]
    for owner in (cls, *mixins):
        for name, method in list(vars(owner).items()):
            if name.startswith("_") or name in known or not isinstance(method, FunctionType):
                continue
            if hasattr(method, IS_ENTRY) or (name == "generate" and owner is cls):
                continue
            if not (inspect.isgeneratorfunction(method) or inspect.iscoroutinefunction(method)):
                yield owner, name, method


def among_globals_of(method: Callable[..., Any], wrap: Callable[..., Any]) -> Callable[..., Any]:
    """The wrap with the globals of what it wraps, which it must not use: torch.jit.script looks the method's names up.

    It compiles the source that it finds by unwrapping, in the globals of what it was given.
    """
    if not (isinstance(method, FunctionType) and isinstance(wrap, FunctionType)):
        return wrap
    return FunctionType(wrap.__code__, method.__globals__, method.__name__, None, wrap.__closure__)


def _is_framework(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in _FRAMEWORKS

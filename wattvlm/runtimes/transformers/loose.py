"""The border to objects whose types are not known here: torch, transformers and remote code are looked at by shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, cast

_NOTHING: Mapping[str, Any] = {}


def is_tensor(value: Any) -> TypeGuard[Any]:
    return hasattr(value, "numel") and hasattr(value, "dtype")


def is_module(value: Any) -> TypeGuard[Any]:
    """Whether it is a torch module, without importing torch."""
    return "_modules" in entries_of(value)


def is_sequence(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    return isinstance(value, (list, tuple))


def is_mapping(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def mapping_of(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping (model outputs are), else an empty one."""
    return value if is_mapping(value) else _NOTHING


def entries_of(value: Any) -> Mapping[str, Any]:
    """What the object itself holds under each name, not what its class does."""
    held: object = getattr(value, "__dict__", _NOTHING)
    return mapping_of(held)


def number_of(module: Any, name: str) -> Any:
    """A module's attribute, or None where it has none: asking torch for what is not there costs a microsecond each."""
    found = module.__dict__.get(name)
    return getattr(module, name, None) if found is None and hasattr(class_of(module), name) else found


def class_of(value: Any) -> Any:
    return cast("Any", type(value))

"""What a call does not need to begin with: it is read off the model when first asked for, after the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import ref

from wattvlm.runtimes.transformers.tree import ModuleTree

Found = TypeVar("Found")


class OnDemand(Generic[Found]):
    """One fact of a model, looked for once. look: finds it in the model's modules; must not hold on to the model."""

    __slots__ = ("_found", "_look", "_root")

    def __init__(self, root: Any, look: Callable[[ModuleTree], Found]) -> None:
        self._root = ref(root)
        self._look = look
        self._found: list[Found] = []

    def read(self) -> Found | None:
        """The fact; None if the model is gone before anyone asked."""
        if not self._found:
            root = self._root()
            if root is None:
                return None
            self._found.append(self._look(ModuleTree(root)))
        return self._found[0]

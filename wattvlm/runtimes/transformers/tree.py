"""The modules of a model in one pass: paths, parents, and each module's own subtree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class ModuleTree:
    """Every module with its dotted path, parents first; a module that is registered twice appears twice.

    Positions are indices into `paths` and `modules`; the subtree of a module is one unbroken run of positions.
    """

    __slots__ = ("_ends", "_positions", "modules", "parents", "paths")

    def __init__(self, root: Any) -> None:
        self.paths: list[str] = []
        self.modules: list[Any] = []
        self.parents: list[int] = []
        self._walk(root)
        self._positions = {path: position for position, path in enumerate(self.paths)}
        sizes = [1] * len(self.paths)
        for position in range(len(self.paths) - 1, 0, -1):
            sizes[self.parents[position]] += sizes[position]
        self._ends = [position + size for position, size in enumerate(sizes)]

    def _walk(self, root: Any) -> None:
        paths, modules, parents = self.paths, self.modules, self.parents
        waiting: list[tuple[int, str, Any]] = [(-1, "", root)]
        while waiting:
            parent, path, module = waiting.pop()
            position = len(paths)
            paths.append(path)
            modules.append(module)
            parents.append(parent)
            children = module._modules
            if children:
                prefix = f"{path}." if path else ""
                for name in reversed(children):
                    child = children[name]
                    if child is not None:
                        waiting.append((position, prefix + name, child))

    def at(self, path: str) -> Any:
        return self.modules[self._positions[path]]

    def parent(self, path: str) -> str:
        return self.paths[self.parents[self._positions[path]]]

    def under(self, path: str) -> Sequence[Any]:
        """The module at a path and all below it."""
        start = self._positions[path]
        return self.modules[start : self._ends[start]]

    def paths_under(self, path: str) -> Sequence[str]:
        start = self._positions[path]
        return self.paths[start : self._ends[start]]

    def paths_of(self, module: Any) -> list[str]:
        return [path for path, each in self if each is module]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return zip(self.paths, self.modules)


def ancestors(path: str) -> list[str]:
    """The path and all above it, lowest first, the root ("") last."""
    names = path.split(".") if path else []
    return [".".join(names[:length]) for length in range(len(names), -1, -1)]


def is_below(path: str, ancestor: str) -> bool:
    """Whether a path is the other or lies under it."""
    return not ancestor or path == ancestor or path.startswith(f"{ancestor}.")

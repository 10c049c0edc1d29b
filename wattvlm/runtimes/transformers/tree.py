"""The modules of a model in one pass: paths, parents, and each module's own subtree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from wattvlm.runtimes.transformers.loose import entries_of, is_module, is_sequence

_UNREGISTERED_DEPTH = 2


class ModuleTree:
    """Every module with its dotted path, parents first; a module that is registered twice appears twice.

    Positions are indices into `paths` and `modules`; the subtree of a module is one unbroken run of positions.
    Modules that a model keeps out of torch's register, as in `self.vision_tower = [tower]` (what LLaVA does under
    FSDP), are found near the root and named "vision_tower[0]".
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
        waiting: list[tuple[int, str, Any, int]] = [(-1, "", root, 0)]
        while waiting:
            parent, path, module, depth = waiting.pop()
            position = len(paths)
            paths.append(path)
            modules.append(module)
            parents.append(parent)
            if depth <= _UNREGISTERED_DEPTH:
                for name, child in _unregistered(module):
                    if all(child is not each for each in root.modules()):
                        waiting.append((position, f"{path}.{name}" if path else name, child, depth + 1))
            children = module._modules
            if children:
                prefix = f"{path}." if path else ""
                for name in reversed(children):
                    child = children[name]
                    if child is not None:
                        waiting.append((position, prefix + name, child, depth + 1))

    def at(self, path: str) -> Any:
        return self.modules[self._positions[path]]

    def parent(self, path: str) -> str:
        return self.paths[self.parents[self._positions[path]]]

    def children(self, path: str) -> list[str]:
        """Paths of the direct children."""
        start = self._positions[path]
        return [self.paths[each] for each in range(start + 1, self._ends[start]) if self.parents[each] == start]

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


def child_of(module: Any, name: str) -> Any:
    """The child of that name now, registered or not; None if there is none."""
    child: Any = module._modules.get(name)
    if child is not None or not name.endswith("]"):
        return child
    return dict(_unregistered(module)).get(name)


def children_beside(module: Any) -> int:
    """How many children and grandchildren a module has: a cheap sign that parts were loaded or taken away."""
    return sum(1 + len(child._modules) for child in module._modules.values() if child is not None)


def _unregistered(module: Any) -> Iterator[tuple[str, Any]]:
    for name, value in entries_of(module).items():
        if is_sequence(value):
            for index, each in enumerate(value):
                if not is_module(each):
                    break
                yield f"{name}[{index}]", each


def ancestors(path: str) -> list[str]:
    """The path and all above it, lowest first, the root ("") last."""
    names = path.split(".") if path else []
    return [".".join(names[:length]) for length in range(len(names), -1, -1)]


def is_below(path: str, ancestor: str) -> bool:
    """Whether a path is the other or lies under it."""
    return not ancestor or path == ancestor or path.startswith(f"{ancestor}.")

"""Doing something with a module at once if it is imported, else the moment that it is."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

OnArrival = Callable[[ModuleType], None]


class Arrivals(importlib.abc.MetaPathFinder):
    """Calls `wanted[name](module)` right after that module has been executed, before its importer goes on.

    It stands first in sys.meta_path and answers only for the names that it waits for: any other import costs it one
    dictionary look-up.
    """

    def __init__(self, wanted: Mapping[str, OnArrival]) -> None:
        self._wanted = dict(wanted)

    def start(self) -> None:
        self._tell_of_loaded()
        if self._wanted:
            sys.meta_path.insert(0, self)

    def _tell_of_loaded(self) -> None:
        for name in list(self._wanted):
            module = sys.modules.get(name)
            on_arrival = None if module is None or _is_loading(module) else self._wanted.pop(name, None)
            if module is not None and on_arrival is not None:
                on_arrival(module)

    def stop(self) -> None:
        self._wanted.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._wanted:
            return None
        spec = _found_by_others(self, fullname, path, target)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _TellingLoader(spec.loader, self)
        return spec

    def arrived(self, module: ModuleType) -> None:
        on_arrival = self._wanted.pop(module.__name__, None)
        if on_arrival is not None:
            on_arrival(module)
        self._tell_of_loaded()  # one that another thread was still importing at the start


class _TellingLoader(importlib.abc.Loader):
    """The module's own loader, which tells when the module is there and then steps out of the way."""

    def __init__(self, loader: importlib.abc.Loader, arrivals: Arrivals) -> None:
        self._loader = loader
        self._arrivals = arrivals

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._arrivals.arrived(module)


def _is_loading(module: ModuleType) -> bool:
    """Whether another frame or thread is still executing it (importlib's own flag)."""
    return bool(getattr(module.__spec__, "_initializing", False))


def _found_by_others(
    asking: Arrivals, fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        if finder is asking:
            continue
        find_spec = getattr(finder, "find_spec", None)
        spec: importlib.machinery.ModuleSpec | None = None if find_spec is None else find_spec(fullname, path, target)
        if spec is not None:
            return spec
    return None

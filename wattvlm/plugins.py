"""How parts find each other without being named: modules of a package, and entry points of the same group."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType


def own_modules(package: str) -> Iterator[ModuleType]:
    """Each public module of a package, imported, in alphabetical order."""
    found = importlib.import_module(package)
    for entry in sorted(pkgutil.iter_modules(found.__path__), key=lambda entry: entry.name):
        if not entry.name.startswith("_"):
            yield importlib.import_module(f"{package}.{entry.name}")


def third_party(group: str) -> Iterator[tuple[str, object]]:
    """(name, loaded object) of each entry point of a group; one that cannot be loaded gives its exception instead."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        try:
            loaded: object = entry.load()
        except Exception as error:  # a third party's module may fail in any way; it must not take the others along
            loaded = error
        yield entry.name, loaded

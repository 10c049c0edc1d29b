"""How parts find each other without being named: modules of a package, and entry points of the same group.

Entry points are read from the installed packages' entry_points.txt directly. importlib.metadata would do the same, but
importing it and its 100 modules takes 40 ms, which the first meter of a process would wait for.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import ModuleType


class EntryPoint(NamedTuple):
    """One line of a package's entry_points.txt: its name, and "module:attribute"."""

    name: str
    target: str

    def load(self) -> object:
        """What the target names; whatever its module raises."""
        module, _, attributes = self.target.partition(":")
        loaded: object = importlib.import_module(module)
        for attribute in filter(None, attributes.split(".")):
            loaded = getattr(loaded, attribute)
        return loaded


def own_modules(package: str) -> Iterator[ModuleType]:
    """Each public module of a package, imported, in alphabetical order."""
    found = importlib.import_module(package)
    for entry in sorted(pkgutil.iter_modules(found.__path__), key=lambda entry: entry.name):
        if not entry.name.startswith("_"):
            yield importlib.import_module(f"{package}.{entry.name}")


def third_party(group: str) -> Iterator[tuple[str, object]]:
    """(name, loaded object) of each entry point of a group; one that cannot be loaded gives its exception instead."""
    for entry in entry_points(group):
        try:
            loaded: object = entry.load()
        except Exception as error:  # a third party's module may fail in any way; it must not take the others along
            loaded = error
        yield entry.name, loaded


def entry_points(group: str, path: Sequence[str] | None = None) -> tuple[EntryPoint, ...]:
    """The entry points of a group in the packages installed on `path` (default: sys.path); none of them is loaded.

    Of a package installed twice, the first on the path counts, as for imports.
    """
    found: list[EntryPoint] = []
    seen: set[str] = set()
    for folder in dict.fromkeys(sys.path if path is None else path):
        for package in _metadata_folders(folder):
            name = os.path.basename(package).partition("-")[0].lower()  # noqa: PTH119  # 60 strings, once a process
            if name not in seen:
                seen.add(name)
                found += _read(os.path.join(package, "entry_points.txt"), group)  # noqa: PTH118
    return tuple(found)


def _metadata_folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder or ".") as entries:
            return sorted(entry.path for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
    except OSError:  # a zip file, or a folder that is not there
        return []


def _read(file: str, group: str) -> list[EntryPoint]:
    """The lines of one section of an entry_points.txt (packaging.python.org, "Entry points specification")."""
    try:
        with open(file, encoding="utf-8") as opened:  # noqa: PTH123
            lines = opened.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found: list[EntryPoint] = []
    section = ""
    for line in map(str.strip, lines):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            found.append(EntryPoint(name.strip(), target.partition("[")[0].strip()))
    return found

"""What `wattvlm run` was asked to run: a Python script, a Python module, or any other program."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from wattvlm.errors import WattvlmError
from wattvlm.running.flags import after_flags

Kind = Literal["script", "module", "command"]

_LONGEST_SHEBANG_BYTES = 512


class NotRunnable(WattvlmError):
    """There is no such program, script or module."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program and its own arguments. target: the script's path, the module's name, or the command's path.

    flags: of a Python program, the interpreter's own options.
    """

    kind: Kind
    target: str
    arguments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name for the report."""
        return self.target if self.kind == "module" else Path(self.target).name


def program_of(words: Sequence[str]) -> Program:
    """The program that a command line means; NotRunnable says why it is none.

    A file that ends in .py, and a program that this Python runs by its first line (what pip installs), are scripts;
    "python" before a script or -m means that where it is this Python. -m NAME is a module.
    """
    if not words:
        raise NotRunnable("nothing was given to run. Cure: wattvlm run script.py, or -m module, or -- COMMAND")
    first, *rest = words
    if first == "-m":
        if not rest:
            raise NotRunnable("-m needs the name of a module")
        return Program("module", rest[0], tuple(rest[1:]))
    if first.endswith((".py", ".pyw")):
        if not Path(first).is_file():
            raise NotRunnable(f"there is no file {first}; nothing was run")
        return Program("script", first, tuple(rest))
    found = shutil.which(first)
    if found is None:
        raise NotRunnable(f"there is no program {first}, as a path or on PATH; nothing was run")
    if _is_this_python(found):
        at = after_flags(rest, 0)
        if at < len(rest) and (rest[at] == "-m" or rest[at].endswith((".py", ".pyw"))):
            return replace(program_of(rest[at:]), flags=tuple(rest[:at]))
    if _is_run_by_this_python(Path(found)):
        return Program("script", found, tuple(rest))
    return Program("command", first, tuple(rest))


def _is_this_python(path: str) -> bool:
    """This environment's interpreter by any of its names; links are not followed, since they make the environment."""
    one, other = Path(path).absolute(), Path(sys.executable).absolute()
    return one == other or (one.parent == other.parent and one.name.startswith("python") and one.samefile(other))


def _is_run_by_this_python(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first_line = file.readline(_LONGEST_SHEBANG_BYTES)
    except OSError:
        return False
    if not first_line.startswith(b"#!"):
        return False
    words = os.fsdecode(first_line[2:]).split()
    return len(words) == 1 and Path(words[0]).exists() and _is_this_python(words[0])

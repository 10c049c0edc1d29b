"""Python programs that the measured one starts by `subprocess`: their calls are seen too (torchrun, accelerate launch).

Only the interpreter of this environment with a script or -m, as `wattvlm run` itself starts one; anything else, and
whatever is not understood, is started as it was given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, cast

from wattvlm.running.flags import after_flags

_KNOWN_BEFORE = ("self", "args", "executable", "preexec_fn", "close_fds", "pass_fds", "cwd")
"""How `Popen._execute_child` begins, in every Python from 3.10 on."""


def watch_subprocesses(module: ModuleType, command: Callable[[str, str], list[str]]) -> None:
    """Have `subprocess` start Python programs by a command of ours.

    command: what stands between the interpreter with its flags and the program's own arguments, for a kind ("script",
    "module") and a target.
    """
    popen: Any = module.__dict__["Popen"]
    plain = popen._execute_child
    names = plain.__code__.co_varnames[: plain.__code__.co_argcount]
    if names[: len(_KNOWN_BEFORE)] != _KNOWN_BEFORE or "shell" not in names:
        return
    shell_at = names.index("shell") - 2

    def execute_child(self: object, args: Any, *others: Any) -> None:
        with suppress(Exception):
            if len(others) > shell_at and not others[shell_at] and others[0] is None:
                args = _seen(args, others[4], command)
        plain(self, args, *others)

    popen._execute_child = execute_child


def _seen(args: object, folder: str | os.PathLike[str] | None, command: Callable[[str, str], list[str]]) -> object:
    """The same program with its calls seen, or what was given."""
    if not isinstance(args, (list, tuple)):
        return args
    words = [os.fspath(word) for word in cast("Sequence[str | os.PathLike[str]]", args)]
    if not words or words[0] != sys.executable:
        return cast("object", args)
    at = after_flags(words)
    if at < len(words) - 1 and words[at] == "-m":
        return [*words[:at], *command("module", words[at + 1]), *words[at + 2 :]]
    if at < len(words) and words[at].endswith((".py", ".pyw")):
        path = os.path.join(os.fspath(folder), words[at]) if folder is not None else words[at]  # noqa: PTH118
        if os.path.isfile(path):  # noqa: PTH113  # python itself says best what is wrong with any other
            return [*words[:at], *command("script", words[at]), *words[at + 1 :]]
    return cast("object", args)

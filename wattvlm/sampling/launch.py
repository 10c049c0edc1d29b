"""Starting the sampling process from the measured one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wattvlm.errors import SamplerError
from wattvlm.sampling.journal import create
from wattvlm.sensing import ProbeSource

if TYPE_CHECKING:
    from subprocess import Popen

# -S: the measured process's sys.path is handed over, so `site` need not find it again (20 ms); see `make_probe`.
# The interpreter's own sys.path stays first: a user's `struct.py` beside their script shadows nothing here.
_BOOT = (
    "import sys, json\n"
    "with open(sys.argv[1]) as file: plan = json.load(file)\n"
    "sys.path += [entry for entry in plan['path'] if entry not in sys.path]\n"
    "from wattvlm.sampling.child import run\n"
    "run(plan)\n"
)


def launch(folder: Path, generation: int, sources: Sequence[ProbeSource] | None) -> Popen[bytes]:
    """The started sampling process; SamplerError or OSError where it cannot be started.

    Not multiprocessing, whose spawn runs the user's `__main__` again, and not `-m`, which puts the user's working
    folder first on sys.path. Its own session, so that Ctrl-C in the terminal reaches only the measured process.
    """
    from subprocess import DEVNULL, Popen

    if not sys.executable or getattr(sys, "frozen", False):
        raise SamplerError("this program is not run by a Python interpreter that could run the sampling process")
    plan = {
        "folder": str(folder),
        "generation": generation,
        "parent_pid": os.getpid(),
        "path": [str(_home()), *(entry for entry in sys.path if os.path.isabs(entry))],  # noqa: PTH117  # strings
        "sources": None if sources is None else [[each.target, dict(each.arguments)] for each in sources],
    }
    path = folder / f"plan-{generation}"
    with os.fdopen(create(path), "w") as file:
        json.dump(plan, file)
    errors = create(folder / f"errors-{generation}")
    try:
        return Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, str(path)],
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=errors,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(errors)


def _home() -> Path:
    """The folder that holds the package."""
    import wattvlm

    return Path(wattvlm.__file__).absolute().parent.parent

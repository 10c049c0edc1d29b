"""A guardian as the program holds it: started, told what to set, and asked to give everything back."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import wattvlm
from wattvlm.steering.family import started_at
from wattvlm.steering.nvml import NotSteerable as NotSteerable
from wattvlm.sweep import Setting

_ENDS_WITHIN_S = 20.0
"""A driver's setter takes milliseconds; one that takes this long will not come back."""

# As the sampling process: the interpreter's own sys.path stays first, so that no user's file shadows a module of it.
# No child of the program's: what ends a program (Ray, for one) may end its children with it, before they gave back.
_BOOT = (
    "import os, sys, json\n"
    "if os.fork(): os._exit(0)\n"
    "plan = json.loads(sys.argv[1])\n"
    "sys.path += [entry for entry in plan['path'] if entry not in sys.path]\n"
    "from wattvlm.steering.guardian import run\n"
    "run(plan)\n"
)


class Steered:
    """The boards of this process while a guardian sets them."""

    def __init__(self, settings: Sequence[Setting], file: Path | None) -> None:
        self._settings = tuple(settings)
        self._file = file
        self._pid = 0
        self._kept: list[dict[str, Any]] | None = _left(file)
        self._guardian = self._started()

    @property
    def guardian(self) -> int:
        """The pid of the process that sets and gives back."""
        return self._pid

    def set(self, setting: Setting) -> dict[str, float | None]:
        """Set every board; gives the limits in watts that they enforce, by the board's name (None without one).

        NotSteerable where it could not be set: then everything is as it was before.
        """
        found = self._asked(asdict(setting))
        limits: dict[str, float | None] = found["limits"]
        return limits

    def give_back(self) -> list[str]:
        """Everything as it was, and no guardian any more; a line with its cure for each thing that could not be."""
        failed = self._ended()
        if failed is None:  # the guardian was killed: another one does what it cannot do any more
            try:
                self._guardian = self._started()
                failed = self._ended()
            except NotSteerable as error:
                failed = [str(error)]
        if failed is None:
            failed = [f"{_GONE}. Cure: sudo nvidia-smi -pl WATTS, and -rgc, for {self._kept}"]
        return failed

    def _started(self) -> Popen[bytes]:
        home = Path(wattvlm.__file__).absolute().parent.parent
        plan = {
            "program": os.getpid(), "started": started_at(os.getpid()), "kept": self._kept,
            "file": str(self._file.absolute()) if self._file else "",
            "settings": [asdict(each) for each in self._settings],
            "path": [str(home), *(entry for entry in sys.path if Path(entry).is_absolute())],
        }  # fmt: skip
        command = [sys.executable, "-I", "-S", "-c", _BOOT, json.dumps(plan)]
        self._guardian = Popen(command, stdin=PIPE, stdout=PIPE, cwd="/", start_new_session=True)
        self._guardian.wait()
        try:
            found = self._answer()
            self._pid, self._kept = int(found["guardian"]), found["kept"]
        except BaseException:
            self._ended()
            raise
        return self._guardian

    def _asked(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._guardian.stdin is not None
        try:
            self._guardian.stdin.write(json.dumps(wish).encode() + b"\n")
            self._guardian.stdin.flush()
        except OSError as error:
            raise NotSteerable(_GONE) from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._guardian.stdout is not None
        line = self._guardian.stdout.readline()
        if not line:
            raise NotSteerable(_GONE)
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise NotSteerable(str(found["error"]))
        return found

    def _ended(self) -> list[str] | None:
        """What the guardian could not give back; None where it had ended before it was asked to."""
        try:
            printed, _ = self._guardian.communicate(timeout=_ENDS_WITHIN_S)
        except TimeoutExpired:
            if self._pid:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
            return None
        lines = [line for line in printed.splitlines() if b'"failed"' in line]
        return [str(each) for each in json.loads(lines[-1])["failed"]] if lines else None


_GONE = "the process that sets and gives back power limits and clocks has ended by itself"


def _left(file: Path | None) -> list[dict[str, Any]] | None:
    """What an earlier run had no time to give back."""
    if file is None or not file.is_file():
        return None
    try:
        found: list[dict[str, Any]] = json.loads(file.read_text())
    except ValueError:
        return None
    return found


@contextmanager
def steered(settings: Sequence[Setting], file: Path | None = None) -> Generator[Steered, None, None]:
    """The GPUs that CUDA shows to this process, to be set to any of these settings, and given back at the end.

    file: where is kept what is to be given back, as long as it is; what an earlier run left there is given back too.
    NotSteerable, and nothing set, where a GPU does not take one of the settings, where this user may not set it, and
    where a process of somebody else computes on it; also at the end, where something could not be given back.
    """
    boards = Steered(settings, file)
    try:
        yield boards
    except BaseException:
        for line in boards.give_back():
            warnings.warn(line, RuntimeWarning, stacklevel=3)
        raise
    failed = boards.give_back()
    if failed:
        raise NotSteerable(f"not given back: {'; '.join(failed)}")

"""Runs that were killed: their journals are still there, and still give a Recording."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import cast

from wattvlm.errors import ReportFormatError
from wattvlm.recording import Recording
from wattvlm.sampling.journal import FOLDER_PREFIX, read_from
from wattvlm.sampling.readback import read_back
from wattvlm.sampling.sampler import process_start

_LARGEST_OWNER_BYTES = 4096


def unfinished_runs(temporary: Path | None = None) -> list[Path]:
    """The folders that killed runs of this user left behind, the oldest first; give one to `recover`.

    temporary: where to look, the system's temporary folder by default.
    """
    import tempfile

    where = temporary or Path(tempfile.gettempdir())
    try:
        named = [path for path in where.iterdir() if path.name.startswith(FOLDER_PREFIX)]
    except OSError:
        return []
    left = [path for path in named if _is_private(path) and _was_left(path)]
    return sorted(left, key=_changed_ns)


def recover(folder: str | os.PathLike[str]) -> Recording:
    """What a killed run had recorded: all whole records and marks; damaged ones are passed over.

    ReportFormatError where the folder is missing, is a link, belongs to another user, or is open to others.
    """
    path = Path(folder)
    if not _is_private(path):
        raise ReportFormatError(
            f"{path} is not a private folder of this user's (mode 0700, no link): it was not read. "
            "Cure: give a folder that unfinished_runs() names"
        )
    note = "this run was killed before it ended: what it had written until then is reported"
    return read_back(path, None, notes=(note,))


def _is_private(path: Path) -> bool:
    try:
        status = path.lstat()
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _was_left(folder: Path) -> bool:
    """The process that owned the folder is gone. One without an owner file is being made at this moment."""
    content = read_from(folder / "owner", 0, _LARGEST_OWNER_BYTES)
    if not content:
        return False
    try:
        loaded: object = json.loads(content)
    except (ValueError, RecursionError):
        return True
    owner = cast("dict[str, object]", loaded) if isinstance(loaded, dict) else {}
    pid = owner.get("pid")
    if not isinstance(pid, int) or not 0 < pid < 2**31:
        return True
    started = process_start(pid)
    return not started or started != owner.get("started")


def _changed_ns(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0

"""The file of requests and the recordings of the latest windows, in a folder that never grows beyond a bound."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattvlm.recording import Recording

LARGEST_BYTES = 32 * 2**20
"""Of requests.jsonl; then it becomes requests.1.jsonl in place of the former one."""

WINDOWS_KEPT = 20
ANSWERS_KEPT = 10_000
"""The latest requests that are told by their id."""


class Journal:
    """A folder: requests.jsonl, a line a request, and window-NNNNNN.json.gz, which `wattvlm report` reads."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._answers: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def request(self, line: Mapping[str, Any]) -> None:
        """Keep a request; OSError where the disk does not take it."""
        self._answers[line["id"]] = line
        while len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        path = self._folder / "requests.jsonl"
        if path.exists() and path.stat().st_size > LARGEST_BYTES:
            path.replace(self._folder / "requests.1.jsonl")
        with path.open("a") as file:
            file.write(f"{json.dumps(line)}\n")

    def window(self, recording: Recording) -> None:
        """Keep a window's recording, and remove the oldest; OSError where the disk does not take it."""
        numbers = [int(path.name[7:13]) for path in self._folder.glob("window-??????.json.gz")]
        recording.save(self._folder / f"window-{max(numbers, default=0) + 1:06d}.json.gz")
        for old in sorted(self._folder.glob("window-??????.json.gz"))[:-WINDOWS_KEPT]:
            old.unlink(missing_ok=True)

    def answer(self, name: str) -> Mapping[str, Any] | None:
        """The request of that id, or the one whose id begins or ends with it (servers add a prefix to ids)."""
        known = self._answers.get(name)
        if known is not None or not name:
            return known
        return next((line for key, line in reversed(self._answers.items()) if key.endswith(name)), None)

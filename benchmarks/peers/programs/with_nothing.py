"""No meter: what the calls alone take."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.programs.work import play


class Nothing:
    told: dict[str, Any]

    def open(self) -> None: ...

    def begin(self, name: str) -> None: ...

    def end(self, name: str) -> None: ...

    def close(self) -> dict[str, Any]:
        return {}


if __name__ == "__main__":
    play(Nothing())

"""Rows out of a part of the vision side that a model runs piece by piece instead of calling it.

LLaMA-Adapter walks through CLIP's convolution, norms and blocks by itself; MiniCPM-V calls timm's `forward_features`.
The last piece of a run gives the part's rows; a piece that comes again begins the next run.
"""

from __future__ import annotations


class PieceRuns:
    """The runs of one part."""

    __slots__ = ("_before", "_last", "_seen")

    def __init__(self) -> None:
        self._before = 0
        self._last = 0
        self._seen: set[str] = set()

    def starts(self, path: str) -> None:
        if path in self._seen:
            self._before += self._last
            self._last = 0
            self._seen.clear()
        self._seen.add(path)

    def ends(self, rows: int | None) -> None:
        if rows is not None:
            self._last = rows

    @property
    def rows(self) -> int | None:
        """Rows out of all runs so far."""
        return self._before + self._last or None

"""What a run has done and has left: results as they are kept, the time that is left, and what is told of both."""

from __future__ import annotations

from pathlib import Path
from time import monotonic_ns

from wattvlm.bench.design import Cell
from wattvlm.bench.keeping import Finished, Results, keep
from wattvlm.bench.measuring import Progress, Tell
from wattvlm.report import Report


class Ledger:
    """The cells of one run, wherever each is measured. Cells that a folder had before are done at its beginning."""

    def __init__(self, folder: Path, results: Results, tell: Tell) -> None:
        self.results = results
        self.missing = tuple(cell for cell in results.design.cells() if cell.name in results.missing)
        self._folder = folder
        self._tell = tell
        self._begin_ns = monotonic_ns()
        self._left = len(self.missing)

    @property
    def place(self) -> tuple[int, int]:
        """(how many cells are done, how many there are)."""
        return len(self.results.order) - self._left, len(self.results.order)

    def share_ns(self, at_once: int = 1) -> int:
        """How long a cell may take that begins now: an equal part of the time left, where several run at once."""
        spent_ns = monotonic_ns() - self._begin_ns
        rounds = -(-self._left // max(at_once, 1))
        return max(self.results.design.limit_ns - spent_ns, 0) // max(rounds, 1)

    def begun(self, cell: Cell, limit_ns: int) -> None:
        """Tell that a cell is measured somewhere."""
        self._tell(Progress(*self.place, cell.name, limit_ns=limit_ns))

    def ended(self, found: Finished, report: Report | None) -> None:
        """Keep what a cell gave, and tell that it is done."""
        self.results = keep(self._folder, self.results, found, report)
        self._left -= 1
        self._tell(Progress(*self.place, found.name, found.calls, found.calls, finished=found))

"""How far a bench is, on standard error: bars in a terminal, a line a cell elsewhere."""

from __future__ import annotations

import sys

import click


class Bars:
    """Progress on standard error: bars in a terminal, a line a cell elsewhere."""

    def __init__(self, cells: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._is_terminal = sys.stderr.isatty()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=not self._is_terminal)
        self._all = self._bars.add_task("all cells", total=cells, words="")
        self._one = self._bars.add_task("", total=1.0, words="")

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, progress: object) -> None:
        """Show where the run is."""
        from wattvlm.bench.running import Progress

        assert isinstance(progress, Progress)
        part = min(progress.calls / progress.wanted, 1.0) if progress.wanted else 0.0
        if progress.limit_ns:
            part = max(part, min(progress.spent_ns / progress.limit_ns, 1.0))
        self._bars.update(self._all, total=progress.cells, completed=progress.done + part,
                          words=f"{progress.done} of {progress.cells} done")  # fmt: skip
        still = ", ".join(map(str, progress.open_parts[:2]))
        words = f"{progress.calls} of about {progress.wanted} calls" + (f", {still}" if still else "")
        self._bars.update(self._one, description=progress.name, completed=part, words=words)
        if progress.finished is not None and not self._is_terminal:
            found = progress.finished
            said = found.failure or f"{found.calls} calls, {found.stopped}"
            click.echo(f"{progress.done} of {progress.cells}  {found.name}: {said}", err=True)

"""Runs that were saved before, as a study reads them: reports, recordings, and folders of a bench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wattvlm import filing, recording, report
from wattvlm.attribution import analyze
from wattvlm.bench import Cell, reports
from wattvlm.bench.keeping import is_bench, load
from wattvlm.errors import WattvlmError
from wattvlm.questions.asked import Run

SAVED = "saved"
"""What stands for the model of a run whose file does not say how it was asked."""


def runs_of(names: Sequence[str]) -> tuple[Run, ...]:
    """The runs in files and folders; WattvlmError for what is neither. A run's device is the name of its file."""
    return tuple(run for name in names for run in _runs(Path(name)))


def _runs(path: Path) -> list[Run]:
    if is_bench(path):
        cells = {cell.name: cell for cell in load(path).design.cells()}
        return [Run(replace(cells[name], device=path.name), each) for name, each in reports(path).items()]
    if not path.is_file():
        raise WattvlmError(
            f"{path} is no file and no folder of wattvlm bench; nothing was compared. Cure: saved reports or recordings"
        )
    found = filing.load_any(
        path,
        {
            report.KIND: (report.SCHEMA_VERSION, report.Report.from_dict),
            recording.KIND: (recording.SCHEMA_VERSION, lambda plain: analyze(recording.Recording.from_dict(plain))),
        },
    )
    return [Run(Cell(SAVED, device=path.name.partition(".")[0]), found)]

"""The sweeps in a folder of results: cells that differ in nothing but what the GPU was set to."""

from __future__ import annotations

import os
from pathlib import Path

from wattvlm.bench.design import Cell
from wattvlm.bench.keeping import load, shortened
from wattvlm.report import Report
from wattvlm.studies import sweep
from wattvlm.sweep import Sweep


def sweeps(
    folder: str | os.PathLike[str], *, ttft_under_s: float | None = None, tpot_under_s: float | None = None
) -> tuple[Sweep, ...]:
    """A Sweep for each model and input of which two settings and more are measured; none where nothing was set.

    ttft_under_s, tpot_under_s: bounds on mean times, as in `studies.sweep`.
    """
    results = load(Path(folder))
    groups: dict[Cell, list[Report]] = {}
    files = {each.name: each.file for each in results.finished if each.file}
    for cell in results.design.cells():
        if cell.setting and cell.name in files:
            groups.setdefault(cell.without_setting, []).append(Report.load(Path(folder) / files[cell.name]))
    whole = sorted(((cell.name, reports) for cell, reports in groups.items() if len(reports) > 1), key=_name)
    labels = shortened([name for name, _ in whole])
    return tuple(
        sweep(reports, label=label, ttft_under_s=ttft_under_s, tpot_under_s=tpot_under_s)
        for label, (_, reports) in zip(labels, whole)
    )


def _name(group: tuple[str, list[Report]]) -> str:
    return group[0]

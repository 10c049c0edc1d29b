"""Studies: the questions of the field, each answered by one command. One module, one study; found by themselves.

    from wattvlm import questions

    answer = questions.ask("output-length", questions.Asked(models=("shipped",)), "results")
    print(wattvlm.render(answer))

A study's module has NAME, QUESTION, design(asked) -> Design, answer(runs, design) -> Answer, and may have
subject(asked) where what it measures is no model of transformers, or OF_FILES = True where it measures nothing and
its models are files of saved runs. Runs are kept by the bench: the same folder again goes on where it was cut off.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from wattvlm.answers import Answer
from wattvlm.bench import reports
from wattvlm.bench import run as run_bench
from wattvlm.bench.keeping import Results, load
from wattvlm.bench.running import Subject, Tell
from wattvlm.errors import WattvlmError
from wattvlm.plugins import own_modules
from wattvlm.questions._answers import kept_answers as kept_answers
from wattvlm.questions._answers import marked
from wattvlm.questions._figures import row_name
from wattvlm.questions._files import runs_of
from wattvlm.questions.asked import Answered as Answered
from wattvlm.questions.asked import Asked as Asked
from wattvlm.questions.asked import Run as Run
from wattvlm.questions.asked import Study as Study
from wattvlm.questions.asked import subject_of
from wattvlm.sensing import ProbeSource


class NothingMeasured(WattvlmError):
    """No cell of a study has a report."""


def studies() -> dict[str, Study]:
    """Every study by its name."""
    modules = (module for module in own_modules(__name__) if hasattr(module, "QUESTION"))
    return {study.NAME: study for study in (cast(Study, module) for module in modules)}


def study(name: str) -> Study:
    """One study; ValueError names those there are."""
    known = studies()
    if name not in known:
        raise ValueError(f"no study {name!r}; there are {', '.join(known)}")
    return known[name]


def ask(
    name: str,
    asked: Asked,
    folder: str | os.PathLike[str],
    *,
    subject: Subject | None = None,
    probes: Sequence[ProbeSource] | None = None,
    tell: Tell | None = None,
    keep_seed: bool = False,
) -> Answer:
    """Measure what a study asks for and is missing in the folder, and answer from all that it then holds.

    subject: what is measured, where it is not the study's own. probes, tell, keep_seed: as in `bench.run`.
    """
    found = study(name)
    design = found.design(asked)
    if getattr(found, "OF_FILES", False):
        return found.answer(runs_of(asked.models), design)
    measured = subject if subject is not None else subject_of(found, replace(asked, folder=str(folder)))
    run_bench(design, folder, subject=measured, probes=probes, tell=tell, keep_seed=keep_seed)
    return answered(name, folder, asked.scores)


def answered(name: str, folder: str | os.PathLike[str], scores: Sequence[tuple[str, str]] = ()) -> Answer:
    """What the runs in a folder say; NothingMeasured where none of its cells was measured.

    scores: (model, file) with marks of its answers in the place of those that are kept.
    """
    results = load(Path(folder))
    runs = marked(runs_in(results, folder), scores)
    if not runs:
        failures = "; ".join(f"{each.name}: {each.failure}" for each in results.finished if each.failure)
        raise NothingMeasured(
            f"no cell of {folder} was measured, so nothing is answered: {failures or 'none was run yet'}"
        )
    answer = study(name).answer(runs, results.design)
    return replace(answer, limits=(*answer.limits, *_not_measured(results)))


def _not_measured(results: Results) -> tuple[str, ...]:
    """Why models have cells without a figure, by the reason."""
    models = {cell.name: row_name(cell) for cell in results.design.cells()}
    reasons: dict[str, Counter[str]] = {}
    for each in results.finished:
        if each.failure:
            reasons.setdefault(each.failure, Counter())[models[each.name]] += 1
    return tuple(f"not measured: {_with_counts(of_models)}: {why}" for why, of_models in reasons.items())


def _with_counts(cells: Counter[str]) -> str:
    return ", ".join(f"{model} ({count} cells)" if count > 1 else model for model, count in cells.items())


def runs_in(results: Results, folder: str | os.PathLike[str]) -> tuple[Run, ...]:
    """The finished cells of a folder with their reports, in the order of the matrix's names."""
    cells = {cell.name: cell for cell in results.design.cells()}
    return tuple(Run(cells[name], report, kept_answers(Path(folder), name)) for name, report in reports(folder).items())

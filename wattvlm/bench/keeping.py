"""Where results lie: a folder with an index of the design and of what is finished, and one Report file a cell.

Every file is written whole or not at all, a report before the index names it. A run that is killed at any moment leaves
all finished cells, and the next run in the same folder goes on with the others.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wattvlm import filing
from wattvlm.bench.design import Design
from wattvlm.errors import ReportFormatError, WattvlmError
from wattvlm.report import Report

KIND = "wattvlm bench"
SCHEMA_VERSION = 1
INDEX = "bench.json"
LOCK = ".lock"
TO_GIVE_BACK = ".to-give-back.json"
"""Limits and clocks as they were, while a bench has set others."""


class DesignChanged(WattvlmError):
    """The folder holds results of another design."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One cell that is done: its name, its file ("" where it failed), its calls, and why it stopped.

    open_parts: phases that are not within the precision asked for, each with the reason. failure: what the model's
    call raised; such a cell is tried again by the next run.
    """

    name: str
    file: str
    calls: int
    stopped: str
    open_parts: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """What a folder holds: the design, the order of the cells by name, and those that are finished."""

    design: Design
    order: tuple[str, ...]
    finished: tuple[Finished, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Cells that have no report yet, in their order; those that failed are among them."""
        done = {each.name for each in self.finished if not each.failure}
        return tuple(name for name in self.order if name not in done)

    def of(self, name: str) -> Finished:
        """One finished cell; KeyError where it is not."""
        for each in self.finished:
            if each.name == name:
                return each
        raise KeyError(name)

    def plus(self, found: Finished) -> Results:
        """With one more cell, in the place of what was known of it."""
        others = tuple(each for each in self.finished if each.name != found.name)
        return replace(self, finished=(*others, found))


def is_bench(folder: Path) -> bool:
    """True for a folder that a bench wrote."""
    return (folder / INDEX).is_file()


def load(folder: Path) -> Results:
    """The index of a folder; ReportFormatError where it is not one."""
    if not is_bench(folder):
        raise ReportFormatError(f"{folder} holds no results of wattvlm bench: there is no {INDEX} in it")
    return filing.load(
        folder / INDEX, KIND, SCHEMA_VERSION, lambda plain: filing.from_plain(Results, plain, "bench results")
    )


def save(folder: Path, results: Results) -> None:
    """Write the index, whole or not at all."""
    filing.save(folder / INDEX, KIND, SCHEMA_VERSION, filing.to_plain(results), for_reading=True)


def begin(folder: Path, design: Design, keep_seed: bool) -> Results:
    """The results in a folder, none in a new one. keep_seed: the seed is the folder's, whatever the design's.

    DesignChanged where the folder's design is another: it names each difference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not is_bench(folder):
        others = [entry.name for entry in folder.iterdir() if entry.name != LOCK]
        if others:
            raise DesignChanged(
                f"{folder} is no folder of results and not empty ({others[0]} is in it); nothing was measured. Cure: a "
                "new folder"
            )
        results = Results(design, tuple(cell.name for cell in design.cells()))
        save(folder, results)
        return results
    results = load(folder)
    asked = design.with_seed(results.design.seed) if keep_seed else design
    differences = results.design.differences(asked)
    if differences:
        raise DesignChanged(
            f"{folder} holds results of another design, and nothing was measured: {'; '.join(differences)}. Cure: the "
            "options of that design, or a new folder"
        )
    return results


def keep(folder: Path, results: Results, found: Finished, report: Report | None) -> Results:
    """Save one cell's report, and then the index that names it."""
    if report is not None:
        report.save(folder / found.file)
    results = results.plus(found)
    save(folder, results)
    return results


@contextmanager
def alone_in(folder: Path) -> Generator[None, None, None]:
    """No other bench may write here meanwhile; the lock ends with this process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WattvlmError(
                f"another bench is measuring into {folder}; nothing was measured. Cure: wait for it, or a new folder"
            ) from error
        yield
    finally:
        os.close(descriptor)


def shortened(names: Sequence[str]) -> list[str]:
    """Names of cells without the parts that are the same in all: 'batch1 out4'."""
    parts = [name.split("_") for name in names]
    if len(parts) < 2 or len({len(each) for each in parts}) > 1:
        return list(names)
    return [" ".join(part for part, all_parts in zip(each, zip(*parts)) if len(set(all_parts)) > 1) for each in parts]


def reports(folder: str | os.PathLike[str]) -> dict[str, Report]:
    """The reports of all finished cells by name, in the order of the matrix's names."""
    results = load(Path(folder))
    files = {each.name: each.file for each in results.finished if each.file}
    return {name: Report.load(Path(folder) / files[name]) for name in sorted(files)}

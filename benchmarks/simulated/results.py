"""Outcomes kept in a file, one JSON line a session, so that a long run can be stopped and gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from zlib import crc32

import wattvlm
from benchmarks.simulated.cells import Cell, all_cells
from benchmarks.simulated.outcomes import Outcome, outcome

Work = tuple[Cell, int]

RECHECKED = 3

_MADE_OF = ("attribution", "testing", "probes", "energy.py", "trace.py", "recording.py")


def fingerprint() -> str:
    """A number for the code that outcomes depend on."""
    package, own = Path(wattvlm.__file__).parent, Path(__file__).parent
    files = [file for name in _MADE_OF for file in sorted({*(package / name).rglob("*.py"), package / name})]
    number = 0
    for file in (*files, own / "cells.py", own / "drawn.py", own / "outcomes.py"):
        if file.is_file():
            number = crc32(file.read_bytes(), number)
    return f"{number:08x}"


def read(path: Path) -> tuple[str, list[Outcome]]:
    """(the code's number, its outcomes) of a results file, without a last line that was cut short."""
    first, *lines = path.read_text().splitlines()
    found: list[Outcome] = []
    for line in lines:
        try:
            found.append(Outcome(**json.loads(line)))
        except ValueError:
            continue
    return str(json.loads(first)["code"]), found


def still_so(found: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, made by other code, of those cells of which three come out the same to the last bit now."""
    cells = {cell.key: cell for cell in all_cells()}
    own: dict[str, list[Outcome]] = {}
    for each in found:
        own.setdefault(each.cell, []).append(each)
    kept: list[Outcome] = []
    for key, outcomes in own.items():
        some = outcomes[:: max(len(outcomes) // RECHECKED, 1)][:RECHECKED]
        if key in cells and all(outcome(cells[key], each.seed) == each for each in some):
            kept += outcomes
        else:
            print(f"{key}: other code gave other outcomes; all are made again", flush=True)
    return kept


def collect(work: Sequence[Work], path: Path, *, resume: bool, jobs: int) -> list[Outcome]:
    """The outcomes of all work and those in the file of the same cells; each new one is appended to it at once."""
    if path.exists() and path.stat().st_size and not resume:
        raise SystemExit(f"{path} is there already. Cure: --resume to go on with it, or another --results")
    done: list[Outcome] = []
    if path.exists() and path.stat().st_size:
        code, done = read(path)
        done = done if code == fingerprint() else still_so(done)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in ({"code": fingerprint()}, *map(asdict, done))))
    known = {(each.cell, each.seed) for each in done}
    left = [(cell, seed) for cell, seed in work if (cell.key, seed) not in known]
    wanted = {cell.key for cell, _ in work}
    fresh: list[Outcome] = []
    with path.open("a") as stream, ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for found in _with_progress(pool.map(_one, left, chunksize=10), len(left)):
            stream.write(json.dumps(asdict(found)) + "\n")
            stream.flush()
            fresh.append(found)
    return [each for each in (*done, *fresh) if each.cell in wanted]


def _one(work: Work) -> Outcome:
    return outcome(*work)


def _with_progress(found: Iterable[Outcome], count: int) -> Iterable[Outcome]:
    start_s = monotonic()
    for number, each in enumerate(found, 1):
        if number % 500 == 0:
            print(f"{number} of {count} sessions, {monotonic() - start_s:.0f} s", flush=True)
        yield each

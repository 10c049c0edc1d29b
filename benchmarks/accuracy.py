"""Joules of a prefill against the truth of simulated sessions: bias, RMS, coverage, by sensor, length and calls.

    python -m benchmarks accuracy --sessions 40 --sensor counter-100ms --phase 45     a look
    python -m benchmarks accuracy --docs --results some.jsonl                         fewer sessions of each cell
    python -m benchmarks accuracy --results all.jsonl --resume                        400 each (hours)

A session draws everything anew: powers of encode, prefill, decode, idle and gaps, the board's limit and its gain, the
sensor's phase, tick jitter of up to 3 ms, random pauses, and a skew of up to 3 ms common to all marks. Powers vary from
call to call by 0, 3 and 10 %, one session after the other. The engine is not told the sensor's period or window.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.simulated import goals, summary
from benchmarks.simulated.cells import (
    CALLS,
    FEW_CALLS,
    HARDSHIPS,
    PREFILLS_MS,
    RISES_NS,
    SENSORS,
    VARIATIONS,
    chosen,
    docs_sessions,
)
from benchmarks.simulated.results import collect
from benchmarks.simulated.summary import Summary, rms, share, summaries
from benchmarks.tables import show

CONDITIONS = (
    "Simulated sessions; no figure is from a real board. Refused figures count with the middle of their bounds."
)


RAMPS_HEADER = (
    "sensor", "power", "sessions", "half-width % (median)", "caused by the phase: bias %", "covered %",
    "between its marks: bias %", "covered %",
)  # fmt: skip


def run(options: Sequence[str] = ()) -> None:
    """The cells that are asked for, the table by variation, and the goals."""
    asked = _parser().parse_args(options)
    cells = chosen(asked.sensor, asked.phase, asked.calls, asked.hardship)
    work = [
        (cell, seed)
        for cell in cells
        for seed in range(docs_sessions(cell, asked.sessions) if asked.docs else asked.sessions)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = asked.results or Path(folder) / "outcomes.jsonl"
        found = summaries(cells, collect(work, path, resume=asked.resume, jobs=asked.jobs))
    _show(found)


def _show(found: Sequence[Summary]) -> None:
    _show_at_a_glance([each for each in found if not each.cell.hardship])
    for hardship, words in HARDSHIPS.items():
        rows = [each.row() for each in found if each.cell.hardship == hardship]
        if rows:
            show(f"The joules of a prefill{f': {words}' if words else ''}", summary.HEADER, rows, CONDITIONS)
    varied = [row for each in found if each.cell.calls == 20 and not each.cell.hardship for row in _by_variation(each)]
    if varied:
        show("20 calls, by variation", ("sensor", "prefill", "variation", "sessions", "RMS %", "covered %"), varied)
    ramps = [_ramps(each) for each in found if each.cell.hardship in RISES_NS]
    if ramps:
        show("Ramps: against joules between the marks", RAMPS_HEADER, ramps)
    show("Goals", goals.HEADER, goals.judged(found))


def _show_at_a_glance(found: Sequence[Summary]) -> None:
    """RMS, half-width and coverage of each sensor and length by number of calls."""
    own = {(each.cell.sensor, each.cell.prefill_ms, each.cell.calls): each for each in found}
    calls = sorted({each.cell.calls for each in found})
    rows = [
        (SENSORS[sensor].words, f"{ms} ms", *(_at_a_glance(own.get((sensor, ms, each))) for each in calls))
        for sensor, ms in dict.fromkeys((sensor, ms) for sensor, ms, _ in own)
    ]
    sessions = ", ".join(
        f"{_range([len(cell.found) for cell in found if cell.cell.calls == n])} at n = {n}" for n in calls
    )
    if rows:
        show(
            "RMS error / median half-width / truths covered, in %",
            ("sensor", "prefill", *(f"{each} call{'s' if each > 1 else ''}" for each in calls)),
            rows,
            f"Sessions a cell: {sessions} calls. (r) = refused in more than half of them. {CONDITIONS}",
        )


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts)} to {max(counts)}" if max(counts) > min(counts) else str(min(counts))


def _at_a_glance(cell: Summary | None) -> str:
    if cell is None:
        return "-"
    refused = " (r)" if cell.refused > 0.5 else ""
    return f"{100 * cell.rms:.2g} / {100 * cell.half_width:.2g} / {100 * cell.covered:.0f}{refused}"


def _by_variation(cell: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for variation in VARIATIONS:
        own = [each for each in cell.found if each.variation == variation]
        if own:
            covered = share(own, lambda each: each.covers)
            rows.append((
                SENSORS[cell.cell.sensor].words, f"{cell.cell.prefill_ms} ms", f"{variation:.0%}", str(len(own)),
                f"{100 * rms(own):.2f}", f"{100 * covered:.1f}",
            ))  # fmt: skip
    return rows


def _ramps(cell: Summary) -> tuple[str, ...]:
    marks_bias = fmean(each.marks_error for each in cell.found)
    return (
        SENSORS[cell.cell.sensor].words, HARDSHIPS[cell.cell.hardship], str(len(cell.found)),
        f"{100 * cell.half_width:.2f}", f"{100 * cell.bias:+.2f}", f"{100 * cell.covered:.1f}",
        f"{100 * marks_bias:+.2f}",
        f"{100 * share(cell.found, lambda each: each.marks_cover):.1f}",
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sessions", type=int, default=400, help="of each cell (with --docs: at most)")
    parser.add_argument("--docs", action="store_true", help="fewer sessions where no goal names the cell")
    parser.add_argument("--sensor", action="append", default=[], choices=list(SENSORS))
    parser.add_argument("--phase", action="append", default=[], type=int, choices=PREFILLS_MS, help="ms of prefill")
    parser.add_argument("--calls", action="append", default=[], type=int, choices=sorted((*CALLS, FEW_CALLS)))
    parser.add_argument("--hardship", action="append", default=[], choices=["none", *filter(None, HARDSHIPS)])
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--results", type=Path, help="a file of outcomes to append to")
    parser.add_argument("--resume", action="store_true", help="go on with the results file")
    return parser


if __name__ == "__main__":
    run()

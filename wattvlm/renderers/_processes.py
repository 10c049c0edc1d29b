"""The table of the processes of one job: the times of each one's calls and phases, and who takes longer than usual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean, median_low

from wattvlm.joining import LANES_A_PROCESS, PROCESS, STRAGGLES_FROM
from wattvlm.renderers._numbers import write_duration
from wattvlm.renderers._phases import phase_title
from wattvlm.renderers._table import Cell, Column, Row, Table
from wattvlm.renderers._text import Line, Span
from wattvlm.report import CallReport, Report

CALL = "call"
WORTH_SAYING = 0.02
"""Of a call's time: a phase that is over the usual by less holds nobody up."""


def process_table(report: Report) -> Table | None:
    """A row for each process of a joined recording that made calls, in order; None where there are not two."""
    by_process: dict[int, list[CallReport]] = {}
    for call in report.calls:
        by_process.setdefault(call.lane // LANES_A_PROCESS, []).append(call)
    named = {number: name for number in sorted(by_process) if (name := report.host.facts.get(f"{PROCESS} {number}"))}
    if len(named) < 2:
        return None
    times = {number: _times_ns(by_process[number]) for number in named}
    parts = list(dict.fromkeys(part for own in times.values() for part in own))
    usual = {part: median_low(own[part] for own in times.values() if part in own) for part in parts}
    rows = [
        Row((Span(name),), _cells(len(by_process[number]), times[number]), _slower(times[number], usual))
        for number, name in named.items()
    ]
    order = [*(part.name for part in report.phases if part.name in usual), CALL]
    columns = [Column("calls", "calls", 1), *(Column(part, phase_title(part)) for part in order)]
    return Table("VIRTUAL processes" if report.virtual else "by process", tuple(columns), tuple(rows), "mean times")


def _times_ns(calls: Iterable[CallReport]) -> dict[str, float]:
    """Mean time of each phase over the calls that have it, and of the whole call."""
    found: dict[str, list[float]] = {}
    for call in calls:
        found.setdefault(CALL, []).append(float(call.duration_ns))
        for part in call.phases:
            if part.duration_ns is not None:
                found.setdefault(part.name, []).append(float(part.duration_ns))
    return {part: fmean(values) for part, values in found.items()}


def _cells(calls: int, times_ns: Mapping[str, float]) -> dict[str, Cell]:
    written: dict[str, Cell] = {part: (Span(write_duration(time_ns)),) for part, time_ns in times_ns.items()}
    return {"calls": (Span(f"{calls:,}"),), **written}


def _slower(times_ns: Mapping[str, float], usual_ns: Mapping[str, float]) -> Line:
    """'decode 1.31 times the usual' of the part that costs the most time over it; nothing where none is."""
    over = [
        (time_ns - usual_ns[part], part)
        for part, time_ns in times_ns.items()
        if part != CALL
        and time_ns > max(STRAGGLES_FROM * usual_ns[part], usual_ns[part] + WORTH_SAYING * usual_ns[CALL])
    ]
    if not over:
        return ()
    _, part = max(over)
    words = f"{phase_title(part)} {times_ns[part] / usual_ns[part]:.2f} times the usual"
    return (Span(words, "unresolved"),)

"""Figures that several studies take from their runs: joules a request, times a call, shares, and slopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from math import inf

from wattvlm.bench import Cell
from wattvlm.comparison import Expected
from wattvlm.energy import Energy
from wattvlm.errors import NotComparable, NotResolved
from wattvlm.questions.asked import Run
from wattvlm.report import Report
from wattvlm.studies import Marginal, marginal
from wattvlm.studies.compare import seconds
from wattvlm.studies.expected import expected_part, expected_ratio
from wattvlm.studies.quotients import scaled, share
from wattvlm.units import NS_PER_S

ALLOWED = ("device", "driver", "power_limit", "virtual")
"""What may differ between cells of one study: it is the user who says on which devices it runs."""


def joules(report: Report, what: str = "request") -> Expected | None:
    """Joules per request, image, visual_token and so on for the expected call; None where they are not resolved."""
    try:
        return _of_next(report, expected_ratio(report, what))
    except NotResolved:
        return None


def run_joules(run: Run, what: str = "request") -> Expected | None:
    """As `joules`; of a model, whose own error is not known, the value alone, also for quotients of it."""
    found = joules(run.report, what)
    return Expected(found.value, found.value, found.value) if found is not None and run.is_modelled else found


def part_joules(report: Report, part: str) -> Expected | None:
    """Joules a call of a phase for the expected call; None where it has none, or they are not resolved."""
    try:
        return _of_next(report, expected_part(report, part))
    except (NotResolved, KeyError):
        return None


def _of_next(report: Report, found: Expected) -> Expected:
    """One call alone says nothing of how the next differs: its bounds are of the call that ran."""
    return replace(found, low=-inf, high=inf, is_bounds=False) if len(report.calls) < 2 else found


def share_or_none(report: Report, parts: Sequence[str]) -> Expected | None:
    """The part of a call's joules that these phases take together; None where it is not resolved."""
    present = [part for part in parts if any(each.name == part and not each.unseen for each in report.phases)]
    try:
        return share(report, present) if present else None
    except NotResolved:
        return None


def times(report: Report, name: str) -> list[float]:
    """Seconds of each call: of "call", "ttft", or a phase; calls without it are left out."""
    if name == "call":
        return seconds(report, "duration_ns")
    if name == "ttft":
        return seconds(report, "ttft_ns")
    found = [[part.duration_ns for part in call.phases if part.name == name] for call in report.calls]
    return [sum(each, 0.0) / NS_PER_S for each in ([one for one in call if one] for call in found) if each]


def line(runs: Sequence[Run], per: str, part: str = "call", along: Sequence[str] = ()) -> Marginal | str:
    """The line of a part's joules over counts of several runs of one model, as in `marginal`; why not, without one."""
    try:
        return marginal([run.report for run in runs], per=per, part=part, allow=ALLOWED, along=along)
    except (NotResolved, NotComparable, KeyError) as error:
        return str(error.args[0])


def slope(runs: Sequence[Run], per: str, part: str = "call") -> tuple[Expected | None, str]:
    """Joules of one more token of a kind over several runs of one model, and in words; why not, without a number."""
    found = line(runs, per, part)
    if isinstance(found, str):
        return None, found
    words = f"more; {found.intercept} a call without any; runs lie {found.residual_j:.2g} J around the line"
    return expected_of_energy(found.energy), "; ".join((words, *found.notes))


def expected_of_energy(energy: Energy) -> Expected:
    """An Energy of a fit, whose interval is already that of the expected call."""
    low_j, high_j = energy.interval_j
    value = energy.middle_j
    gains = tuple((board, gain_j / value) for board, gain_j in energy.gains_j.items()) if value else ()
    return Expected(value, low_j, high_j, energy.is_bounds, gains)


def a_request(found: Expected | None, run: Run) -> Expected | None:
    """A value of a call as that of each of its requests, which a batch holds several of."""
    return None if found is None else scaled(found, 1.0 / run.cell.batch_size)


def row_name(cell: Cell) -> str:
    """What a table calls a cell's model."""
    return cell.model.rstrip("/").rsplit("/", 1)[-1]


def picture_words(cell: Cell) -> str:
    """The pictures of a cell's request: "text only", "448 x 448", "4 of 448 x 448"; "" for one of the model's size."""
    if not cell.images:
        return "text only"
    size = "" if cell.resolution is None else f"{cell.resolution[0]} x {cell.resolution[1]}"
    if cell.images == 1:
        return size
    return f"{cell.images} of {size}" if size else f"{cell.images} pictures"


def series_of(runs: Sequence[Run], *varied: str) -> dict[str, list[Run]]:
    """Runs that differ in nothing but fields of their cell, by their model and whatever else not all runs share."""
    others = [name for name in (each.name for each in fields(Cell)) if name not in (*varied, "model")]
    telling = [name for name in others if len({getattr(run.cell, name) for run in runs}) > 1]
    found: dict[str, list[Run]] = {}
    for run in runs:
        words = [_SETTING_WORDS[name].format(getattr(run.cell, name)) for name in telling if name in _SETTING_WORDS]
        if "images" in telling or "resolution" in telling:
            words.append(picture_words(run.cell))
        found.setdefault(" ".join(filter(None, (row_name(run.cell), *words))), []).append(run)
    return found


_SETTING_WORDS = {"batch_size": "batch {}", "output_tokens": "{} tokens", "dtype": "{}", "device": "{}"}

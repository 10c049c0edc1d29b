"""The table of a sweep: joules and times at each power limit or clock, the best setting, and the knees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wattvlm.comparison import Expected
from wattvlm.renderers._comparisons._page import NOT_KNOWN, Page, expected_cells, machine_words, warnings
from wattvlm.renderers._phases import phase_title
from wattvlm.renderers._table import Cell, Column, Row, Table
from wattvlm.renderers._text import Span, glue
from wattvlm.sweep import SLOWER_FRACTION, Knee, Setting, Sweep
from wattvlm.units import NS_PER_MS, NS_PER_S, energy_scale, format_j

_TIMES = (("ttft_s", "TTFT ms"), ("tpot_s", "TPOT ms"), ("latency_s", "latency ms"))
_MS_PER_S = NS_PER_S / NS_PER_MS


def page(sweep: Sweep) -> Page:
    """The page of a sweep."""
    columns = _columns(sweep)
    rows = tuple(
        Row((Span(glue(str(point.setting))),), {column.key: cells[place] for column, cells in columns})
        for place, point in enumerate(sweep.points)
    )
    label = f"  {sweep.label}: " if sweep.label else "  "
    return Page(
        (Span("wattvlm sweep", "strong"), Span(f"{label}{_what(sweep)}{_bounds(sweep)}")),
        (Span(machine_words([sweep.identity])),),
        warnings([sweep.identity], sweep.is_modelled),
        Table(_axis(sweep), tuple(column for column, _ in columns), rows),
        (Span(_best(sweep)),),
        tuple((Span("note  ", "dim"), Span(words)) for words in _notes(sweep)),
        (Span(_footer(sweep), "dim"),),
    )


def _axis(sweep: Sweep) -> str:
    first = sweep.points[0].setting
    if first.core_clock_hz is None:
        return "limit"
    return "clock" if first.power_limit_w is None else "setting"


def _what(sweep: Sweep) -> str:
    words = {"limit": "power limits", "clock": "clocks", "setting": "settings"}[_axis(sweep)]
    return f"{len(sweep.points)} {words}"


def _bounds(sweep: Sweep) -> str:
    bounds = ("TTFT", sweep.ttft_under_s), ("TPOT", sweep.tpot_under_s)
    said = [f"mean {name} under {under_s * _MS_PER_S:g} ms" for name, under_s in bounds if under_s is not None]
    return f", {' and '.join(said)}" if said else ""


def _columns(sweep: Sweep) -> list[tuple[Column, list[Cell]]]:
    """Joules a request, times, then joules and milliseconds of each phase; too narrow, phases leave first."""
    points = sweep.points
    found = [
        (Column("verdict", ""), [_verdict(sweep, place) for place in range(len(points))]),
        _joules(
            "joules_per_request", "request", 0, [point.metrics.get("joules_per_request") for point in points], sweep
        ),
    ]
    for leaves, (metric, title) in zip((0, 0, 50), _TIMES):
        found.append(_times(metric, title, leaves, [point.metrics.get(metric) for point in points]))
    names = [phase.name for phase in points[-1].phases if phase.name != "call"]
    for place, name in enumerate(names):
        phases = [next((each for each in point.phases if each.name == name), None) for point in points]
        title = phase_title(name)
        joules = [None if each is None else each.joules for each in phases]
        seconds = [None if each is None else each.seconds for each in phases]
        found.append(_joules(f"{name}_joules", title, 20 + place, joules, sweep))
        found.append(_times(f"{name}_seconds", f"{title} ms", 1 + place, seconds))
    return [(column, cells) for column, cells in found if any(cell and cell != NOT_KNOWN for cell in cells)]


def _joules(
    key: str, what: str, leaves: int, values: Sequence[Expected | None], sweep: Sweep
) -> tuple[Column, list[Cell]]:
    middles = sorted(each.value for each in values if each is not None)
    factor, unit = energy_scale(middles[len(middles) // 2]) if middles else (1.0, "J")
    return Column(key, f"{unit}/{what}", leaves), expected_cells(values, factor, "", sweep.is_modelled)


def _times(key: str, title: str, leaves: int, values: Sequence[Expected | None]) -> tuple[Column, list[Cell]]:
    return Column(key, title, leaves), expected_cells(values, _MS_PER_S, "", is_modelled=False)


def _verdict(sweep: Sweep, place: int) -> Cell:
    if place == sweep.best:
        return (Span("best", "strong"),)
    meets = sweep.points[place].meets
    if meets == "no":
        return (Span("too slow", "dim"),)
    if meets == "cannot tell":
        return (Span("may be too slow", "dim"),)
    return (Span("as good"),) if place in sweep.candidates else ()


def _best(sweep: Sweep) -> str:
    if sweep.best is None:
        if sweep.is_modelled or not sweep.points[0].metrics.get("joules_per_request"):
            return "No setting is called the best: that takes joules from a sensor."
        maybe = [str(sweep.points[place].setting) for place in sweep.candidates]
        return (
            f"No setting surely keeps the bounds{f'; of {_listed(maybe)} it cannot be told' if maybe else ''}. Cure: "
            f"{'more calls' if maybe else 'a higher limit or clock, or wider bounds'}."
        )
    point = sweep.points[sweep.best]
    found = point.metrics["joules_per_request"]
    half_j = max(found.high - found.value, found.value - found.low)
    words = f"Least joules a request: {point.setting}, {format_j(found.value)} ±{format_j(half_j, 2)}."
    others = [str(sweep.points[place].setting) for place in sweep.candidates if place != sweep.best]
    words += f" {_listed(others)} cannot be told from it." if others else " It surely has the least of these settings."
    return words + _between(sweep)


def _between(sweep: Sweep) -> str:
    low, high = sweep.between
    if low is not None and high is not None:
        where = f"between {low} and {high}"
    elif low is not None or high is not None:
        where = f"above {low}" if low is not None else f"below {high}"
    else:
        return ""
    return f" If joules fall and then rise along this axis, the least of all lies {where}."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _notes(sweep: Sweep) -> Iterator[str]:
    if sweep.knees:
        top = sweep.points[-1].setting
        knees = "; ".join(_knee(each, top) for each in sweep.knees)
        yield f"slower by more than {SLOWER_FRACTION * 100:g} % than at {top}: {knees}"
    yield from sweep.notes


def _knee(knee: Knee, top: Setting) -> str:
    name = phase_title(knee.part)
    if knee.above is None:
        return f"{name} at none of these" if knee.below != top else f"{name}, which cannot be told"
    return f"{name} below a {'clock' if top.power_limit_w is None else 'limit'} between {knee.above} and {knee.below}"


def _footer(sweep: Sweep) -> str:
    said = ["± is 95 % of the expected call; as good: cannot be told from the best, with 95 % for all together."]
    if sweep.is_modelled:
        said.append("~ is a model.")
    if sweep.ttft_under_s is not None or sweep.tpot_under_s is not None:
        said.append(
            "too slow: the whole interval of a mean is over its bound; the slowest calls are slower than the mean."
        )
    return " ".join(said)

"""The table of phases: phases down, domains across, then the whole call and what lies above idle."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.errors import NotResolved
from wattvlm.renderers._joules import DOMAIN_TITLES, joule_cells, verdict, watt_cells
from wattvlm.renderers._numbers import write_duration
from wattvlm.renderers._table import Cell, Column, Row, Share, Table
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.report import WAITING, Part, PartEnergy, Report
from wattvlm.sensing import Domain
from wattvlm.units import NS_PER_MS, energy_scale

_LEAVES = {"ticks": 1, "power": 2, "ram": 3, "cpu": 4, "node": 5, "soc": 6, "gpu": 7}
"""Too narrow, columns go in this order; the accelerator's joules and the times never do."""

_NOT_READ: Line = (Span("not read", "unresolved"),)
_LONG_NS = 100 * NS_PER_MS


def phase_title(name: str) -> str:
    """'vision encode' for vision_encode."""
    return name.replace("_", " ")


def listed(names: Sequence[str], conjunction: str) -> str:
    """'vision encode, prefill and decode'."""
    titles = [phase_title(name) for name in names]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} {conjunction} {titles[-1]}"


def all_rows(report: Report) -> list[Part]:
    """The phases of a call and what lies between them; nothing where no call was seen."""
    if report.total is None:
        return []
    return [*report.phases, *([report.between] if report.between is not None else [])]


def phase_table(report: Report) -> Table:
    """The table of phases; of the whole block where no call was seen in it."""
    parts, total = all_rows(report), report.total or report.block
    above = _above_idle(report, total)
    rows = [*parts, total, *above]
    tails = [
        *(_tail(report, parts, part, total) for part in parts),
        *(_whole_tail(report, part) for part in rows[len(parts) :]),
    ]
    times_ns = [total.duration_ns if part in above else part.duration_ns for part in rows]
    names: list[Line] = [(Span(phase_title(part.name)), Span(_how_often(report, parts, part), "dim")) for part in parts]
    names += [(Span("call" if report.total is not None else "whole block"),), *((Span(part.name),) for part in above)]
    cells = _cells(report, rows, times_ns, total)
    built = [
        Row(name, shown, tail, apart=bool(parts) and part is total)
        for part, name, shown, tail in zip(rows, names, cells, tails, strict=True)
    ]
    return Table(_title(report), _columns(report, total, built), tuple(built), _tail_title(report, total))


def own_phase_table(report: Report) -> Table | None:
    """The user's own phases, which may lie anywhere: means of one occurrence; None where there are none."""
    rows = report.own_phases
    if not rows:
        return None
    accelerator = report.accelerator
    largest = max(rows, key=lambda part: _middle_j(part, accelerator))
    cells = _cells(report, rows, [part.duration_ns for part in rows], largest)
    built = [
        Row((Span(part.name),), {**shown, "times": (Span(f"{part.calls:,}"),)}, _own_tail(report, part))
        for part, shown in zip(rows, cells, strict=True)
    ]
    own = "your phases" if any(part.name != WAITING for part in rows) else "beside the requests"
    title = f"VIRTUAL {own}" if report.virtual else own
    return Table(title, (Column("times", "times"), *_columns(report, largest, built)), tuple(built))


def _cells(
    report: Report, rows: Sequence[Part], times_ns: Sequence[float | None], scale: Part
) -> list[dict[str, Cell]]:
    """Each row's cells by column: its time, watts and ticks of the accelerator, and joules by domain."""
    accelerator = report.accelerator
    coarse = (scale.duration_ns or 0.0) >= _LONG_NS
    factor, _ = _scale(report, scale)
    columns: dict[str, list[Cell | None]] = {
        "time": [_time(part, coarse) for part in rows],
        "power": list(watt_cells(rows, times_ns, accelerator)),
        **{domain: joule_cells(rows, domain, factor) for domain in report.domains},
        "ticks": [_ticks(part, accelerator) for part in rows],
    }
    return [
        {key: cell for key, column in columns.items() if (cell := column[index]) is not None}
        for index in range(len(rows))
    ]


def _columns(report: Report, scale: Part, rows: Sequence[Row]) -> tuple[Column, ...]:
    accelerator = report.accelerator
    _, unit = _scale(report, scale)
    columns = [Column("time", "time")]
    if accelerator is not None:
        columns.append(Column("power", f"{DOMAIN_TITLES[accelerator]} W", _LEAVES["power"]))
    for domain in sorted(report.domains, key=lambda domain: domain != accelerator):
        leaves = 0 if domain == accelerator else _LEAVES[domain]
        columns.append(Column(domain, f"{DOMAIN_TITLES[domain]} {unit}", leaves))
    columns.append(Column("ticks", "ticks", _LEAVES["ticks"]))
    return tuple(column for column in columns if any(column.key in row.cells for row in rows))


def _title(report: Report) -> str:
    words = "per call" if len(report.calls) != 1 else "this call"
    words = words if report.total is not None else "this block"
    return f"VIRTUAL {words}" if report.virtual else words


def _scale(report: Report, scale: Part) -> tuple[float, str]:
    """One unit for a whole table, that of the accelerator's joules in one of its rows."""
    return energy_scale(_middle_j(scale, report.accelerator))


def _middle_j(part: Part, domain: Domain | None) -> float:
    found = part.energies.get(domain) if domain is not None else None
    return found.energy.middle_j if found is not None else 0.0


_DUST = 1e-9
"""A constant model lies above its own idle by rounding only: that is nothing to show."""


def _above_idle(report: Report, total: Part) -> list[Part]:
    """The row of joules above idle, of the domains whose idle power was seen; no row where there are none."""
    found: dict[Domain, PartEnergy] = {}
    for domain in report.domains:
        try:
            energy = report.joules("call" if report.total is not None else "block", [domain], above_idle=True)
        except NotResolved:
            continue
        if abs(energy.middle_j) > _DUST * abs(total.energies[domain].energy.middle_j):
            found[domain] = PartEnergy(energy, ("above idle",), True, energy.interval_j)
    return [Part("above idle", total.calls, None, found)] if found else []


def _time(part: Part, coarse: bool) -> Cell | None:
    return None if part.duration_ns is None else (Span(write_duration(part.duration_ns, coarse)),)


def _ticks(part: Part, domain: Domain | None) -> Cell | None:
    found = part.energies.get(domain) if domain is not None else None
    return None if found is None or found.ticks is None else (Span(f"{found.ticks:,}"),)


def _how_often(report: Report, parts: Sequence[Part], part: Part) -> str:
    some = part in parts and not part.unseen and 0 < part.calls < len(report.calls)
    return " " + glue(f"{part.calls:,} of {len(report.calls):,} calls") if some else ""


def _shares_time(report: Report, total: Part) -> bool:
    """True where bars show time, since there are no measured joules of a whole to show parts of."""
    found = total.energies.get(report.accelerator) if report.accelerator else None
    return found is None or not found.stands_alone or found.energy.is_modelled or found.energy.middle_j <= 0.0


def _tail_title(report: Report, total: Part) -> str:
    if report.total is None:
        return ""
    if _shares_time(report, total) or report.accelerator is None:
        return "of the time"
    return f"of the {DOMAIN_TITLES[report.accelerator]}'s joules"


def _tail(report: Report, rows: Sequence[Part], part: Part, total: Part) -> Share | Line:
    """What ends a phase's row: its share, or in words why it has none."""
    if part.unseen:
        return (Span(part.unseen, "dim"),)
    accelerator = report.accelerator
    found = part.energies.get(accelerator) if accelerator is not None else None
    if found is None and accelerator is not None:
        return _NOT_READ
    if found is None or _shares_time(report, total):
        time_ns = part.duration_ns
        share = Share(time_ns / total.duration_ns) if time_ns is not None and total.duration_ns else ()
    else:
        share = Share(found.energy.middle_j / _middle_j(total, accelerator))
    return verdict(rows, part, accelerator) or share


def _whole_tail(report: Report, part: Part) -> Line:
    return verdict([], part, report.accelerator)


def _own_tail(report: Report, part: Part) -> Line:
    return (Span(part.unseen, "dim"),) if part.unseen else verdict(report.own_phases, part, report.accelerator)

"""The table of phases: phases down, domains across; the whole call, what lies above idle, the user's own phases."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.errors import NotResolved
from wattvlm.renderers._heading import DOMAIN_TITLES
from wattvlm.renderers._numbers import Amount, Parts, amount_of, write_column, write_range
from wattvlm.renderers._table import Cell, Column, Row, Share, Table
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.report import Part, PartEnergy, Report
from wattvlm.sensing import Domain
from wattvlm.units import NS_PER_S, energy_scale, format_ns

_LEAVES = {"ticks": 1, "power": 2, "ram": 3, "cpu": 4, "node": 5, "soc": 6, "gpu": 7}
"""Too narrow, columns go in this order; the accelerator's joules and the times never do."""

NOT_RESOLVED: Line = (Span(glue("not resolved"), "unresolved"),)
_NOT_APART: Line = (Span("not resolved apart", "unresolved"),)
_NOT_READ: Line = (Span("not read", "unresolved"),)
_CURE = "Cure: more calls, a longer phase, or a faster sensor."


def phase_title(name: str) -> str:
    """'vision encode' for vision_encode."""
    return name.replace("_", " ")


def phase_table(report: Report) -> Table:
    """The table of phases; of the whole block where no call was seen in it."""
    parts, total, own = _parts(report), report.total or report.block, report.own_phases
    above = _above_idle(report, total)
    rows = [*parts, total, *above, *own]
    factor, unit = _scale(report, total)
    by_domain = {domain: _cells(rows, domain, factor) for domain in report.domains}
    powers = _powers(report, rows)
    tails = [
        *(_tail(report, parts, part, total) for part in parts),
        *(_verdict(report, part) for part in (total, *above)),
        *((Span(_times(part)),) for part in own),
    ]
    titles = {"block": "the block", "call": "call"}
    names = [phase_title(titles.get(part.name, part.name)) for part in rows[: len(rows) - len(own)]]
    names += [part.name for part in own]
    apart = ({len(parts)} if parts else set[int]()) | ({len(rows) - len(own)} if own else set[int]())
    built: list[Row] = []
    for index, part in enumerate(rows):
        cells: dict[str, Cell | None] = {domain: by_domain[domain][index] for domain in report.domains}
        cells |= {"time": _time(part), "power": powers[index], "ticks": _ticks(report, part)}
        shown = {key: cell for key, cell in cells.items() if cell is not None}
        name: Line = (Span(names[index]), Span(_how_often(report, parts, part), "dim"))
        built.append(Row(name, shown, tails[index], apart=index in apart))
    return Table(_title(report), _columns(report, unit, built), tuple(built), _tail_title(report, total))


def _parts(report: Report) -> list[Part]:
    if report.total is None:
        return []
    return [*report.phases, *([report.between] if report.between is not None else [])]


def _title(report: Report) -> str:
    words = "per call" if len(report.calls) != 1 else "this call"
    words = words if report.total is not None else "no call"
    return f"VIRTUAL {words}" if report.virtual else words


def _columns(report: Report, unit: str, rows: Sequence[Row]) -> tuple[Column, ...]:
    accelerator = report.accelerator
    columns = [Column("time", "time")]
    if accelerator is not None:
        columns.append(Column("power", f"{DOMAIN_TITLES[accelerator]} W", _LEAVES["power"]))
    for domain in sorted(report.domains, key=lambda domain: domain != accelerator):
        leaves = 0 if domain == accelerator else _LEAVES[domain]
        columns.append(Column(domain, f"{DOMAIN_TITLES[domain]} {unit}", leaves))
    columns.append(Column("ticks", "ticks", _LEAVES["ticks"]))
    return tuple(column for column in columns if any(column.key in row.cells for row in rows))


def _scale(report: Report, total: Part) -> tuple[float, str]:
    """One unit for the whole table, that of the accelerator's total."""
    found = total.energies.get(report.accelerator) if report.accelerator else None
    return energy_scale(found.energy.middle_j) if found is not None else (1.0, "J")


def _above_idle(report: Report, total: Part) -> list[Part]:
    """The row of joules above idle, of the domains whose idle power was seen; no row where there are none."""
    found: dict[Domain, PartEnergy] = {}
    for domain in report.domains:
        try:
            energy = report.joules("call" if report.total is not None else "block", [domain], above_idle=True)
        except NotResolved:
            continue
        found[domain] = PartEnergy(energy, ("above idle",), True, energy.interval_j)
    return [Part("above idle", total.calls, None, found)] if found else []


def _cells(rows: Sequence[Part], domain: Domain, factor: float) -> list[Cell | None]:
    """One domain's joules down the table: numbers, brackets around one sum, ranges where nothing is resolved."""
    amounts: list[Amount | None] = []
    others: dict[int, Cell] = {}
    for index, part in enumerate(rows):
        found = part.energies.get(domain)
        bracket = _bracket(rows, part, domain)
        if found is None or part.unseen:
            amounts.append(None)
        elif bracket in ("first", "middle"):
            amounts.append(None)
            others[index] = Parts("", bracket=bracket)
        elif found.resolved:
            amounts.append(amount_of(found.energy, factor, bracket=bracket))
        else:
            amounts.append(None)
            low_j, high_j = found.bounds_j if found.stands_alone or len(found.covers) < 2 else found.energy.interval_j
            text = write_range(low_j * factor, high_j * factor, found.energy.is_modelled)
            others[index] = Parts(text, bracket=bracket, role="unresolved", is_range=True)
    return [others.get(index, parts) for index, parts in enumerate(write_column(amounts))]


def _merged(rows: Sequence[Part], part: Part, domain: Domain) -> list[str]:
    """The names of the rows that share one sum with this one, itself among them; empty where it has its own."""
    found = part.energies.get(domain)
    if found is None or len(found.covers) < 2 or part.name not in found.covers:
        return []
    names = [row.name for row in rows if (other := row.energies.get(domain)) and set(other.covers) == set(found.covers)]
    return names if len(names) > 1 else []


def _bracket(rows: Sequence[Part], part: Part, domain: Domain) -> str:
    names = _merged(rows, part, domain)
    if not names:
        return ""
    return {names[0]: "first", names[-1]: "last"}.get(part.name, "middle")


def _mean_ns(report: Report, part: Part) -> float | None:
    """Time a call, over all calls; a phase that only some calls had counts as nothing in the others."""
    if part.duration_ns is None:
        return None
    calls = len(report.calls)
    return part.duration_ns * part.calls / calls if calls and part in report.phases else part.duration_ns


def _powers(report: Report, rows: Sequence[Part]) -> list[Parts | None]:
    """Mean watts of the accelerator in each row that has joules of its own."""
    accelerator = report.accelerator
    amounts: list[Amount | None] = []
    for part in rows:
        found = part.energies.get(accelerator) if accelerator else None
        time_ns = _mean_ns(report, part if part.name != "above idle" else report.total or report.block)
        if found is None or not found.stands_alone or not time_ns:
            amounts.append(None)
        else:
            amounts.append(Amount(found.energy.middle_j / time_ns * NS_PER_S, modelled=found.energy.is_modelled))
    return write_column(amounts)


def _time(part: Part) -> Cell | None:
    return None if part.duration_ns is None else (Span(glue(format_ns(part.duration_ns))),)


def _ticks(report: Report, part: Part) -> Cell | None:
    found = part.energies.get(report.accelerator) if report.accelerator else None
    return None if found is None or found.ticks is None else (Span(f"{found.ticks:,}"),)


def _how_often(report: Report, parts: Sequence[Part], part: Part) -> str:
    some = part in parts and not part.unseen and 0 < part.calls < len(report.calls)
    return f" in {glue(f'{part.calls} of {len(report.calls)}')} calls" if some else ""


def _times(part: Part) -> str:
    return "your phase" + (f", {part.calls:,} times" if part.calls > 1 else "")


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
    found = part.energies.get(report.accelerator) if report.accelerator else None
    if found is None and report.accelerator is not None:
        return _NOT_READ
    if found is not None and report.accelerator is not None:
        if _bracket(rows, part, report.accelerator) in ("first", "middle"):
            return _NOT_APART
        if not found.resolved:
            return NOT_RESOLVED
    if found is None or _shares_time(report, total):
        time_ns = _mean_ns(report, part)
        return Share(time_ns / total.duration_ns) if time_ns is not None and total.duration_ns else ()
    whole = total.energies[report.accelerator or "gpu"].energy.middle_j
    return Share(found.energy.middle_j / whole)


def _verdict(report: Report, part: Part) -> Line:
    """What ends the row of a whole: nothing, or that it is not resolved."""
    found = part.energies.get(report.accelerator) if report.accelerator else None
    return NOT_RESOLVED if found is not None and not found.resolved else ()


def resolution(report: Report) -> list[Line]:
    """Below the table: what could not be told apart or resolved, on how many ticks, and the cure."""
    parts, total = _parts(report), report.total or report.block
    lines: list[Line] = []
    for domain in report.domains:
        sums = dict.fromkeys(names for part in parts if (names := tuple(_merged(parts, part, domain))))
        alone = [
            part.name
            for part in (*parts, total)
            if (found := part.energies.get(domain)) and not found.resolved and not _merged(parts, part, domain)
        ]
        said = [f"{' + '.join(map(phase_title, names))} is one sum on the {DOMAIN_TITLES[domain]}" for names in sums]
        if alone:
            verb = "is" if len(alone) == 1 else "are"
            listed = ", ".join(map(phase_title, alone))
            said.append(f"{listed} {verb} not resolved on the {DOMAIN_TITLES[domain]}: a range holds for any power")
        if said:
            unticked = [*(name for names in sums for name in names), *alone]
            lines.append((Span(f"{'; '.join(said)}. {_tick_words(parts, total, domain, unticked)}{_CURE}"),))
    return lines


def _tick_words(parts: Sequence[Part], total: Part, domain: Domain, names: Sequence[str]) -> str:
    found = total.energies.get(domain)
    if found is None or found.ticks is None:
        return ""
    empty = [
        phase_title(part.name)
        for part in parts
        if part.name in names and (energy := part.energies.get(domain)) and energy.ticks == 0
    ]
    inside = f", none inside {' or '.join(empty)}" if empty else ""
    return f"{glue(f'{found.ticks:,} ticks')}{inside}. "

"""One domain's column in a table of parts: joules, what is one sum of several parts, and what is not resolved."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.renderers._numbers import Amount, Parts, amount_of, write_column, write_range
from wattvlm.renderers._table import Cell
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.report import Part
from wattvlm.sensing import Domain
from wattvlm.units import NS_PER_S

DOMAIN_TITLES: dict[Domain, str] = {"gpu": "GPU", "cpu": "CPU", "ram": "RAM", "soc": "SoC", "node": "node"}

NOT_RESOLVED: Line = (Span(glue("not resolved"), "unresolved"),)
NOT_APART: Line = (Span("not resolved apart", "unresolved"),)


def joule_cells(rows: Sequence[Part], domain: Domain, factor: float) -> list[Cell | None]:
    """Numbers, brackets around rows that are one sum (given in the last of them), ranges where nothing is resolved."""
    amounts: list[Amount | None] = []
    others: dict[int, Cell] = {}
    for index, part in enumerate(rows):
        found = part.energies.get(domain)
        mark = bracket(rows, part, domain)
        if found is None or part.unseen:
            amounts.append(None)
        elif mark in ("first", "middle"):
            amounts.append(None)
            others[index] = Parts("", bracket=mark)
        elif found.resolved:
            amounts.append(amount_of(found.energy, factor, bracket=mark))
        else:
            amounts.append(None)
            low_j, high_j = found.energy.interval_j if mark else found.bounds_j
            text = write_range(low_j * factor, high_j * factor, found.energy.is_modelled)
            others[index] = Parts(text, bracket=mark, role="unresolved", is_range=True)
    return [others.get(index, parts) for index, parts in enumerate(write_column(amounts))]


def merged(rows: Sequence[Part], part: Part, domain: Domain) -> list[str]:
    """The names of the rows that share one sum with this one, itself among them; empty where it has its own."""
    found = part.energies.get(domain)
    if found is None or len(found.covers) < 2 or part.name not in found.covers:
        return []
    names = [row.name for row in rows if (other := row.energies.get(domain)) and set(other.covers) == set(found.covers)]
    return names if len(names) > 1 else []


def bracket(rows: Sequence[Part], part: Part, domain: Domain) -> str:
    """Where a row stands in the bracket of its sum: "first", "middle", "last", or "" for joules of its own."""
    names = merged(rows, part, domain)
    if not names:
        return ""
    return {names[0]: "first", names[-1]: "last"}.get(part.name, "middle")


def verdict(rows: Sequence[Part], part: Part, domain: Domain | None) -> Line:
    """Why a row has no joules of its own in a domain; empty where it has, or where it ends a sum with a number."""
    found = part.energies.get(domain) if domain is not None else None
    if found is None or domain is None:
        return ()
    if bracket(rows, part, domain) in ("first", "middle"):
        return NOT_APART
    return () if found.resolved else NOT_RESOLVED


def watt_cells(rows: Sequence[Part], times_ns: Sequence[float | None], domain: Domain | None) -> list[Parts | None]:
    """Mean watts of a domain in each row that has joules of its own; times_ns: how long those joules took."""
    amounts: list[Amount | None] = []
    for part, time_ns in zip(rows, times_ns, strict=True):
        found = part.energies.get(domain) if domain is not None else None
        if found is None or not found.stands_alone or not time_ns:
            amounts.append(None)
        else:
            amounts.append(Amount(found.energy.middle_j / time_ns * NS_PER_S, modelled=found.energy.is_modelled))
    return write_column(amounts)

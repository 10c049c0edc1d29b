"""What a comparison shows, before anyone knows in which format: a title, machines, a table, notes, and a footer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wattvlm.comparison import Comparison, Expected, Identity, Standings
from wattvlm.renderers._numbers import Amount, Parts, write_column, write_range
from wattvlm.renderers._table import Cell, Table
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.sweep import Sweep
from wattvlm.units import format_significant

Noun = Comparison | Standings | Sweep
NOT_KNOWN: Line = (Span("–", "dim"),)


@dataclass(frozen=True, slots=True)
class Page:
    """The parts of a comparison in their order; equal: what does not differ, or what is the best, in one sentence."""

    title: Line
    machine: Line
    warnings: tuple[Line, ...]
    table: Table
    equal: Line
    notes: tuple[Line, ...]
    footer: Line


def page_of(noun: Noun, narrow: bool = False) -> Page:
    """The page of two runs, of several, or of a sweep. narrow: for a terminal of 80 columns."""
    from wattvlm.renderers._comparisons import _differences, _standings, _sweeps

    if isinstance(noun, Sweep):
        return _sweeps.page(noun)
    return _differences.page(noun, narrow) if isinstance(noun, Comparison) else _standings.page(noun)


def machine_words(identities: Iterable[Identity]) -> str:
    """'NVIDIA H100 PCIe, limit 350 W, driver 570.86, joules measured of the gpu'; those that differ one after other."""
    return "; then ".join(dict.fromkeys(map(_one_machine, identities)))


def _one_machine(identity: Identity) -> str:
    limits = "/".join(each for each in identity.power_limits if each)
    facts = [
        " and ".join(identity.devices),
        f"limit {limits} W" if limits else "",
        f"driver {identity.driver}" if identity.driver else "",
        f"joules {identity.provenance}" if identity.provenance != "absent" else "no joules",
    ]
    return ", ".join(glue(fact) if index else fact for index, fact in enumerate(facts) if fact)


def warnings(identities: Iterable[Identity], is_modelled: bool) -> tuple[Line, ...]:
    """What to know before any number."""
    found: list[str] = []
    if any(each.virtual for each in identities):
        found.append("VIRTUAL hardware: joules of a script, not of a device.")
    if is_modelled:
        found.append("No power sensor: joules are a model's (~), so no verdict is given on them; times and counts are.")
    return tuple((Span(words, "unresolved"),) for words in found)


def expected_cells(expected: Iterable[Expected | None], factor: float, unit: str, is_modelled: bool) -> list[Cell]:
    """Values with the half of their intervals, in one unit with common decimals; ranges of bounds as such."""
    known = list(expected)
    amounts = [_amount(each, factor, unit, is_modelled) for each in known]
    return [_cell(each, parts, factor, unit) for each, parts in zip(known, write_column(amounts))]


def _amount(expected: Expected | None, factor: float, unit: str, is_modelled: bool) -> Amount | None:
    """What is written with others of its column: a model's value, or one with an interval of 95 %."""
    if expected is None:
        return None
    if is_modelled:
        return Amount(expected.value * factor, None, True, unit)
    half = max(expected.high - expected.value, expected.value - expected.low) * factor
    if expected.is_bounds or not 0.0 < half < float("inf"):
        return None
    return Amount(expected.value * factor, half, False, unit)


def _cell(expected: Expected | None, parts: Parts | None, factor: float, unit: str) -> Cell:
    if parts is not None:
        return parts
    if expected is None:
        return NOT_KNOWN
    if expected.is_bounds:
        return (Span(glue(f"{write_range(expected.low * factor, expected.high * factor)} {unit}".rstrip())),)
    whole, point, decimals = format_significant(expected.value * factor, 3).partition(".")
    return Parts(whole, point + decimals, unit=unit)

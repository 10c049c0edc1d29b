"""What a study's answer shows, before anyone knows in which format: tables in their units, findings in words."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Value
from wattvlm.comparison import Expected
from wattvlm.energy import format_with_half_width
from wattvlm.renderers._comparisons._page import NOT_KNOWN, expected_cells
from wattvlm.renderers._numbers import write_count
from wattvlm.renderers._table import Cell, Column, Row, Table
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.units import energy_scale, format_significant

_TENTH_S = 0.1


def title(answer: Answer) -> Line:
    """The study's name and its question."""
    return (Span(f"{answer.study}: ", "strong"), Span(answer.question))


def warnings(answer: Answer) -> tuple[Line, ...]:
    """What to know before any number."""
    found: list[str] = []
    if answer.virtual:
        found.append("VIRTUAL hardware: joules of a script, not of a device.")
    if answer.is_modelled:
        found.append("No power sensor in some runs: their joules are a model's (~), and no verdict is given on them.")
    return tuple((Span(words, "unresolved"),) for words in found)


def table_of(table: AnswerTable, is_modelled: bool) -> Table:
    """A table with its numbers written; joules in the unit that suits the largest of their column."""
    keys = [str(number) for number in range(len(table.headings))]
    columns: list[list[Cell]] = []
    titles: list[str] = []
    for number, heading in enumerate(table.headings):
        values = [row[number + 1] for row in table.rows]
        factor, unit = _scale(heading, values)
        columns.append(_cells(values, factor, is_modelled and heading.unit == "J"))
        titles.append(f"{heading.title} ({unit})" if unit else heading.title)
    rows = tuple(
        Row((Span(str(row[0] or "")),), {key: column[place] for key, column in zip(keys, columns)})
        for place, row in enumerate(table.rows)
    )
    return Table(table.of, tuple(Column(key, words) for key, words in zip(keys, titles)), rows)


def _scale(heading: Heading, values: Sequence[Value]) -> tuple[float, str]:
    sizes = [abs(each.value) if isinstance(each, Expected) else abs(each) for each in values
             if isinstance(each, (Expected, float, int))]  # fmt: skip
    largest = max(sizes, default=0.0)
    return scale_of(heading.unit, largest)


def scale_of(unit: str, largest: float) -> tuple[float, str]:
    """The factor and unit in which numbers up to a size read best."""
    if unit == "J":
        return energy_scale(largest)
    if unit == "s":
        return (1e3, "ms") if largest < _TENTH_S else (1.0, "s")
    return (100.0, "%") if unit == "%" else (1.0, unit)


def _cells(values: Sequence[Value], factor: float, is_modelled: bool) -> list[Cell]:
    """One column: numbers with intervals are written with common decimals."""
    with_interval = [each if isinstance(each, Expected) else None for each in values]
    written = expected_cells(with_interval, factor, "", is_modelled)
    return [
        cell if isinstance(value, Expected) else _plain(value, factor) for value, cell in zip(values, written)
    ]  # fmt: skip


def _plain(value: Value, factor: float) -> Cell:
    if value is None:
        return NOT_KNOWN
    if isinstance(value, str):
        return (Span(value),)
    assert not isinstance(value, Expected)
    scaled = value * factor
    return write_count(scaled) if scaled == round(scaled) else (Span(format_significant(scaled, 3)),)


def finding_line(finding: Finding) -> Line:
    """'decode's share: 94.2 ±0.1 % of a request's joules. The claim ... holds. Published: ...'."""
    number = number_words(finding)
    found = Span(f"{finding.what}: ", "strong"), Span(f"{number} {finding.words}".strip())
    claim = f". The statement “{finding.claim}”: {finding.verdict}" if finding.claim and finding.verdict else ""
    published = f". Published: {finding.published}" if finding.published else ""
    return (*found, Span(claim, "measured" if finding.verdict == "holds" else "plain"), Span(published, "dim"))


def number_words(finding: Finding) -> str:
    """The number of a finding with its interval, in its unit: '94.2 ±0.1 %'; "" without one."""
    found = finding.found
    if found is None:
        is_of_a_number = bool(finding.unit or finding.claim) or finding.words.startswith("times ")  # a quotient's words
        return "not resolved;" if is_of_a_number else ""
    factor, unit = scale_of(finding.unit, abs(found.value))
    if finding.is_modelled:
        return glue(f"~{format_significant(found.value * factor, 3)} {unit}".strip())
    low, high = (end * factor for end in (found.low, found.high))
    if not (isfinite(low) and isfinite(high)):
        return glue(f"{format_significant(found.value * factor, 3)} {unit} (one call says nothing of the next)".strip())
    if found.is_bounds:
        return glue(f"{format_significant(low, 3)} to {format_significant(high, 3)} {unit} (bounds)".strip())
    middle = found.value * factor
    value, half = format_with_half_width(middle, max(high - middle, middle - low))
    return glue(f"{value} ±{half} {unit}".strip())

"""A study's answer in the terminal, in the width there is."""

from __future__ import annotations

from dataclasses import replace

from wattvlm.answers import Answer
from wattvlm.renderers._answers import _page
from wattvlm.renderers._table import Glyphs, Table, lay_out
from wattvlm.renderers._text import Line, Span, width_of
from wattvlm.renderers.console import WIDEST_TEXT, drawn, wrapped

_SHORT_WORDS = 12
"""Of a last column that needs no second line."""

FORMAT = "console"
FILE_EXTENSION = ".txt"


def render(answer: Answer, width: int | None = None, colour: bool | None = None, unicode: bool | None = None) -> str:
    """The answer as text; the options are those of the console renderer of reports."""
    return drawn(lambda columns, glyphs: _lines(answer, min(columns, WIDEST_TEXT), glyphs), width, colour, unicode)


def _lines(answer: Answer, width: int, glyphs: Glyphs) -> list[Line]:
    blocks = [
        wrapped([_page.title(answer), *_page.warnings(answer)], width, glyphs, hanging=2),
        [line for finding in answer.findings for line in wrapped([_page.finding_line(finding)], width, glyphs, 4)],
        *(
            [
                (Span(table.title, "strong"),),
                *lay_out(_ending(_page.table_of(table, answer.is_modelled)), width, glyphs),
            ]
            for table in answer.tables
        ),
        wrapped([(Span(f"design: {words}", "dim"),) for words in answer.design], width, glyphs, hanging=8),
        wrapped([(Span(f"limit: {words}", "dim"),) for words in answer.limits], width, glyphs, hanging=7),
    ]
    lines: list[Line] = []
    for block in filter(None, blocks):
        lines.extend([(), *block] if lines else block)
    return lines


def _ending(table: Table) -> Table:
    """With long words of the last column as the ends of rows, which wrap, so that names keep their room."""
    *others, last = table.columns or (None,)
    ends = [row.cells.get(last.key) for row in table.rows] if last else []
    words = [end for end in ends if isinstance(end, tuple)]
    if last is None or len(words) < len(ends) or max(map(width_of, words), default=0) <= _SHORT_WORDS:
        return table
    rows = [replace(row, tail=words[place]) for place, row in enumerate(table.rows)]
    return replace(table, columns=tuple(column for column in others if column), rows=tuple(rows), tail_title=last.title)

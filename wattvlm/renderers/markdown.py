"""The summary as GitHub-flavoured Markdown, for a pull request, an issue or a model card."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wattvlm.renderers import _closing, _heading, _sensors
from wattvlm.renderers._phases import own_phase_table, phase_table
from wattvlm.renderers._processes import process_table
from wattvlm.renderers._ratios import ratio_table, uncounted
from wattvlm.renderers._resolution import resolution
from wattvlm.renderers._table import UNICODE, Row, Share, Table, aligned, percentage
from wattvlm.renderers._text import GLUE, Line, Span
from wattvlm.report import Report

FORMAT = "markdown"
FILE_EXTENSION = ".md"
IS_BINARY = False

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&@])")
"""What Markdown or GitHub would obey: emphasis, links, HTML, tables, strikes, and people's names."""


def render(report: Report) -> str:
    """The summary as Markdown; names of models and phases are escaped text."""
    tables = [phase_table(report), process_table(report), own_phase_table(report), ratio_table(report, brief=False)]
    phases, processes, own, ratios = (markdown_table(table) if table is not None else "" for table in tables)
    sections = [
        f"### {markdown_text(_heading.title(report))}",
        markdown_lines(_heading.devices(report, wide=True)),
        markdown_lines([*_heading.warnings(report), _heading.exact(report)]),
        markdown_lines(_heading.headline(report, wide=True)),
        phases,
        markdown_lines([resolution(report)]),
        processes,
        own,
        ratios,
        markdown_lines([uncounted(report)]),
        markdown_lines(_closing.times(report)),
        _lists(_sensors.sensor_entries(report)),
        markdown_lines(_closing.notes(report)),
        markdown_lines([_closing.footer(report)]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def markdown_text(line: Line) -> str:
    """A line as text that Markdown shows and does not obey."""
    words = "".join(span.text for span in UNICODE.line(line)).replace(GLUE, " ")
    return _MARKUP.sub(r"\\\1", " ".join(words.split()))


def markdown_lines(lines: Iterable[Line]) -> str:
    """Lines one below the other."""
    return "  \n".join(text for line in lines if line and (text := markdown_text(line)))


def markdown_table(table: Table) -> str:
    """A table with all its columns."""
    columns = [aligned([row.cells.get(column.key) for row in table.rows], UNICODE) for column in table.columns]
    has_tail = any(row.tail for row in table.rows)
    titles = [table.title, *(column.title for column in table.columns), *([table.tail_title] if has_tail else [])]
    rules = ["---", *("---:" for _ in table.columns), *(["---"] if has_tail else [])]
    rows = [_row(row, [column[index] for column in columns], has_tail) for index, row in enumerate(table.rows)]
    return "\n".join([_cells([_MARKUP.sub(r"\\\1", title) for title in titles]), _cells(rules), *rows])


def _row(row: Row, cells: list[Line], has_tail: bool) -> str:
    tail = [percentage(row.tail).replace(GLUE, " ").strip() if isinstance(row.tail, Share) else markdown_text(row.tail)]
    return _cells([markdown_text(row.name), *map(markdown_text, cells), *(tail if has_tail else [])])


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _lists(entries: Iterable[_sensors.Entry]) -> str:
    lines: list[str] = []
    for entry in entries:
        cure = f". Cure: {entry.cure}" if entry.cure else ""
        lines.append("* " + markdown_text((Span(f"{entry.domain} {entry.state}: {entry.words}{cure}"),)))
    return "\n".join(lines)

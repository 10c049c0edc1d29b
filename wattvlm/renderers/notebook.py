"""The summary as a small HTML table for notebooks, whole in itself; every name in it is escaped text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from wattvlm.renderers import _closing, _heading, _sensors
from wattvlm.renderers._phases import own_phase_table, phase_table
from wattvlm.renderers._processes import process_table
from wattvlm.renderers._ratios import ratio_table, uncounted
from wattvlm.renderers._resolution import resolution
from wattvlm.renderers._table import UNICODE, Row, Share, Table, aligned, percentage
from wattvlm.renderers._text import GLUE, Line, Span
from wattvlm.report import Report

FORMAT = "notebook"
FILE_EXTENSION = ".html"
IS_BINARY = False

_STYLE = """\
.wattvlm { font: 13px/1.45 system-ui, sans-serif; max-width: 75em; overflow-x: auto; }
.wattvlm p { margin: .5em 0; padding: 0; overflow-wrap: anywhere; }
.wattvlm table { font: inherit; border-collapse: collapse; border: 0; margin: .8em 0; }
.wattvlm.wattvlm th, .wattvlm.wattvlm td { padding: .1em .7em .1em 0; border: 0; text-align: left; vertical-align: top;
  background: none; overflow-wrap: anywhere; }
.wattvlm th:first-child, .wattvlm td:first-child { min-width: 1em; max-width: 22em; overflow-wrap: break-word; }
.wattvlm code { font: inherit; font-family: ui-monospace, monospace; color: inherit; background: none; }
.wattvlm thead th { border-bottom: 1px solid; font-weight: 600; white-space: nowrap; }
.wattvlm th.number { text-align: center; }
.wattvlm td.number { white-space: pre; text-align: right; font-family: ui-monospace, monospace; }
.wattvlm td.short { white-space: nowrap; }
.wattvlm tr.apart td { padding-top: .6em; }
.wattvlm .track { display: inline-block; width: 11em; height: .75em; margin-right: .6em; }
.wattvlm .percent { display: inline-block; min-width: 4em; text-align: right; }
.wattvlm .track i { display: block; height: 100%; background: currentColor; opacity: .55; }
.wattvlm .strong { font-weight: 600; } .wattvlm .dim, .wattvlm .bracket { opacity: .7; }
.wattvlm .model, .wattvlm .unresolved { color: #b07a00; } .wattvlm .measured { color: #2e9a4a; }
.wattvlm .absent { color: #d9453d; }
"""
"""Colours of medium lightness read on dark and on light pages; the rest follows the notebook's own. The class is named
twice where a notebook's own rule for cells (which aligns all of them to the right) must not win."""


def render(report: Report) -> str:
    """The summary as one HTML element without scripts, images or addresses."""
    tables = [
        phase_table(report),
        process_table(report),
        own_phase_table(report),
        ratio_table(report, brief=False),
    ]
    phases, processes, own, ratios = (_table(table) if table is not None else "" for table in tables)
    sections = [
        _paragraph([_heading.title(report)]),
        _paragraph(_heading.devices(report, wide=True)),
        _paragraph([*_heading.warnings(report), _heading.exact(report)]),
        _paragraph(_heading.headline(report, wide=True), separator=" &emsp; "),
        phases,
        _paragraph([resolution(report)]),
        processes,
        own,
        ratios,
        _paragraph([uncounted(report)]),
        _paragraph(_closing.times(report), separator=" &emsp; "),
        _sensor_table(_sensors.sensor_entries(report)),
        _paragraph(_closing.notes(report)),
        _paragraph([_closing.footer(report)]),
    ]
    return f'<div class="wattvlm"><style>{_STYLE}</style>{"".join(sections)}</div>'


def _paragraph(lines: Iterable[Line], separator: str = "<br>") -> str:
    written = separator.join(_html(line) for line in lines if line)
    return f"<p>{written}</p>" if written else ""


def _sensor_table(entries: Iterable[_sensors.Entry]) -> str:
    rows: list[str] = []
    for entry in entries:
        short = ((Span(entry.mark, entry.role),), (Span(entry.domain),), (Span(entry.state, entry.role),))
        cells = "".join(f'<td class="short">{_html(cell)}</td>' for cell in short)
        rows.append(f"<tr>{cells}<td>{_html((Span(entry.words),))}</td></tr>")
        if entry.cure:
            cure = f"<code>{_html((Span(entry.cure),))}</code>"
            rows.append(f'<tr><td></td><td></td><td class="dim">cure</td><td>{cure}</td></tr>')
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _html(line: Line) -> str:
    """A line as escaped text, its roles as classes."""
    written: list[str] = []
    for text, role in UNICODE.line(line):
        shown = escape(text).replace(GLUE, "&nbsp;")
        written.append(shown if role == "plain" or not shown.strip() else f'<span class="{role}">{shown}</span>')
    return "".join(written)


def _table(table: Table) -> str:
    columns = [aligned([row.cells.get(column.key) for row in table.rows], UNICODE) for column in table.columns]
    titles = "".join(f'<th class="number">{escape(column.title)}</th>' for column in table.columns)
    has_tail = any(row.tail for row in table.rows)
    tail_title = f"<th>{escape(table.tail_title)}</th>" if has_tail else ""
    rows = "".join(_row(row, [column[index] for column in columns], has_tail) for index, row in enumerate(table.rows))
    head = f"<thead><tr><th>{escape(table.title)}</th>{titles}{tail_title}</tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>"


def _row(row: Row, cells: list[Line], has_tail: bool) -> str:
    numbers = "".join(f'<td class="number">{_html(cell)}</td>' for cell in cells)
    tail = f"<td>{_tail(row.tail)}</td>" if has_tail else ""
    opening = '<tr class="apart">' if row.apart else "<tr>"
    return f"{opening}<td>{_html(row.name)}</td>{numbers}{tail}</tr>"


def _tail(tail: Share | Line) -> str:
    if not isinstance(tail, Share):
        return _html(tail)
    width = 100.0 * min(1.0, max(0.0, tail.fraction))
    bar = f'<span class="track"><i style="width:{width:.1f}%"></i></span>'
    return f'{bar}<span class="percent">{percentage(tail).replace(GLUE, "&nbsp;")}</span>'

"""A comparison as one page for the browser, whole in itself: changes with their intervals, and the table."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from wattvlm.comparison import Comparison, Standings
from wattvlm.renderers._comparisons._curves import UNITS, curves, curves_figure
from wattvlm.renderers._comparisons._differences import title_of
from wattvlm.renderers._comparisons._figures import FURTHEST, changes_figure, drawn_differences, joules_figure
from wattvlm.renderers._comparisons._page import Noun, page_of
from wattvlm.renderers._table import UNICODE, Row, Share, Table, aligned
from wattvlm.renderers._text import GLUE, Line
from wattvlm.renderers._webpage import plotted, require_bokeh, section, webpage
from wattvlm.sweep import Sweep

FORMAT = "html"
FILE_EXTENSION = ".html"

_JOULES = {"joules_per_request": "request", "joules_per_image": "image"}
BEYOND = "Changes of more than 100 % are drawn at 100 %; the table has them in full."
_SUMMARIES = {Comparison: "Every metric", Standings: "Every run", Sweep: "Every setting"}
_VERDICTS = {"worse": "worse", "better": "better", "changed": "changed"}


def render(noun: Noun) -> str:
    """The page as text. WattvlmError names the cure where Bokeh is not installed."""
    require_bokeh()
    page = page_of(noun)
    plots: list[Any] = []
    pictures = _pictures(noun, plots)
    top = "".join(f"<p>{html_text(line)}</p>" for line in (page.machine, *page.warnings))
    below = "".join(f"<p>{html_text(line)}</p>" for line in (page.equal, *page.notes, page.footer) if line)
    summary = section("summary", _SUMMARIES[type(noun)], f"{html_table(page.table)}{below}")
    missed = "Without scripts the pictures are not drawn; the table below holds all their numbers."
    title = " ".join(_words(page.title).split())
    return webpage(title, [top, pictures, summary], plots, missed)


def _pictures(noun: Noun, plots: list[Any]) -> str:
    if isinstance(noun, Sweep):
        return _curves(noun, plots)
    return _changes(noun, plots) if isinstance(noun, Comparison) else _joules(noun, plots)


def _curves(sweep: Sweep, plots: list[Any]) -> str:
    sections: list[str] = []
    for what, unit in UNITS.items():
        found = curves(sweep, what)
        if not found:
            continue
        plots.append(plotted(curves_figure(sweep, what, found), f"{what}-plot"))
        described = "; ".join(
            f"{curve.name}: {', '.join(f'{value:.4g} {unit} at {x:g}' for x, value in zip(curve.x, curve.values))}"
            for curve in found
        )
        caption = f"{what.capitalize()} a call at each setting, with 95 % intervals of the expected call."
        caption += " The dashed line is the best setting." if sweep.best is not None else ""
        sections.append(section(what, f"{what.capitalize()} by setting", _picture(f"{what}-plot", caption, described)))
    return "".join(sections)


def _changes(comparison: Comparison, plots: list[Any]) -> str:
    shown = drawn_differences(comparison)
    if not shown:
        return ""
    plots.append(plotted(changes_figure(shown), "changes-plot"))
    described = "; ".join(f"{title_of(each.metric)} {(each.change_fraction or 0) * 100:+.1f} %, {each.verdict}"
                          for each in shown)  # fmt: skip
    caption = "A line is the 95 % interval of a change; one that does not touch 0 has a verdict. "
    if any(abs(each.change_fraction or 0.0) > FURTHEST for each in shown):
        caption += BEYOND
    return section("changes", "What changed", _picture("changes-plot", caption, described))


def _joules(standings: Standings, plots: list[Any]) -> str:
    sections: list[str] = []
    for metric, label in _JOULES.items():
        known = [(run, run.metrics[metric]) for run in standings.runs if metric in run.metrics]
        if not known:
            continue
        plots.append(plotted(joules_figure(standings, metric, label), f"{label}-plot"))
        described = "; ".join(f"{run.name} {found.value:.4g} J" for run, found in known)
        kind = "modelled" if any(run.is_modelled for run, _ in known) else "measured"
        caption = f"Joules are {kind}; thin lines are their 95 % intervals."
        sections.append(section(label, f"Joules per {label}", _picture(f"{label}-plot", caption, described)))
    return "".join(sections)


def _picture(target: str, caption: str, described: str) -> str:
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><div id="{target}" class="plot" role="img" '
        f'aria-label="{escape(described)}"></div></figure>'
    )


def html_table(table: Table) -> str:
    """A table element that scrolls where it is too wide."""
    columns = [aligned([row.cells.get(column.key) for row in table.rows], UNICODE) for column in table.columns]
    has_tail = any(row.tail for row in table.rows)
    titles = [table.title, *(column.title for column in table.columns), *([table.tail_title] if has_tail else [])]
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    rows = "".join(_row(row, [column[index] for column in columns], has_tail) for index, row in enumerate(table.rows))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="The table"><table class="compared"><thead><tr>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(row: Row, cells: Iterable[Line], has_tail: bool) -> str:
    tail = "" if isinstance(row.tail, Share) else html_text(row.tail)
    kind = f' class="{_VERDICTS[tail]}"' if tail in _VERDICTS else ""
    end = f"<td{kind}>{tail}</td>" if has_tail else ""
    apart = ' class="apart"' if row.apart else ""
    return f'<tr{apart}><th scope="row">{html_text(row.name)}</th>{"".join(map(_cell, cells))}{end}</tr>'


def _cell(line: Line) -> str:
    return f"<td>{html_text(line)}</td>"


def html_text(line: Line) -> str:
    """A line as escaped text."""
    return escape(" ".join(_words(line).split()))


def _words(line: Line) -> str:
    return "".join(span.text for span in UNICODE.line(line)).replace(GLUE, " ")

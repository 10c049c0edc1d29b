"""A study's answer as one page for the browser, whole in itself: findings, picture, tables, design and limits."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape

from wattvlm.answers import Answer
from wattvlm.errors import WattvlmError
from wattvlm.renderers._answers import _page, png
from wattvlm.renderers._comparisons.html import html_table, html_text
from wattvlm.renderers._webpage import plain_webpage, section

FORMAT = "html"
FILE_EXTENSION = ".html"


def render(answer: Answer) -> str:
    """The page as text; the picture is in it where matplotlib is installed and there is something to draw."""
    found = "".join(f"<li>{html_text(_page.finding_line(each))}</li>" for each in answer.findings)
    warnings = "".join(f"<p>{html_text(line)}</p>" for line in _page.warnings(answer))
    tables = "".join(
        f"<h3>{escape(table.title)}</h3>{html_table(_page.table_of(table, answer.is_modelled))}"
        for table in answer.tables
    )
    sections = [
        warnings,
        section("summary", "What was found", f"<ul>{found}</ul>"),
        _picture(answer),
        section("tables", "Tables", tables) if tables else "",
        section("design", "Design", _list(answer.design)),
        section("limits", "Limits", _list(answer.limits)) if answer.limits else "",
    ]
    return plain_webpage(f"{answer.study}: {answer.question}", sections)


def _picture(answer: Answer) -> str:
    try:
        drawn = b64encode(png.render(answer)).decode()
    except WattvlmError as error:
        return f"<p>{escape(str(error))}</p>"
    described = "; ".join(
        f"{series.name} at {x:g}: {found.value:.4g}"
        for picture in answer.pictures
        for series in picture.series
        for x, found in series.points
    )
    caption = " ".join(f"{picture.title}." for picture in answer.pictures)
    image = f'<img src="data:image/png;base64,{drawn}" style="max-width:100%" alt="{escape(described)}">'
    content = f"<figure><figcaption>{escape(caption)} Bars and ticks are 95 % intervals.</figcaption>{image}</figure>"
    return section("picture", "Picture", content)


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"

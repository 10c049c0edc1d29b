"""A comparison in the terminal, in the width there is."""

from __future__ import annotations

from wattvlm.renderers._comparisons._page import Noun, page_of
from wattvlm.renderers._table import Glyphs, lay_out
from wattvlm.renderers._text import Line
from wattvlm.renderers.console import WIDE, WIDEST_TEXT, drawn, wrapped

FORMAT = "console"
FILE_EXTENSION = ".txt"


def render(noun: Noun, width: int | None = None, colour: bool | None = None, unicode: bool | None = None) -> str:
    """The comparison as text; the options are those of the console renderer of reports."""
    return drawn(lambda columns, glyphs: _lines(noun, min(columns, WIDEST_TEXT), glyphs), width, colour, unicode)


def _lines(noun: Noun, width: int, glyphs: Glyphs) -> list[Line]:
    page = page_of(noun, narrow=width < WIDE)
    blocks = [
        [*wrapped([page.title], width, glyphs, hanging=17), *wrapped([page.machine, *page.warnings], width, glyphs)],
        lay_out(page.table, width, glyphs),
        wrapped([page.equal], width, glyphs),
        wrapped(page.notes, width, glyphs, hanging=6),
        wrapped([page.footer], width, glyphs),
    ]
    lines: list[Line] = []
    for block in filter(None, blocks):
        lines.extend([(), *block] if lines else block)
    return lines

"""The console summary as an SVG picture, whole in itself: no font and nothing else is fetched when it is shown."""

from __future__ import annotations

import io
from typing import Literal

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from wattvlm.renderers._table import UNICODE
from wattvlm.renderers.console import NARROWEST, as_text, summary
from wattvlm.report import Report

FORMAT = "svg"
FILE_EXTENSION = ".svg"
IS_BINARY = False

Theme = Literal["dark", "light"]

_NORMAL: dict[Theme, list[tuple[int, int, int]]] = {
    "dark": [(40, 44, 52), (255, 107, 104), (126, 201, 119), (229, 192, 90), (97, 160, 239), (198, 120, 221),
             (86, 182, 194), (215, 218, 224)],
    "light": [(36, 41, 47), (190, 30, 38), (26, 118, 50), (140, 96, 0), (9, 90, 190), (120, 60, 190), (10, 112, 126),
              (110, 118, 125)],
}  # fmt: skip
"""Black, red, green, yellow, blue, magenta, cyan, white: each at least 4.5 to 1 against its page (WCAG 2.1, 1.4.3)."""

_THEMES: dict[Theme, TerminalTheme] = {
    "dark": TerminalTheme((24, 27, 33), (215, 218, 224), _NORMAL["dark"]),
    "light": TerminalTheme((255, 255, 255), (36, 41, 47), _NORMAL["light"]),
}

_PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<rect width="{width}" height="{height}" rx="8" fill="none" stroke="#8888" stroke-width="2"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own picture asks a web server for its font; this one takes a monospaced font of the reader's."""


def render(report: Report, width: int = 100, theme: Theme = "dark", title: str = "") -> str:
    """The summary as SVG text. width: columns, at least 60; theme: "dark" or "light"; title: in the window's frame."""
    lines = summary(report, max(NARROWEST, width), UNICODE)
    console = Console(
        file=io.StringIO(), record=True, width=max(NARROWEST, width), force_terminal=True, color_system="standard",
        legacy_windows=False,
    )  # fmt: skip
    for line in lines:
        console.print(as_text(line), markup=False, highlight=False, emoji=False, end="\n", no_wrap=True, crop=False)
    return console.export_svg(title=title, theme=_THEMES[theme], code_format=_PICTURE, unique_id="wattvlm")

"""The console summary: phases down, domains across, then the ratios, then the sensors, in the width there is."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.style import Style
from rich.text import Text

from wattvlm.renderers import _closing, _heading, _sensors
from wattvlm.renderers._phases import own_phase_table, phase_table
from wattvlm.renderers._processes import process_table
from wattvlm.renderers._ratios import ratio_table, uncounted
from wattvlm.renderers._resolution import resolution
from wattvlm.renderers._table import ASCII, UNICODE, Glyphs, lay_out
from wattvlm.renderers._text import GLUE, Line, Role, flow, wrap
from wattvlm.report import Report

FORMAT = "console"
FILE_EXTENSION = ".txt"
IS_BINARY = False

NARROWEST = 60
WIDE = 100
"""From this width on there is room for versions, watt-hours, ticks, and what is divided in full."""

WIDEST_TEXT = 120
_DRAWN = "±●◐○─┐│┘▏█"

STYLES: dict[Role, str] = {
    "plain": "", "strong": "bold", "dim": "dim", "model": "yellow", "unresolved": "yellow", "measured": "green",
    "absent": "red", "bar": "cyan", "bracket": "dim",
}  # fmt: skip


def render(report: Report, width: int | None = None, colour: bool | None = None, unicode: bool | None = None) -> str:
    """The summary as text without a newline at its end; nothing is printed.

    width: columns, at least 60 (default: the terminal's; 80 where there is none). colour: with ANSI colours (default:
    where standard output is a terminal that has them, and NO_COLOR is not set). unicode: False writes ASCII alone
    (default: what standard output can encode).
    """
    return drawn(lambda columns, glyphs: summary(report, columns, glyphs), width, colour, unicode)


def drawn(
    lines_of: Callable[[int, Glyphs], list[Line]], width: int | None, colour: bool | None, unicode: bool | None
) -> str:
    """Lines that are made for a width and an alphabet, as text for this terminal; the options as in `render`."""
    terminal = Console()
    if colour is None:
        colour = terminal.is_terminal and terminal.color_system is not None and not terminal.no_color
    if unicode is None:
        unicode = _can_encode(_DRAWN)
    lines = lines_of(max(NARROWEST, terminal.width if width is None else width), UNICODE if unicode else ASCII)
    return "\n".join(map(_plain, lines)) if not colour else _coloured(lines)


def summary(report: Report, width: int, glyphs: Glyphs) -> list[Line]:
    """The summary's lines, none wider than `width`."""
    wide, text_width = width >= WIDE, min(width, WIDEST_TEXT)
    blocks = [_top(report, text_width, wide, glyphs)]
    blocks.append(wrapped([*_heading.warnings(report), _heading.exact(report)], text_width, glyphs))
    blocks.append(flow([glyphs.line(item) for item in _heading.headline(report, wide)], text_width))
    blocks.append(lay_out(phase_table(report), text_width, glyphs))
    blocks.append(wrapped([resolution(report)], text_width, glyphs))
    for table in (process_table(report), own_phase_table(report), ratio_table(report, brief=not wide)):
        blocks.append(lay_out(table, text_width, glyphs) if table is not None else [])
    blocks.append(wrapped([uncounted(report)], text_width, glyphs))
    blocks.append(flow([glyphs.line(item) for item in _closing.times(report)], text_width))
    entries = _sensors.sensor_entries(report, wide)
    sensors = [line for entry in entries for line in _sensors.entry_lines(entry)]
    blocks.append(wrapped(sensors, text_width, glyphs, _sensors.INDENT))
    blocks.append(wrapped(_closing.notes(report), text_width, glyphs, hanging=6))
    blocks.append(wrapped([_closing.footer(report)], text_width, glyphs))
    lines: list[Line] = []
    for block in filter(None, blocks):
        lines.extend([(), *block] if lines else block)
    return lines


def _top(report: Report, width: int, wide: bool, glyphs: Glyphs) -> list[Line]:
    lines = wrap(glyphs.line(_heading.title(report)), width, hanging=9)
    machine = [glyphs.line(item) for item in _heading.devices(report, wide)]
    return lines + flow(machine, width, separator="  |  ")


def wrapped(lines: Iterable[Line], width: int, glyphs: Glyphs, hanging: int = 0) -> list[Line]:
    """Lines broken to a width; empty ones are left out."""
    return [piece for line in lines if line for piece in wrap(glyphs.line(line), width, hanging)]


def _plain(line: Line) -> str:
    return "".join(span.text for span in line).replace(GLUE, " ")


def as_text(line: Line) -> Text:
    """A line as rich prints it."""
    text = Text(no_wrap=True, end="")
    for span in line:
        text.append(span.text.replace(GLUE, " "), Style.parse(STYLES[span.role]))
    return text


def _coloured(lines: Iterable[Line]) -> str:
    """The lines with the sixteen ANSI colours, which each terminal shows in its own readable shades."""
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, color_system="standard", no_color=False, legacy_windows=False)
    for line in lines:
        console.print(as_text(line), soft_wrap=True, markup=False, highlight=False, emoji=False, end="\n")
    return page.getvalue().removesuffix("\n")


def _can_encode(text: str) -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True

"""Pieces of text with a role instead of a colour, so that console, SVG and notebook say the same in their own way."""

from __future__ import annotations

import unicodedata
from typing import Literal, NamedTuple

from rich.cells import cell_len, chop_cells

Role = Literal["plain", "strong", "dim", "model", "unresolved", "measured", "absent", "bar", "bracket"]

GLUE = "\u00a0"
"""A space at which no line is broken; it keeps a number with its unit and is printed as a plain space."""

_SPELLED_IN_ASCII = str.maketrans({
    "±": "+-", "µ": "u", "×": "x", "─": "-", "│": "|", "●": "*", "◐": "~", "○": "-", "┐": "]", "┤": "]", "┘": "]",
    "█": "#", "–": "-", "’": "'", "“": '"', "”": '"', "\ufffd": "?", GLUE: GLUE,
})  # fmt: skip


class Span(NamedTuple):
    """A piece of one line and what it means."""

    text: str
    role: Role = "plain"


Line = tuple[Span, ...]


def glue(text: str) -> str:
    """The text as one word for line breaking: '52 ms' stays on one line."""
    return text.replace(" ", GLUE)


def legible(text: str, unicode: bool = True) -> str:
    """The text without anything that could steer a terminal or reverse its reading order; ASCII where asked.

    A report may come from a file of strangers, so names are shown and never obeyed.
    """
    shown = "".join(map(_shown, text))
    if unicode:
        return shown
    spelled = shown.translate(_SPELLED_IN_ASCII)
    return "".join(mark if mark == GLUE or mark.isascii() else ascii(mark)[1:-1] for mark in spelled)


def _shown(mark: str) -> str:
    if mark in "\n\r\t\v\f\u2028\u2029":
        return " "
    # Cc, Cf, Cs, Co, Cn: control, format (right-to-left override), half surrogates, private use, unassigned
    return "\ufffd" if unicodedata.category(mark).startswith("C") else mark


def width_of(line: Line) -> int:
    """Terminal columns that a line takes."""
    return sum(cell_len(span.text) for span in line)


def wrap(line: Line, width: int, hanging: int = 0) -> list[Line]:
    """The line broken at spaces into lines of at most `width` columns, all but the first indented by `hanging`.

    A word longer than a line is broken inside; nothing is ever left out.
    """
    lines: list[list[Span]] = [[]]
    used = 0
    for word in _words(line):
        space = 1 if used > (hanging if len(lines) > 1 else 0) else 0
        size = width_of(word)
        if used + space + size > width and space:
            lines.append([Span(" " * hanging)])
            used, space = hanging, 0
        if space:
            lines[-1].append(Span(" "))
        if used + space + size <= width:
            lines[-1].extend(word)
            used += space + size
            continue
        for index, piece in enumerate(_chopped(word, max(1, width - hanging))):
            if index:
                lines.append([Span(" " * hanging)])
                used = hanging
            lines[-1].extend(piece)
            used += width_of(piece)
    return [tuple(each) for each in lines]


def flow(items: list[Line], width: int, separator: str = "   ") -> list[Line]:
    """Items side by side in as many lines as they need; an item breaks only where it must."""
    lines: list[Line] = []
    for item in items:
        joined: Line = (*lines[-1], Span(separator, "dim"), *item) if lines else item
        if lines and width_of(joined) <= width:
            lines[-1] = joined
        else:
            lines.extend(wrap(item, width))
    return lines


def _words(line: Line) -> list[Line]:
    """The line cut at its spaces; a word may be of several roles."""
    words: list[list[Span]] = [[]]
    for text, role in line:
        first, *others = text.split(" ")
        if first:
            words[-1].append(Span(first, role))
        for other in others:
            words.append([Span(other, role)] if other else [])
    return [tuple(word) for word in words if word]


def _chopped(word: Line, width: int) -> list[Line]:
    """A word longer than a line, cut into pieces that fit."""
    pieces: list[Line] = []
    for text, role in word:
        pieces.extend((Span(piece, role),) for piece in chop_cells(text, width))
    return pieces

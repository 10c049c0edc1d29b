"""Tables: rows of named cells with a bar or words at the end, fitted to a width without shortening any number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len

from wattvlm.renderers._numbers import Parts
from wattvlm.renderers._text import GLUE, Line, Span, glue, legible, width_of, wrap

Cell = Parts | Line


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, shown as a bar and a percentage; fraction 0.91 is 91.0 %."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Column:
    """A column of cells. leaves: its place in the order of leaving when it gets too narrow, 1 first; 0 stays."""

    key: str
    title: str
    leaves: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its name, cells by column key, and a bar or words at its end; set apart from the row before."""

    name: Line
    cells: Mapping[str, Cell] = field(default_factory=dict[str, Cell])
    tail: Share | Line = ()
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is meant, before anyone knows how wide it may be."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    tail_title: str = ""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The marks of an alphabet: box drawing and blocks, or ASCII."""

    unicode: bool
    rule: str
    blocks: str
    brackets: Mapping[str, str]

    def line(self, line: Line) -> Line:
        """The line in this alphabet and without control characters."""
        return tuple(span._replace(text=legible(span.text, self.unicode)) for span in line)

    def bar(self, share: Share, width: int) -> str:
        """A bar of at most `width` columns."""
        steps = len(self.blocks)
        filled = round(min(1.0, max(0.0, share.fraction)) * width * steps)
        return self.blocks[-1] * (filled // steps) + (self.blocks[filled % steps - 1] if filled % steps else "")


UNICODE = Glyphs(True, "─", "▏▎▍▌▋▊▉█", {"": "", "first": "┐", "middle": "│", "last": "┘"})
ASCII = Glyphs(False, "-", "#", {"": "", "first": "]", "middle": "]", "last": "]"})

_GAP = 2
_WIDEST_NAME = 28
_COMFORTABLE_NAME = 16
"""A name wraps to this width before a column leaves, and to less only when none can leave."""

_NARROWEST_NAME = 8
_WIDEST_TAIL = 44
_NARROWEST_TAIL = 8
_PERCENT_WIDTH = 7


@dataclass(frozen=True, slots=True)
class _Widths:
    """The room that a column's numbers need, part by part."""

    bracket: int
    whole: int
    fraction: int
    interval: int
    unit: int


def aligned(cells: Sequence[Cell | None], glyphs: Glyphs) -> list[Line]:
    """The cells of one column, all of one width, decimal points one below the other."""
    spelled = [_spelled(cell, glyphs) for cell in cells]
    numbers = [cell for cell in spelled if isinstance(cell, Parts) and not cell.is_range]
    widths = _Widths(
        bracket=2 if any(isinstance(cell, Parts) and cell.bracket for cell in spelled) else 0,
        whole=max((len(each.whole) + each.modelled for each in numbers), default=0),
        fraction=max((len(each.fraction) for each in numbers), default=0),
        interval=max((len(each.interval) for each in numbers), default=0),
        unit=max((len(each.unit) for each in numbers), default=0),
    )
    lines = [_padded(cell, widths) for cell in spelled]
    width = max(map(width_of, lines), default=0)
    return [_filled(line, width) for line in lines]


def _filled(line: Line, width: int) -> Line:
    """The line moved right to fill the width; a bracket stays at the left."""
    spaces = Span(" " * (width - width_of(line)))
    return (line[0], spaces, *line[1:]) if line and line[0].role == "bracket" else (spaces, *line)


def _spelled(cell: Cell | None, glyphs: Glyphs) -> Cell:
    if not isinstance(cell, Parts):
        return glyphs.line(cell or ())
    return replace(
        cell,
        bracket=glyphs.brackets[cell.bracket],
        interval=legible(cell.interval, glyphs.unicode),
        unit=legible(cell.unit, glyphs.unicode),
    )


def _padded(cell: Cell, widths: _Widths) -> Line:
    """One cell with its parts where the column has them; its width is the column's but for words and ranges."""
    if not isinstance(cell, Parts):
        return cell
    bracket = (Span(cell.bracket.ljust(widths.bracket), "bracket"),) if widths.bracket else ()
    if cell.is_range:
        return (*bracket, Span(cell.whole, cell.role))
    tilde = (Span("~", "model"),) if cell.modelled else ()
    line = [*bracket, Span(" " * (widths.whole - len(cell.whole) - cell.modelled)), *tilde]
    line.append(Span(cell.whole + cell.fraction.ljust(widths.fraction), cell.role))
    if widths.interval:
        line.append(Span(" " + cell.interval.ljust(widths.interval), "dim"))
    if widths.unit:
        line.append(Span(" " + cell.unit.ljust(widths.unit), cell.role))
    return tuple(line)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What a width allows: the columns that stay, with their widths, and the room for names and ends of rows."""

    columns: tuple[Column, ...]
    cells: Mapping[str, list[Line]]
    widths: Mapping[str, int]
    name: int
    tail: int

    @property
    def middle(self) -> int:
        return sum(_GAP + self.widths[column.key] for column in self.columns)


def lay_out(table: Table, width: int, glyphs: Glyphs) -> list[Line]:
    """The table's lines, none wider than `width`. Too narrow, whole columns go; a number is never shortened."""
    fit = _fit(table, width, glyphs)
    heading = [_trimmed(line) for line in _heading(table, fit, glyphs)]
    full = max([fit.name + fit.middle + (_GAP + fit.tail if fit.tail else 0), *map(width_of, heading)])
    lines = [*heading, (Span(glyphs.rule * full, "dim"),)]
    for index, row in enumerate(table.rows):
        if row.apart:
            lines.append(())
        lines.extend(_row(row, index, fit, glyphs))
    return [_trimmed(line) for line in lines]


def _fit(table: Table, width: int, glyphs: Glyphs) -> _Fit:
    cells = {column.key: aligned([row.cells.get(column.key) for row in table.rows], glyphs) for column in table.columns}
    widths = {
        column.key: max([cell_len(legible(column.title, glyphs.unicode)), *map(width_of, cells[column.key])])
        for column in table.columns
    }
    names = [(Span(table.title),), *(row.name for row in table.rows)]
    name = min(_WIDEST_NAME, max(width_of(glyphs.line(each)) for each in names))
    tail = _wanted_tail(table)
    staying = list(table.columns)
    while True:
        fit = _Fit(tuple(staying), cells, widths, name, 0)
        room = width - fit.middle - (_GAP + tail if tail else 0)
        leaving = min((column for column in staying if column.leaves), key=lambda column: column.leaves, default=None)
        if room >= max(_NARROWEST_NAME, min(name, _COMFORTABLE_NAME)) or leaving is None:
            break
        staying.remove(leaving)
    name = max(_NARROWEST_NAME, min(name, room))
    left = width - name - fit.middle - _GAP
    if not tail or left < _NARROWEST_TAIL:
        return replace(fit, name=name)
    return replace(fit, name=name, tail=min(left, _WIDEST_TAIL) if _has_bars(table) else left)


def _wanted_tail(table: Table) -> int:
    """Room for the ends of rows below which a column leaves rather: the heading, or 20 columns of longer words."""
    if not any(row.tail for row in table.rows):
        return 0
    longest = 20 if _has_bars(table) else max(width_of(row.tail) for row in table.rows if isinstance(row.tail, tuple))
    return max(cell_len(table.tail_title), min(20, longest))


def _has_bars(table: Table) -> bool:
    return any(isinstance(row.tail, Share) for row in table.rows)


def _heading(table: Table, fit: _Fit, glyphs: Glyphs) -> list[Line]:
    names = wrap(glyphs.line((Span(table.title, "strong"),)), fit.name)
    middle: list[Span] = []
    for column in fit.columns:
        title = legible(column.title, glyphs.unicode)
        width = fit.widths[column.key]
        centred = any(_has_interval(row.cells.get(column.key)) for row in table.rows)
        middle.append(Span(" " * _GAP + (title.center(width) if centred else title.rjust(width)), "strong"))
    tails = wrap(glyphs.line((Span(table.tail_title, "strong"),)), fit.tail) if fit.tail and table.tail_title else []
    last = max(len(names), len(tails)) - 1
    low_names, low_tails = (([()] * (last + 1 - len(lines))) + lines for lines in (names, tails))
    return _side_by_side(low_names, tuple(middle), low_tails, fit, middle_at=last)


def _has_interval(cell: Cell | None) -> bool:
    return isinstance(cell, Parts) and bool(cell.interval)


def _row(row: Row, index: int, fit: _Fit, glyphs: Glyphs) -> list[Line]:
    names = wrap(glyphs.line(row.name), fit.name, hanging=2)
    middle: list[Span] = []
    for column in fit.columns:
        cell = fit.cells[column.key][index]
        middle.append(Span(" " * (_GAP + fit.widths[column.key] - width_of(cell))))
        middle.extend(cell)
    return _side_by_side(names, tuple(middle), _tail(row.tail, fit.tail, glyphs), fit)


def _tail(tail: Share | Line, width: int, glyphs: Glyphs) -> list[Line]:
    if not tail or not width:
        return []
    if isinstance(tail, tuple):
        return wrap(glyphs.line(tail), width)
    percent = percentage(tail).rjust(_PERCENT_WIDTH)
    room = width - cell_len(percent) - 1
    bar = glyphs.bar(tail, room) if room >= 4 else ""
    return [(Span(bar, "bar"), Span(" " * (width - cell_len(bar) - cell_len(percent)) + percent))]


def percentage(share: Share) -> str:
    """'91.0 %'; a fraction beyond all sense in exponents, since no number is shortened."""
    percent = share.fraction * 100.0
    return glue(f"{percent:.1f} %" if abs(percent) < 1e6 else f"{percent:.2g} %")


def _side_by_side(names: list[Line], middle: Line, tails: list[Line], fit: _Fit, middle_at: int = 0) -> list[Line]:
    """Name, numbers and end of one row; the numbers stand in its line `middle_at`."""
    lines: list[Line] = []
    for index in range(max(1, len(names), len(tails))):
        name = names[index] if index < len(names) else ()
        tail = tails[index] if index < len(tails) else ()
        cells = middle if index == middle_at else (Span(" " * fit.middle),)
        lines.append((*name, Span(" " * (fit.name - width_of(name))), *cells, Span(" " * _GAP), *tail))
    return lines


def _trimmed(line: Line) -> Line:
    """The line without spaces at its end."""
    spans = list(line)
    while spans and not spans[-1].text.rstrip(f" {GLUE}"):
        spans.pop()
    if spans:
        spans[-1] = spans[-1]._replace(text=spans[-1].text.rstrip(f" {GLUE}"))
    return tuple(spans)

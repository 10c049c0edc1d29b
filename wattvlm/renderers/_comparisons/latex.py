"""A comparison as a LaTeX table with the rules of booktabs."""

from __future__ import annotations

from collections.abc import Iterable

from wattvlm.renderers._comparisons._page import Noun, page_of
from wattvlm.renderers._table import UNICODE, Row, Share, Table, aligned
from wattvlm.renderers._text import GLUE, Line, legible

FORMAT = "latex"
FILE_EXTENSION = ".tex"

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "→": r"$\rightarrow$", "–": "--", "µ": r"\textmu{}", GLUE: " ",
}  # fmt: skip


def render(noun: Noun) -> str:
    """A table environment; \\usepackage{booktabs} is all it needs. Names of runs are escaped text."""
    page = page_of(noun)
    caption = " ".join(map(text, (page.title, page.machine, *page.warnings, page.equal, *page.notes, page.footer)))
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{' '.join(caption.split())}}}", *tabular(page.table),
        r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def tabular(table: Table) -> list[str]:
    """The lines of a tabular environment."""
    columns = [aligned([row.cells.get(column.key) for row in table.rows], UNICODE) for column in table.columns]
    has_tail = any(row.tail for row in table.rows)
    titles = [table.title, *(column.title for column in table.columns), *([table.tail_title] if has_tail else [])]
    body: list[str] = []
    for index, row in enumerate(table.rows):
        if row.apart:
            body.append(r"\addlinespace")
        tail = [_tail(row)] if has_tail else []
        body.append(_cells([text(row.name), *(text(column[index]) for column in columns), *tail]))
    shape = f"l{'r' * len(columns)}{'l' if has_tail else ''}"
    return [rf"\begin{{tabular}}{{{shape}}}", r"\toprule", _cells(map(_escaped, titles)), r"\midrule", *body,
            r"\bottomrule", r"\end{tabular}"]  # fmt: skip


def _tail(row: Row) -> str:
    return "" if isinstance(row.tail, Share) else text(row.tail)


def _cells(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def text(line: Line) -> str:
    """A line as text that LaTeX typesets and does not obey."""
    return " ".join(_escaped("".join(span.text for span in UNICODE.line(line))).split())


def _escaped(words: str) -> str:
    """Text that LaTeX typesets and does not obey; what its fonts may lack is spelled in ASCII."""
    return "".join(_SPECIAL.get(mark) or legible(mark, unicode=mark.isascii()) for mark in words)

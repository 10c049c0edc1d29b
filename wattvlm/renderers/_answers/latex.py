"""A study's tables as LaTeX with the rules of booktabs; what was found stands in the caption."""

from __future__ import annotations

from wattvlm.answers import Answer
from wattvlm.renderers._answers import _page
from wattvlm.renderers._comparisons.latex import tabular, text
from wattvlm.renderers._text import Line, Span

FORMAT = "latex"
FILE_EXTENSION = ".tex"


def render(answer: Answer) -> str:
    """A table environment for each table; \\usepackage{booktabs} is all it needs."""
    lines: list[str] = []
    for table in answer.tables:
        caption: list[Line] = [(Span(f"{table.title}."),), *_page.warnings(answer)]
        if table is answer.tables[0]:
            caption += [_page.finding_line(each) for each in answer.findings]
            caption += [(Span(f"{words}."),) for words in (*answer.design, *answer.limits)]
        words = " ".join(_sentence(each) for each in caption)
        body = tabular(_page.table_of(table, answer.is_modelled))
        lines += [r"\begin{table}", r"\centering", rf"\caption{{{words}}}", *body, r"\end{table}"]
    return "\n".join(lines) + "\n"


def _sentence(line: Line) -> str:
    """A line of the caption with the full stop that it needs there."""
    words = " ".join(text(line).split())
    return words if words.endswith(".") else f"{words}."

"""A study's answer as GitHub-flavoured Markdown."""

from __future__ import annotations

from wattvlm.answers import Answer
from wattvlm.renderers._answers import _page
from wattvlm.renderers._text import Line, Span
from wattvlm.renderers.markdown import markdown_lines, markdown_table, markdown_text

FORMAT = "markdown"
FILE_EXTENSION = ".md"


def render(answer: Answer) -> str:
    """The answer as Markdown; names of models are escaped text."""
    sections = [
        f"### {markdown_text(_page.title(answer))}",
        markdown_lines(_page.warnings(answer)),
        _list([_page.finding_line(each) for each in answer.findings]),
    ]
    for table in answer.tables:
        sections += [f"**{table.title}**", markdown_table(_page.table_of(table, answer.is_modelled))]
    sections += [
        "Design:", _list([(Span(words),) for words in answer.design]),
        "Limits:", _list([(Span(words),) for words in answer.limits]),
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


def _list(lines: list[Line]) -> str:
    return "\n".join(f"* {markdown_text(line)}" for line in lines)

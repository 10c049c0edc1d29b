"""A comparison as GitHub-flavoured Markdown, for a comment on a pull request."""

from __future__ import annotations

from wattvlm.renderers._comparisons._page import Noun, page_of
from wattvlm.renderers.markdown import markdown_lines, markdown_table, markdown_text

FORMAT = "markdown"
FILE_EXTENSION = ".md"


def render(noun: Noun) -> str:
    """The comparison as Markdown; names of runs are escaped text."""
    page = page_of(noun)
    sections = [
        f"### {markdown_text(page.title)}",
        markdown_lines([page.machine, *page.warnings]),
        markdown_table(page.table),
        markdown_lines([page.equal]),
        markdown_lines(page.notes),
        markdown_lines([page.footer]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"

"""Renderers of a study's Answer: each turns it, and nothing else, into text or bytes.

A module has FORMAT and FILE_EXTENSION as the renderers of reports have, and render(answer, **options) -> str | bytes.
"""

from __future__ import annotations

from typing import Any

from wattvlm.answers import Answer
from wattvlm.plugins import own_modules


def render(answer: Answer, format: str = "console", **options: Any) -> str | bytes:
    """The answer in a format; ValueError for an unknown format names the known."""
    found = {module.FORMAT: module for module in own_modules(__name__)}
    if format not in found:
        raise ValueError(f"no renderer gives a study as {format!r}; the formats here are {', '.join(found)}")
    rendered: str | bytes = found[format].render(answer, **options)
    return rendered

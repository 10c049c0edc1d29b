"""Renderers of comparisons: each turns a Comparison of two runs, the Standings of several, or a Sweep into text.

A module has FORMAT and FILE_EXTENSION as the renderers of reports have, and render(noun, **options) -> str.
"""

from __future__ import annotations

from typing import Any

from wattvlm.plugins import own_modules
from wattvlm.renderers._comparisons._page import Noun


def render(noun: Noun, format: str = "console", **options: Any) -> str:
    """The comparison as text in a format; ValueError for an unknown format names the known."""
    found = {module.FORMAT: module for module in own_modules(__name__)}
    if format not in found:
        raise ValueError(f"no renderer gives a comparison as {format!r}; the formats here are {', '.join(found)}")
    return str(found[format].render(noun, **options))

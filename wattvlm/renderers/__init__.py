"""Renderers: each turns a Report, and nothing else, into text or bytes. One module, one format; found by themselves.

A renderer is a public module of this package, or a third party's module (or object) in the entry-point group
`wattvlm.renderers`, with

FORMAT          the name that `render` and the command line take
FILE_EXTENSION  with its dot: ".svg"
IS_BINARY       True where `render` gives bytes
render(report, **options) -> str | bytes; it never prints and never writes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from wattvlm.plugins import own_modules, third_party
from wattvlm.report import Report

RENDERER_GROUP = "wattvlm.renderers"
"""Entry-point group under which third parties register a renderer."""


class Renderer(Protocol):
    """What a renderer's module looks like from outside; each has options of its own."""

    @property
    def FORMAT(self) -> str: ...
    @property
    def FILE_EXTENSION(self) -> str: ...
    @property
    def IS_BINARY(self) -> bool: ...
    @property
    def render(self) -> Callable[..., str | bytes]: ...


def renderers() -> dict[str, Renderer]:
    """Every renderer by its format; our own formats cannot be taken by a third party's."""
    return _found()[0]


def render(report: Report, format: str = "console", **options: Any) -> str | bytes:
    """The report as text or bytes in a format; nothing is printed or written.

    options: those of the renderer, such as width=80 for "console". ValueError for an unknown format names the known.
    """
    known, failed = _found()
    if format not in known:
        because = f"; {format!r} is installed but cannot be loaded: {failed[format]!r}" if format in failed else ""
        raise ValueError(f"no renderer gives {format!r}; the formats here are {', '.join(sorted(known))}{because}")
    return known[format].render(report, **options)


def _found() -> tuple[dict[str, Renderer], dict[str, Exception]]:
    """Renderers by format, and why a third party's could not be loaded, by the name of its entry point."""
    found: dict[str, Renderer] = {}
    failed: dict[str, Exception] = {}
    for module in own_modules(__name__):
        renderer = cast(Renderer, module)
        found[renderer.FORMAT] = renderer
    for name, loaded in third_party(RENDERER_GROUP):
        if isinstance(loaded, Exception):
            failed[name] = loaded
        else:
            renderer = cast(Renderer, loaded)
            found.setdefault(str(getattr(renderer, "FORMAT", name)), renderer)
    return found, failed

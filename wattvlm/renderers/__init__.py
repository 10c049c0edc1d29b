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

from wattvlm.answers import Answer
from wattvlm.comparison import Comparison, Standings
from wattvlm.plugins import own_modules, third_party
from wattvlm.report import Report
from wattvlm.sweep import Sweep

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
    return {**_third_party()[0], **_own()}


def render(
    report: Report | Comparison | Standings | Sweep | Answer, format: str = "console", **options: Any
) -> str | bytes:
    """The report as text or bytes in a format; nothing is printed or written. Comparisons and studies have their own.

    options: those of the renderer, such as width=80 for "console". ValueError for an unknown format names the known.
    """
    if isinstance(report, Answer):
        from wattvlm.renderers import _answers

        return _answers.render(report, format, **options)
    if not isinstance(report, Report):
        from wattvlm.renderers import _comparisons

        return _comparisons.render(report, format, **options)
    found = _own().get(format)
    return found.render(report, **options) if found is not None else _foreign(format).render(report, **options)


def _own() -> dict[str, Renderer]:
    modules = (cast(Renderer, module) for module in own_modules(__name__))
    return {module.FORMAT: module for module in modules}


def _foreign(format: str) -> Renderer:
    """A third party's renderer. Entry points are slow to read (36 ms), so only a format that is not ours asks them."""
    found, failed = _third_party()
    if format in found:
        return found[format]
    because = f"; {format!r} is installed but cannot be loaded: {failed[format]!r}" if format in failed else ""
    known = ", ".join(sorted({*_own(), *found}))
    raise ValueError(f"no renderer gives {format!r}; the formats here are {known}{because}")


def _third_party() -> tuple[dict[str, Renderer], dict[str, Exception]]:
    """Third parties' renderers by format, and why one could not be loaded, by the name of its entry point."""
    found: dict[str, Renderer] = {}
    failed: dict[str, Exception] = {}
    for name, loaded in third_party(RENDERER_GROUP):
        if isinstance(loaded, Exception):
            failed[name] = loaded
        else:
            found.setdefault(str(getattr(loaded, "FORMAT", name)), cast(Renderer, loaded))
    return found, failed

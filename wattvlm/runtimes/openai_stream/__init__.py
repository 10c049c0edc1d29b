"""Requests to any OpenAI-compatible server, through httpx (so the openai client too) and requests."""

from __future__ import annotations

from typing import Any

from wattvlm.runtimes._watching import LibraryRuntime, Watching


def _watch_httpx(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.openai_stream.clients import watch_httpx

    watch_httpx(module, watching)


def _watch_requests(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.openai_stream.clients import watch_requests

    watch_requests(module, watching)


RUNTIME = LibraryRuntime("openai_stream", {"httpx": _watch_httpx, "httpx2": _watch_httpx, "requests": _watch_requests})

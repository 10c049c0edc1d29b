"""llama.cpp in this process: the server object of xllamacpp, and the Llama class of llama-cpp-python."""

from __future__ import annotations

from typing import Any

from wattvlm.runtimes._watching import LibraryRuntime, Watching


def _watch_xllamacpp(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.llama_cpp.server_object import watch_server

    watch_server(module.Server, watching)


def _watch_llama(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.llama_cpp.llama_class import watch_llama

    watch_llama(module, watching)


def _watch_images(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.llama_cpp.llama_class import watch_images

    watch_images(module, watching)


RUNTIME = LibraryRuntime(
    "llama_cpp",
    {"xllamacpp": _watch_xllamacpp, "llama_cpp.llama": _watch_llama, "llama_cpp.mtmd_cpp": _watch_images},
)

"""vLLM's plugin: entry point `wattvlm` of the group vllm.stat_logger_plugins.

vLLM makes one in the process of its front end for each engine and calls `record` after each iteration. The class is
made when it is asked for, since its parent is vLLM's.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattvlm.serving.following import Following


class _Recorder:
    """What the plugin does. Nothing that fails here is seen by the engine."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self._following: Following | None = None
        if not os.environ.get("WATTVLM_VLLM"):  # installed is not asked for
            return
        try:
            from wattvlm.serving.following import follow

            self._following = follow(vllm_config, engine_index)
        except Exception as error:
            tell(f"joules of requests are not measured ({type(error).__name__}: {error}); the server is not touched")

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """An iteration has ended: kept as it is, looked at by another thread."""
        if self._following is not None:
            self._following.iteration(scheduler_stats, iteration_stats)

    def log_engine_initialized(self) -> None:
        """vLLM has started."""
        if self._following is not None:
            tell(self._following.words)

    def log(self) -> None:
        """vLLM's own moment to write to its log; joules have their own places."""

    def record_sleep_state(self, is_awake: int = 0, level: int = 0) -> None:
        """The engine sleeps or wakes; its joules are those of an idle device meanwhile."""


def tell(line: str) -> None:
    """A line in vLLM's log."""
    import logging

    logging.getLogger("vllm.wattvlm").warning("wattvlm: %s", line)


def __getattr__(name: str) -> type:
    if name != "RequestJoules":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    loggers: Any = import_module("vllm.v1.metrics.loggers")
    return type("RequestJoules", (_Recorder, loggers.StatLoggerBase), {"__doc__": __doc__})

"""vLLM in this process: LLM.generate and chat, LLMEngine, AsyncLLM."""

from __future__ import annotations

from typing import Any

from wattvlm.runtimes._watching import LibraryRuntime, Watching


def _watch_outputs(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.vllm.engine import watch_outputs

    watch_outputs(module.OutputProcessor, watching)


def _watch_llm(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.vllm.engine import watch_llm

    watch_llm(module.LLM, watching)


RUNTIME = LibraryRuntime(
    "vllm",
    {"vllm.v1.engine.output_processor": _watch_outputs, "vllm.entrypoints.llm": _watch_llm},
    worker_package="vllm",
)

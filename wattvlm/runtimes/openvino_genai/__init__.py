"""OpenVINO GenAI's VLMPipeline, whose own metrics tell the vision encoder from the rest."""

from __future__ import annotations

from typing import Any

from wattvlm.runtimes._watching import LibraryRuntime, Watching


def _watch_pipelines(module: Any, watching: Watching) -> None:
    from wattvlm.runtimes.openvino_genai.pipeline import watch_pipeline

    watch_pipeline(module.VLMPipeline, watching)


RUNTIME = LibraryRuntime("openvino_genai", {"openvino_genai": _watch_pipelines})

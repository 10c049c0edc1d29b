"""VLMPipeline.generate: a call whose phases and counts are the pipeline's own metrics."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from wattvlm.runtimes import next_call_id
from wattvlm.runtimes._answers.image_tokens import ModelFiles, Size, image_tokens, model_files
from wattvlm.runtimes._watching import Watching
from wattvlm.runtimes.openvino_genai.timing import Timing, timing_of
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE, Mark, MarkKind, ModelFacts

Method = Callable[..., Any]

BOUNDARY_STD_NS = 100_000
"""The pipeline tells lengths to the microsecond, and moments only of tokens: what lies between phases is small."""

VISION_FILE = "openvino_vision_embeddings_model.bin"


def watch_pipeline(pipeline: Any, watching: Watching) -> None:
    """Wrap generate."""
    method = pipeline.generate

    @functools.wraps(method)
    def generate(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not watching.is_open:
            return method(self_, *args, **kwargs)
        call = _Call(watching)
        try:
            result = method(self_, *args, **kwargs)
        except BaseException as error:
            call.close(f"raised {type(error).__name__}")
            raise
        call.close("")
        try:
            call.describe(result.perf_metrics, args, kwargs)
        except Exception as error:
            watching.fault("reading the metrics", error)
        return result

    watching.patches.replace(pipeline, "generate", generate)


class _Call:
    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._call_id = next_call_id()
        self._lane = threading.get_ident()
        self._start_ns = time.monotonic_ns()
        self._end_ns = self._start_ns
        self._mark("call_start", self._start_ns, watching.name)

    def close(self, how: str) -> None:
        self._end_ns = time.monotonic_ns()
        self._mark("call_end", self._end_ns, self._watching.name, text=how)

    def describe(self, metrics: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Mark the phases and counts of a call that has returned."""
        timing = timing_of(metrics)
        if timing is not None:
            self._phases(timing)
        self._count("output", int(metrics.get_num_generated_tokens()), "metrics of the pipeline")
        sizes = _sizes(args, kwargs)
        self._count("images", len(sizes), "images given")
        prompt, has_video = int(metrics.get_num_input_tokens()), bool(kwargs.get("videos"))
        visual, files = 0, None
        if sizes or has_video:
            files = _mapped_model()
            each = [None if files is None else image_tokens(files, size) for size in sizes]
            if files is None or has_video or None in each:
                return
            visual = sum(tokens or 0 for tokens in each)
            self._mark("facts", self._start_ns, text=ModelFacts(name=files.where).to_json())
        source = (
            "no image given" if files is None else f"computed from the images' sizes and {files.where}, not observed"
        )
        if visual <= prompt:
            self._count("visual_input", visual, source)
            self._count("text_input", prompt - visual, "input tokens of the pipeline's metrics less visual ones")

    def _phases(self, timing: Timing) -> None:
        """Encoding and preparing begin with the call; prefill ends at the first token, whose moment is known."""
        holds = "" if timing.vision_ns else VISION_ENCODE
        encoded_ns = min(self._start_ns + timing.vision_ns, timing.first_ns)
        prepared_ns = min(self._start_ns + timing.prepare_ns, timing.first_ns)
        prefill_ns = max(timing.first_ns - timing.prefill_ns, prepared_ns)
        if timing.vision_ns:
            self._phase(VISION_ENCODE, self._start_ns, encoded_ns)
        self._phase(PREPROCESS, encoded_ns, prepared_ns)
        self._phase(PREFILL, prefill_ns, timing.first_ns, holds)
        self._mark("first_token", timing.first_ns)
        self._phase(DECODE, timing.first_ns, min(max(timing.last_ns, timing.first_ns), self._end_ns))
        self._count("decode_steps", timing.steps - 1, "steps of the pipeline after the prefill")

    def _phase(self, name: str, start_ns: int, end_ns: int, holds: str = "") -> None:
        self._mark("phase_start", start_ns, name, BOUNDARY_STD_NS, holds)
        self._mark("phase_end", end_ns, name, BOUNDARY_STD_NS)

    def _count(self, name: str, value: int, how: str) -> None:
        self._mark("count", self._end_ns, name, value, how)

    def _mark(self, kind: MarkKind, time_ns: int, name: str = "", value: float = 0.0, text: str = "") -> None:
        self._watching.sink(Mark(time_ns, kind, self._call_id, name, self._lane, value=float(value), text=text))


def is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple))


def _sizes(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Size]:
    """(width, height) of each image: tensors of (height, width, channels), with or without a first dimension of 1."""
    given: Any = kwargs.get("images", kwargs.get("image"))
    if given is None:
        given = next((each for each in args if is_sequence(each) or hasattr(each, "shape")), ())
    tensors: Iterable[Any] = (given,) if hasattr(given, "shape") else given
    return [(int(tensor.shape[-2]), int(tensor.shape[-3])) for tensor in tensors]


def _mapped_model() -> ModelFiles | None:
    """The files of the one vision model that OpenVINO has mapped into this process (proc_pid_maps(5))."""
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return None
    folders = {str(Path(line[line.index("/") :]).parent) for line in lines if line.endswith(f"/{VISION_FILE}")}
    return model_files(sorted(folders)) if len(folders) == 1 else None

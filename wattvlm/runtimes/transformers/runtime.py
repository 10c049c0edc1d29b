"""The transformers runtime: which methods are wrapped, and when."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import ref

from wattvlm.runtimes._arriving import Arrivals
from wattvlm.runtimes._patching import Patches
from wattvlm.runtimes.transformers.entries import entries_in
from wattvlm.runtimes.transformers.loose import class_of, entries_of
from wattvlm.runtimes.transformers.preprocessing import template_does_work, wrap_processor
from wattvlm.trace import Mark, MarkSink

if TYPE_CHECKING:
    from wattvlm.runtimes.transformers.device_time import StreamTimes
    from wattvlm.runtimes.transformers.unseen import CompilerWatch
    from wattvlm.runtimes.transformers.wraps import Wraps

SETTLE_PATIENCE_NS = 1_000_000_000

OnArrival = Callable[[ModuleType], None]


class TransformersRuntime:
    """Sees generate and bare calls of every model that torch and transformers run in this process.

    stream_times: how a device's clock is read, given the device's name; None is torch's own events on CUDA devices.
    """

    name = "transformers"

    def __init__(self, stream_times: Callable[[str], StreamTimes | None] | None = None) -> None:
        self._stream_times = stream_times
        self._lock = threading.RLock()
        self._installed = 0
        self._sink: MarkSink | None = None
        self._patches = Patches()
        self._arrivals: Arrivals | None = None
        self._wraps: Wraps | None = None
        self._watched: list[ref[Any]] = []
        self._is_hidden = False
        self._compiler: CompilerWatch | None = None

    def install(self, sink: MarkSink) -> None:
        with self._lock:
            self._sink = sink
            if self._wraps is not None:
                self._wraps.observer.sink, self._wraps.observer.is_open = sink, True
            self._installed += 1
            if self._installed > 1:
                return
            self._arrivals = Arrivals(
                {
                    "torch.nn.modules.module": self._shielded(self._on_torch),
                    "torch._dynamo": self._shielded(self._on_dynamo),
                    "transformers.generation.utils": self._shielded(self._on_generation),
                    "transformers.modeling_utils": self._shielded(self._on_modeling),
                    "transformers.processing_utils": self._shielded(self._on_processing),
                    "transformers.image_processing_utils": self._shielded(self._on_image_processing),
                }
            )
            self._arrivals.start()

    def uninstall(self) -> None:
        with self._lock:
            self._installed = max(0, self._installed - 1)
            if self._installed:
                return
            if self._arrivals is not None:
                self._arrivals.stop()
            if self._compiler is not None:
                self._compiler.stop()
                self._compiler = None
            self._patches.restore()
            if self._wraps is not None:
                self._wraps.observer.close()
            self._watched.clear()
            self._sink = None

    def settle(self) -> None:
        if self._wraps is not None:
            self._wraps.observer.settle(SETTLE_PATIENCE_NS)

    def watch(self, model: object) -> None:
        """See bare calls of a module whose class is not a transformers model, and a generate set on the instance."""
        self._shielded(self._watch)(model)

    def _watch(self, model: Any) -> None:
        wraps = self._followed()
        own_generate = entries_of(model).get("generate")
        if callable(own_generate):
            self._patches.replace(model, "generate", wraps.own_generate(model, own_generate))
        if not hasattr(model, "_modules") or any(known() is model for known in self._watched):
            return
        self._watched.append(ref(model))
        cls = class_of(model)
        self._patches.replace(cls, "__call__", wraps.call(cls.__call__, self._is_watched))

    def _is_watched(self, model: Any) -> bool:
        return any(known() is model for known in self._watched)

    # What is wrapped where

    def _on_torch(self, module: Any) -> None:
        wraps, root = self._followed(), module.Module
        self._patches.wrap_methods(root, {"generate": wraps.generate})

        def wrap_entries(cls: type) -> None:
            for owner, name, method in entries_in(cls, root):
                wrap = wraps.generate if name == "generate" else wraps.entry
                self._patches.replace(owner, name, wrap(method))

        self._patches.for_each_class(root, self._shielded(wrap_entries))

    def _on_dynamo(self, module: Any) -> None:
        from wattvlm.runtimes.transformers.unseen import CompilerWatch, hide_own_frames

        optimized = module.OptimizedModule
        wrapped = self._followed().call(optimized.__call__, _is_pretrained_inside)
        self._patches.replace(optimized, "__call__", wrapped)
        if not self._is_hidden:
            hide_own_frames(module.eval_frame.skip_code)
            self._is_hidden = True
        self._compiler = CompilerWatch(getattr(module, "callback_handler", None), self._patches)

    def _on_generation(self, module: Any) -> None:
        wraps, mixin = self._followed(), module.GenerationMixin
        self._patches.replace(mixin, "generate", wraps.generate(mixin.generate, is_standard=True))
        tick = "_update_model_kwargs_for_generation"
        if hasattr(mixin, tick):  # private: without it, forward passes are counted instead
            self._patches.replace(mixin, tick, wraps.tick(getattr(mixin, tick)))

    def _on_modeling(self, module: Any) -> None:
        model = module.PreTrainedModel
        self._patches.replace(model, "__call__", self._followed().call(model.__call__))

    def _on_processing(self, module: Any) -> None:
        note = self._shielded(self._followed().observer.tokenizers.note)
        wrap = functools.partial(wrap_processor, sink=self._emit, note=note)
        wrap_template = functools.partial(wrap, does_work=template_does_work)
        self._patches.wrap_methods(module.ProcessorMixin, {"__call__": wrap, "apply_chat_template": wrap_template})

    def _on_image_processing(self, module: Any) -> None:
        wrap = functools.partial(wrap_processor, sink=self._emit, note=lambda processor: None)
        self._patches.wrap_methods(module.BaseImageProcessor, {"__call__": wrap, "preprocess": wrap})

    def _followed(self) -> Wraps:
        """The wraps and their observer; kept for good, since a device may end its work after the block."""
        from wattvlm.runtimes.transformers.observing import Observer
        from wattvlm.runtimes.transformers.wraps import Wraps

        if self._wraps is None:
            times = self._stream_times
            sink = self._sink or self._emit
            observer = Observer(sink) if times is None else Observer(sink, times)
            observer.is_open = True
            self._wraps = Wraps(observer)
        return self._wraps

    def _emit(self, /, *marks: Mark) -> None:
        sink = self._sink
        if sink is not None:
            sink(*marks)

    def _shielded(self, act: Callable[[Any], None]) -> Callable[[Any], None]:
        """A version of torch or transformers that lacks what is wrapped loses that view, nothing else."""

        def shielded(subject: Any) -> None:
            try:
                act(subject)
            except Exception as error:
                text = (
                    f"{getattr(subject, '__name__', type(subject).__name__)} could not be watched "
                    f"({type(error).__name__}: {error}); its calls may be missing from the report. "
                    "Cure: mark them with m.phase(), and report this line with the versions of torch and transformers"
                )
                self._emit(Mark(time.monotonic_ns(), "note", text=text))

        return shielded


def _is_pretrained_inside(compiled: Any) -> bool:
    """Whether a torch.compile'd module holds a transformers model."""
    return hasattr(compiled._modules.get("_orig_mod"), "base_model_prefix")

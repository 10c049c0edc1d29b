"""vLLM's front end: the one place that every request enters and every step's tokens leave, whatever the user calls.

The engine itself runs in another process. Each batch of outputs that comes back carries the engine's own time stamp,
by the monotonic clock, which is the same in all processes of a machine.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from wattvlm.runtimes._watching import Watching
from wattvlm.runtimes.vllm.requests import Request
from wattvlm.trace import ModelFacts
from wattvlm.units import NS_PER_S

Method = Callable[..., Any]


class Engines:
    """All requests under way, by the ids that their front end gave them."""

    def __init__(self, watching: Watching) -> None:
        self.watching = watching
        self._of_id: dict[tuple[int, str], Request] = {}
        self._prepared = threading.local()
        watching.on_end.append(self.close)

    def begin_llm(self, llm: Any) -> None:
        """LLM.generate or chat begins: until its first request enters, it prepares."""
        self._prepared.since_ns = time.monotonic_ns()
        self._prepared.facts = _facts(llm)

    def end_llm(self) -> None:
        self._prepared.since_ns, self._prepared.facts = None, None

    def add(self, processor: Any, request: Any, parent: Any) -> None:
        """A request enters. A sequence of several for one prompt belongs to its parent's call."""
        group = (id(processor), str(request.request_id if parent is None else parent.request_id))
        known = self._of_id.get(group)
        if known is None:
            since_ns: int | None = getattr(self._prepared, "since_ns", None)
            facts: ModelFacts | None = getattr(self._prepared, "facts", None)
            known = Request(self.watching, request, since_ns, facts)
            self._of_id[group] = known
        self._of_id[(id(processor), str(request.request_id))] = known
        known.sequences.add(str(request.request_id))
        if getattr(self._prepared, "since_ns", None) is not None:
            self._prepared.since_ns = time.monotonic_ns()

    def outputs(self, processor: Any, outputs: Iterable[Any], stamp_ns: int) -> None:
        """A step's outputs have come."""
        for output in outputs:
            known = self._of_id.get((id(processor), str(output.request_id)))
            if known is not None:
                known.step(output, stamp_ns)

    def sweep(self, processor: Any, names: Iterable[str], how: str = "") -> None:
        """End the calls whose sequences the front end has let go of."""
        for name in names:
            known = self._of_id.get((id(processor), name))
            if known is None or name in processor.request_states:
                continue
            del self._of_id[(id(processor), name)]
            if known.let_go(name, how):
                self._of_id = {key: each for key, each in self._of_id.items() if each is not known}

    def close(self) -> None:
        for known in dict.fromkeys(self._of_id.values()):
            known.end("was not over when the block ended")
        self._of_id.clear()


def watch_outputs(processor: Any, watching: Watching) -> None:
    """Wrap what requests enter and outputs leave by."""
    engines = _engines(watching)
    replace = watching.patches.replace
    replace(processor, "add_request", _adding(processor.add_request, engines))
    replace(processor, "process_outputs", _processing(processor.process_outputs, engines))
    replace(processor, "abort_requests", _aborting(processor.abort_requests, engines))


def watch_llm(llm: Any, watching: Watching) -> None:
    """Wrap the methods that prepare inputs, so that preparing is seen."""
    engines = _engines(watching)
    for name in ("generate", "chat"):
        watching.patches.replace(llm, name, _preparing(getattr(llm, name), engines))


def _engines(watching: Watching) -> Engines:
    if not isinstance(watching.shared, Engines):
        watching.shared = Engines(watching)
    return watching.shared


def _preparing(method: Method, engines: Engines) -> Method:
    @functools.wraps(method)
    def ask(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        _shielded(engines, engines.begin_llm, self_)
        try:
            return method(self_, *args, **kwargs)
        finally:
            engines.end_llm()

    return ask


def _adding(method: Method, engines: Engines) -> Method:
    @functools.wraps(method)
    def add_request(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        request = args[0] if args else kwargs.get("request")
        parent = args[2] if len(args) > 2 else kwargs.get("parent_req")
        if engines.watching.is_open and getattr(request, "pooling_params", None) is None:
            _shielded(engines, engines.add, self_, request, parent)
        return method(self_, *args, **kwargs)

    return add_request


def _processing(method: Method, engines: Engines) -> Method:
    @functools.wraps(method)
    def process_outputs(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        outputs = args[0] if args else kwargs.get("engine_core_outputs", ())
        if engines.watching.is_open:
            stamp_s = args[1] if len(args) > 1 else kwargs.get("engine_core_timestamp")
            stamp_ns = round(stamp_s * NS_PER_S) if stamp_s else time.monotonic_ns()
            _shielded(engines, engines.outputs, self_, outputs, stamp_ns)
        result = method(self_, *args, **kwargs)
        if engines.watching.is_open:
            _shielded(engines, engines.sweep, self_, [str(output.request_id) for output in outputs])
        return result

    return process_outputs


def _aborting(method: Method, engines: Engines) -> Method:
    @functools.wraps(method)
    def abort_requests(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        before = [str(name) for name in self_.request_states]
        result = method(self_, *args, **kwargs)
        _shielded(engines, engines.sweep, self_, before, "was aborted")
        return result

    return abort_requests


def _shielded(engines: Engines, act: Callable[..., object], *args: Any) -> None:
    try:
        act(*args)
    except Exception as error:
        engines.watching.fault("following a request", error)


def _facts(llm: Any) -> ModelFacts:
    config = llm.llm_engine.model_config
    names = getattr(config.hf_config, "architectures", None) or [""]
    return ModelFacts(
        name=str(config.model),
        class_name=str(names[0]),
        dtype=str(config.dtype).removeprefix("torch."),
        quantisation=str(config.quantization or ""),
    )

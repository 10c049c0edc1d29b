"""What stands in for the methods of torch and transformers while a meter is open, and what it does around them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any
from weakref import ref

from wattvlm.runtimes.transformers.calls import ObservedCall, monotonic_ns
from wattvlm.runtimes.transformers.closing import write_prompt_counts
from wattvlm.runtimes.transformers.device_time import StreamTimes, cuda_stream_times
from wattvlm.runtimes.transformers.following import forward_starts, run_module
from wattvlm.runtimes.transformers.hooks import current_call, watch_modules
from wattvlm.runtimes.transformers.inputs import prompts, token_ids
from wattvlm.runtimes.transformers.loops import OpenLoops
from wattvlm.runtimes.transformers.loose import class_of, is_tensor
from wattvlm.runtimes.transformers.models import SEES_CALLS, ModelMemory
from wattvlm.runtimes.transformers.pending import PendingCalls
from wattvlm.runtimes.transformers.tree import ModuleTree
from wattvlm.trace import Mark, MarkSink

Method = Callable[..., Any]


class Observer:
    """Opens, follows and closes calls. None of its methods raises; a fault becomes one note.

    sink: gets the marks of calls that begin from now on; a call keeps the sink that it began with.
    stream_times: the device's clock for a model on that device, None for one that the host's own clock times.
    is_open: whether calls are observed. Others may hold on to a wrap (torch.compile binds it): closed, it passes on.
    """

    def __init__(self, sink: MarkSink, stream_times: Callable[[str], StreamTimes | None] = cuda_stream_times) -> None:
        self.sink = sink
        self._stream_times = stream_times
        self.is_open = False
        self._models = ModelMemory()
        self._loops = OpenLoops()
        self._pending = PendingCalls()
        self._faults: set[str] = set()
        self._is_compiling: Callable[[], bool] | None = None

    def wrap_generate(self, method: Method, *, is_standard: bool = False) -> Method:
        """generate of one class. is_standard: transformers' own, whose steps and results are understood."""
        names = _parameter_names(method)

        @functools.wraps(method)
        def generate(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            outer = current_call.get()
            if outer is not None:
                return self._nested_generate(outer, method, is_standard, self_, names, args, kwargs)
            call = self._open(self_, names, args, kwargs) if self.is_open else None
            if call is None:
                return method(self_, *args, **kwargs)
            call.ticks_expected = is_standard
            token = current_call.set(call)
            try:
                result = method(self_, *args, **kwargs)
            except BaseException as error:
                current_call.reset(token)
                self._close(call, error)
                raise
            current_call.reset(token)
            if is_standard:
                self._generated(call, self_, result, {**dict(zip(names, args)), **kwargs})
            self._close(call, None)
            return result

        return generate

    def wrap_own_generate(self, model: Any, generate: Method) -> Method:
        """A generate that was set on one instance, already bound to it."""

        def unbound(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            return generate(*args, **kwargs)

        follow, known = self.wrap_generate(unbound), ref(model)

        @functools.wraps(generate)
        def own_generate(*args: Any, **kwargs: Any) -> Any:
            return follow(known(), *args, **kwargs)

        return own_generate

    def wrap_tick(self, method: Method) -> Method:
        """The method that generate calls after each forward pass."""

        @functools.wraps(method)
        def update(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = current_call.get()
            if call is not None:
                try:
                    if call.ticked() and call.stream is None:
                        write_prompt_counts(call)
                except Exception as error:
                    self.fault(call, error)
            return method(self_, *args, **kwargs)

        return update

    def wrap_call(self, method: Method, is_wanted: Callable[[Any], bool] | None = None) -> Method:
        """__call__ of a class of models. is_wanted: which of its instances; None is all."""
        is_compiling = self._ask_torch()

        @functools.wraps(method)
        def call_model(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            if is_compiling():
                return method(self_, *args, **kwargs)
            call = current_call.get()
            if call is None:
                if not self.is_open or (is_wanted is not None and not is_wanted(self_)):
                    return method(self_, *args, **kwargs)
                return self._bare_call(method, self_, args, kwargs)
            if call.is_stepping or call.aside:
                return method(self_, *args, **kwargs)
            return run_module(call, method, self_, args, kwargs, self.fault)

        setattr(call_model, SEES_CALLS, True)
        return call_model

    def _open(
        self, model: Any, names: tuple[str, ...], args: Any, kwargs: Mapping[str, Any], *, is_bare: bool = False
    ) -> ObservedCall | None:
        call: ObservedCall | None = None
        try:
            self._loops.close_own(self._pending.add)
            self._pending.resolve()
            known, modules = self._models.recall(model)
            given = {**dict(zip(names, args)), **kwargs} if args else kwargs
            call = ObservedCall(self.sink, model, known, given, self._stream_times(known.device))
            call.is_bare = is_bare
            call.ids = token_ids(given)
            call.prompts = prompts(given, call.ids)
            call.cached_length = _cached_length(given)
            watch_modules(call, modules, self._is_compiling or self._ask_torch(), self.fault)
            call.start()
        except Exception as error:
            self.fault(call, error)
            if call is not None:
                call.release()
            return None
        return call

    def _close(self, call: ObservedCall, error: BaseException | None) -> None:
        now_ns = monotonic_ns()
        try:
            call.is_complete = error is None
            call.end(_ending(error), now_ns)
            self._pending.add(call)
        except Exception as fault:
            self.fault(call, fault)
            call.release()

    def _generated(self, call: ObservedCall, model: Any, result: Any, given: Mapping[str, Any]) -> None:
        """Remember what transformers' own generate returned, and how much of it is prompt."""
        try:
            call.outcomes.append((getattr(result, "sequences", result), _prompt_length(model, given)))
        except Exception as error:
            self.fault(call, error)

    def _nested_generate(
        self,
        call: ObservedCall,
        method: Method,
        is_standard: bool,
        model: Any,
        names: tuple[str, ...],
        args: Any,
        kwargs: Any,
    ) -> Any:
        """A generate inside a generate is the same call, unless another model drafts for it."""
        aside = bool(call.aside) or _is_aside(call, model, kwargs)
        call.aside += aside
        call.ticks_expected = call.ticks_expected or (is_standard and not aside)
        try:
            result = method(model, *args, **kwargs)
        finally:
            call.aside -= aside
        if is_standard and not aside:
            self._generated(call, model, result, {**dict(zip(names, args)), **kwargs})
        return result

    def _bare_call(self, method: Method, model: Any, args: Any, kwargs: Any) -> Any:
        loop = self._loops.resume(model, kwargs)
        call = loop or self._open(model, _forward_names(model) if args else (), args, kwargs, is_bare=True)
        if call is None:
            return method(model, *args, **kwargs)
        token = current_call.set(call)
        forward_starts(call, args, kwargs, self.fault)
        try:
            result = method(model, *args, **kwargs)
        except BaseException as error:
            current_call.reset(token)
            self._loops.drop(call)
            self._close(call, error)
            raise
        current_call.reset(token)
        try:
            self._loops.step_ends(call, model, result, add=self._pending.add)
        except Exception as error:
            self.fault(call, error)
            call.release()
        return result

    def _ask_torch(self) -> Callable[[], bool]:
        """torch's own answer to whether it is compiling; kept, since an import inside each call would cost."""
        from torch.compiler import is_compiling

        self._is_compiling = is_compiling
        return is_compiling

    def fault(self, call: ObservedCall | None, error: Exception) -> None:
        """Our own error: say once what is lost, stop watching this call, and let the user's call go on."""
        try:
            if call is not None:
                call.unhook()
            what = f"{type(error).__name__}: {error}"
            if what in self._faults:
                return
            self._faults.add(what)
            text = (
                f"A model call could not be followed ({what}); its outputs are not touched, but its phases or token "
                "counts may be missing. Cure: mark them with m.phase() and m.tokens(), and report this line"
            )
            self.sink(Mark(monotonic_ns(), "note", 0 if call is None else call.call_id, text=text))
        except Exception:
            return  # nothing may reach the user's call

    def settle(self, patience_ns: int) -> None:
        """Write what is known of open loops, and of calls whose device work has ended or does so in time."""
        self._loops.settle_all()
        self._pending.wait(patience_ns)

    def close(self) -> None:
        """No further calls for now: close open loops. What a device still works on is kept for `settle`."""
        self.is_open = False
        self._loops.close_all(self._pending.add)
        self._pending.wait(0)


def _ending(error: BaseException | None) -> str:
    return "returned" if error is None else f"raised {type(error).__name__}"


def _parameter_names(method: Method) -> tuple[str, ...]:
    """Names of the positional parameters after self."""
    try:
        return tuple(inspect.signature(method).parameters)[1:]
    except (TypeError, ValueError):
        return ()


def _forward_names(model: Any) -> tuple[str, ...]:
    return _parameter_names(class_of(model).forward)


def _cached_length(given: Mapping[str, Any]) -> int:
    """Positions already in the cache that the caller gives; a cache that would have to ask the device is not asked."""
    length_of = getattr(given.get("past_key_values"), "get_seq_length", None)
    length = length_of() if callable(length_of) else 0
    return length if isinstance(length, int) else 0


def _prompt_length(model: Any, given: Mapping[str, Any]) -> int:
    """Ids at the head of the returned sequences that were not generated."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        start = given.get("decoder_input_ids")
        return int(start.shape[1]) if is_tensor(start) and len(start.shape) == 2 else 1
    ids = token_ids(given)
    if ids is not None:
        return int(ids.shape[1])
    return 0 if given.get("inputs_embeds") is not None else 1


def _is_aside(call: ObservedCall, model: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a nested generate drafts for the call (an assistant model) instead of being part of it."""
    if getattr(kwargs.get("generation_config"), "is_assistant", False):
        return True
    if not call.ticks_expected or model is call.model or call.model is None:
        return False
    return not ModuleTree(call.model).paths_of(model)

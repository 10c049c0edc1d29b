"""Calls from their beginning to their end: opened, followed, waited for, handed on, closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wattvlm.runtimes.transformers.arguments import (
    by_name,
    cached_length,
    prompt_length,
)
from wattvlm.runtimes.transformers.calls import RUNTIME_NAME, ObservedCall, monotonic_ns
from wattvlm.runtimes.transformers.device_time import StreamTimes, cuda_stream_times
from wattvlm.runtimes.transformers.hooks import current_call, watch_modules
from wattvlm.runtimes.transformers.inputs import generation_setting, prompts, token_ids
from wattvlm.runtimes.transformers.loops import OpenLoops
from wattvlm.runtimes.transformers.loose import is_module
from wattvlm.runtimes.transformers.models import ModelMemory
from wattvlm.runtimes.transformers.pending import PendingCalls
from wattvlm.runtimes.transformers.reasoning import SeenTokenizers
from wattvlm.runtimes.transformers.waiting import SuspendedCalls
from wattvlm.trace import Mark, MarkSink

Method = Callable[..., Any]


class Observer:
    """Opens, follows and closes calls. None of its methods raises; a fault becomes one note.

    sink: gets the marks of calls that begin from now on; a call keeps the sink that it began with.
    stream_times: the device's clock for a model on that device, None for one that the host's own clock times.
    is_open: whether calls are observed.
    """

    def __init__(self, sink: MarkSink, stream_times: Callable[[str], StreamTimes | None] = cuda_stream_times) -> None:
        self.sink = sink
        self._stream_times = stream_times
        self.is_open = False
        self._models = ModelMemory()
        self._loops = OpenLoops()
        self._pending = PendingCalls()
        self._suspended = SuspendedCalls()
        self._faults: set[str] = set()
        self.tokenizers = SeenTokenizers()
        self._is_compiling: Callable[[], bool] | None = None

    def begin(
        self,
        model: Any,
        names: tuple[str, ...],
        args: Any,
        kwargs: Mapping[str, Any],
        outer: ObservedCall | None,
        *,
        is_bare: bool = False,
    ) -> ObservedCall | None:
        """The call that a generate or forward pass is: the one that waits for it, or a new one."""
        given = {**dict(zip(names, args)), **kwargs} if args else kwargs
        call: ObservedCall | None = None
        try:
            call = self._waiting_for(model, given, outer)
            if call is None:
                return self._open(model, given, is_bare=is_bare)
            ids = token_ids(given)
            call.go_on(given, ids, prompts(given, ids))
            call.is_bare = is_bare
            call.cached_length = 0 if call.prefilled else cached_length(given)
            self._watch(call, model)
        except Exception as error:
            self.fault(call, error)
            if call is not None:
                call.release()
            return None
        return call

    def _waiting_for(self, model: Any, given: Mapping[str, Any], outer: ObservedCall | None) -> ObservedCall | None:
        if outer is None or not outer.is_announced:
            call = self._loops.prefilled(model, given, lambda root: self._models.recall(root)[0].on_path)
            call = call or self._suspended.followed_by(model, given, self._path_of_suspended())
            if call is not None:
                self._pending.withdraw(call)
                return call
        if outer is not None and (model is outer.model or id(model) in outer.known.on_path):
            self._suspended.forget()
            return outer
        return None

    def _path_of_suspended(self) -> frozenset[int]:
        model = self._suspended.model()
        return frozenset() if model is None else self._models.recall(model)[0].on_path

    def _watch(self, call: ObservedCall, model: Any) -> None:
        """Hook a call that goes on, as its model now is: of an encoder called alone, the model that holds it."""
        known, modules = self._models.recall(call.model)
        if known.layout.language_model is None:
            call.model = model
            known, modules = self._models.recall(model)
        if known is call.known and call.hooks:
            return
        call.unhook()
        call.known = known
        watch_modules(call, modules, self._is_compiling or self.ask_torch(), self.fault)

    def _open(self, model: Any, given: Mapping[str, Any], *, is_bare: bool = False) -> ObservedCall | None:
        call: ObservedCall | None = None
        try:
            self._loops.close_own(self._pending.add)
            self._suspended.forget()
            self._pending.resolve()
            known, modules = self._models.recall(model)
            call = ObservedCall(self.sink, model, known, given, self._stream_times(known.device))
            call.is_bare = is_bare
            call.ids = token_ids(given)
            call.prompts = prompts(given, call.ids)
            call.cached_length = cached_length(given)
            watch_modules(call, modules, self._is_compiling or self.ask_torch(), self.fault)
            call.start()
        except Exception as error:
            self.fault(call, error)
            if call is not None:
                call.release()
            return None
        return call

    def wait(self, model: Any, method: Method, args: Any, kwargs: Mapping[str, Any]) -> ObservedCall | None:
        """A call for whatever a method of a model will do; nothing is marked before it does something."""
        call: ObservedCall | None = None
        try:
            if not is_module(model):
                return None
            known, modules = self._models.recall(model)
            if not known.layout.parts or known.layout.language_model is None:
                return None
            given = by_name(method, args, kwargs)
            call = self._suspended.further(model)
            if call is None:
                call = ObservedCall(self.sink, model, known, given, self._stream_times(known.device))
                call.waits = True
                call.start()
            else:
                call.known, call.given = known, {**call.given, **given}
            watch_modules(call, modules, self._is_compiling or self.ask_torch(), self.fault)
        except Exception as error:
            self.fault(call, error)
            return None
        return call

    def wait_again(self, done: ObservedCall, model: Any) -> None:
        """A call is over inside an entry of this model, which may do more: that would be the next call."""
        if model is None:
            return
        current_call.set(None)
        try:
            known, modules = self._models.recall(model)
            call = ObservedCall(self.sink, model, known, {}, self._stream_times(known.device))
            call.waits, call.before = True, done
            watch_modules(call, modules, self._is_compiling or self.ask_torch(), self.fault)
            call.start()
            current_call.set(call)
        except Exception as error:
            self.fault(done, error)

    def leave(self, token: Any, result: Any, error: BaseException | None) -> None:
        """An entry has ended: so has the last call in it, unless that has only encoded and may go on."""
        call = current_call.get()
        current_call.reset(token)
        if call is None:
            return
        try:
            if not call.waits:
                self.end(call, error)
            elif self._suspended.put_back(call):
                return
            elif call.is_announced:
                self._pending.withdraw(call)
                self._end_encoding(call, call.model, result, error)
            else:
                call.unhook()
                before = call.before
                call.release()
                if before is not None:
                    before.mark("call_end", monotonic_ns(), RUNTIME_NAME, text=_ending(error))
        except Exception as fault:
            self.fault(call, fault)
            call.release()

    def _end_encoding(self, call: ObservedCall, model: Any, result: Any, error: BaseException | None) -> None:
        call.is_complete = error is None
        call.waits = True
        call.end(_ending(error), monotonic_ns())
        if error is None:
            self._suspended.keep(call, model, result)
        if call.stream is not None or error is not None:
            self._pending.add(call)

    def resume_loop(self, model: Any, given: Mapping[str, Any], outer: ObservedCall | None) -> ObservedCall | None:
        """The loop written by hand that a forward pass goes on with, if it does."""
        loop = self._loops.resume(model, given, None if outer is None else outer.has_embedded)
        if loop is not None:
            self._pending.withdraw(loop)
        return loop

    def forward_returned(self, call: ObservedCall, model: Any, result: Any) -> None:
        """A bare forward pass is over: an encoder's work, or a step of what may be a loop."""
        try:
            if call.known.layout.encoder_only and call.vision_marked:
                self._end_encoding(call, model, result, None)
            else:
                self._loops.step_ends(call, model, result, add=self._pending.add)
        except Exception as error:
            self.fault(call, error)
            call.release()

    def end(self, call: ObservedCall, error: BaseException | None) -> None:
        """A call has returned, or was broken off by `error`, which ends its loop too."""
        now_ns = monotonic_ns()
        try:
            if error is not None:
                self._loops.drop(call)
            with call.in_one_piece():
                call.is_complete = error is None
                call.end(_ending(error), now_ns)
                call.tags = self.tokenizers.tags(call.given)
                self._pending.add(call)
        except Exception as fault:
            self.fault(call, fault)
            call.release()

    def generated(self, call: ObservedCall, model: Any, result: Any, given: Mapping[str, Any]) -> None:
        """Remember what transformers' own generate returned, how much of it is prompt, and the id it may begin with."""
        try:
            start = generation_setting(given, model, "bos_token_id")
            start_id = start if isinstance(start, int) else None
            call.outcomes.append((getattr(result, "sequences", result), prompt_length(model, given), start_id))
        except Exception as error:
            self.fault(call, error)

    def ask_torch(self) -> Callable[[], bool]:
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
        self._suspended.forget_all()
        self._pending.wait(0)


def _ending(error: BaseException | None) -> str:
    return "returned" if error is None else f"raised {type(error).__name__}"

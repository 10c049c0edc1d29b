"""What stands in for the methods of torch and transformers while a meter is open.

Each wrap passes on what it was given and gives back what it got; the Observer is told before and after. Others may hold
on to a wrap (torch.compile binds it): once the Observer is closed, it only passes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any
from weakref import ref

from wattvlm.runtimes.transformers.arguments import forward_names, parameter_names
from wattvlm.runtimes.transformers.calls import ObservedCall
from wattvlm.runtimes.transformers.closing import write_prompt_counts
from wattvlm.runtimes.transformers.entries import IS_ENTRY, among_globals_of
from wattvlm.runtimes.transformers.following import forward_starts, run_language_model, run_module
from wattvlm.runtimes.transformers.hooks import current_call
from wattvlm.runtimes.transformers.models import SEES_CALLS
from wattvlm.runtimes.transformers.observing import Observer
from wattvlm.runtimes.transformers.tree import ModuleTree

Method = Callable[..., Any]


class Wraps:
    """Wraps that tell one Observer."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def generate(self, method: Method, *, is_standard: bool = False) -> Method:
        """generate of one class. is_standard: transformers' own, whose steps and results are understood."""
        observer = self.observer
        names = parameter_names(method)

        @functools.wraps(method)
        def generate(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            outer = current_call.get()
            if outer is not None and not outer.waits:
                return _nested_generate(observer, outer, method, is_standard, self_, names, args, kwargs)
            call = observer.begin(self_, names, args, kwargs, outer) if observer.is_open else None
            if call is None:
                return method(self_, *args, **kwargs)
            call.ticks_expected = is_standard
            entered = call.model if call is outer else None
            token = current_call.set(call)
            try:
                result = method(self_, *args, **kwargs)
            except BaseException as error:
                current_call.reset(token)
                observer.end(call, error)
                observer.wait_again(call, entered)
                raise
            current_call.reset(token)
            if is_standard:
                observer.generated(call, self_, result, {**dict(zip(names, args)), **kwargs})
            observer.end(call, None)
            observer.wait_again(call, entered)
            return result

        return generate

    def own_generate(self, model: Any, generate: Method) -> Method:
        """A generate that was set on one instance, already bound to it."""

        def unbound(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            return generate(*args, **kwargs)

        follow, known = self.generate(unbound), ref(model)

        @functools.wraps(generate)
        def own_generate(*args: Any, **kwargs: Any) -> Any:
            return follow(known(), *args, **kwargs)

        return own_generate

    def entry(self, method: Method) -> Method:
        """A method that users call to use a model, of a class that is not a framework's; see `entries`."""
        observer, current = self.observer, current_call
        is_compiling = observer.ask_torch()

        def entry(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            if is_compiling() or current.get() is not None or not observer.is_open:
                return method(self_, *args, **kwargs)
            call = observer.wait(self_, method, args, kwargs)
            if call is None:
                return method(self_, *args, **kwargs)
            token = current.set(call)
            try:
                result = method(self_, *args, **kwargs)
            except BaseException as error:
                observer.leave(token, None, error)
                raise
            observer.leave(token, result, None)
            return result

        wrapped = functools.update_wrapper(among_globals_of(method, entry), method)
        setattr(wrapped, IS_ENTRY, True)
        return wrapped

    def tick(self, method: Method) -> Method:
        """The method that generate calls after each forward pass."""
        observer = self.observer

        @functools.wraps(method)
        def update(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = current_call.get()
            if call is not None:
                try:
                    if call.ticked() and call.stream is None:
                        with call.in_one_piece():
                            write_prompt_counts(call)
                except Exception as error:
                    observer.fault(call, error)
            return method(self_, *args, **kwargs)

        return update

    def call(self, method: Method, is_wanted: Callable[[Any], bool] | None = None) -> Method:
        """__call__ of a class of models. is_wanted: which of its instances; None is all."""
        observer = self.observer
        is_compiling = observer.ask_torch()

        @functools.wraps(method)
        def call_model(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            if is_compiling():
                return method(self_, *args, **kwargs)
            call = current_call.get()
            if call is None:
                if not observer.is_open or (is_wanted is not None and not is_wanted(self_)):
                    return method(self_, *args, **kwargs)
                return _bare_call(observer, method, self_, args, kwargs)
            if call.waits and id(self_) in call.known.on_path:
                return _bare_call(observer, method, self_, args, kwargs)
            if call.is_stepping or call.aside:
                return method(self_, *args, **kwargs)
            return run_module(call, method, self_, args, kwargs, observer.fault)

        setattr(call_model, SEES_CALLS, True)
        return call_model


def _nested_generate(
    observer: Observer,
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
        observer.generated(call, model, result, {**dict(zip(names, args)), **kwargs})
    return result


def _bare_call(observer: Observer, method: Method, model: Any, args: Any, kwargs: Any) -> Any:
    outer = current_call.get()
    loop = observer.resume_loop(model, kwargs, outer)
    names = forward_names(model) if args else ()
    call = loop or observer.begin(model, names, args, kwargs, outer, is_bare=True)
    if call is None:
        return method(model, *args, **kwargs)
    entered = call.model if call is outer else None
    token = current_call.set(call)
    forward_starts(call, args, kwargs, observer.fault)
    try:
        if id(model) == call.known.language_id:
            result = run_language_model(call, method, model, args, kwargs, observer.fault)
        else:
            result = method(model, *args, **kwargs)
    except BaseException as error:
        current_call.reset(token)
        observer.end(call, error)
        observer.wait_again(call, entered)
        raise
    current_call.reset(token)
    observer.forward_returned(call, model, result)
    observer.wait_again(call, entered)
    return result


def _is_aside(call: ObservedCall, model: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a nested generate drafts for the call (an assistant model) instead of being part of it."""
    if getattr(kwargs.get("generation_config"), "is_assistant", False):
        return True
    if not call.ticks_expected or model is call.model or call.model is None:
        return False
    return not ModuleTree(call.model).paths_of(model)

"""Decoding loops written by hand: each forward pass with the cache of the one before belongs to the same call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ref

from wattvlm.runtimes.transformers.calls import PROGRESS_PERIOD_NS, RUNTIME_NAME, STEPS, ObservedCall, monotonic_ns
from wattvlm.runtimes.transformers.loose import is_sequence, mapping_of
from wattvlm.trace import DECODE

AddCall = Callable[[ObservedCall], None]

_HOW_OUTPUT = "forward passes of a hand-written loop, one token a prompt each"


@dataclass(slots=True)
class _Loop:
    """A call that ended with its last forward pass, unless another pass goes on with its cache."""

    call: ObservedCall
    model: ref[Any]
    cache: ref[Any] | None
    ended_ns: int
    is_decoding: bool = False
    decode_is_open: bool = False


class OpenLoops:
    """At most one loop a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_lane: dict[int, _Loop] = {}

    def resume(self, model: Any, kwargs: Mapping[str, Any]) -> ObservedCall | None:
        """The call that this forward pass goes on with, or None for a call of its own."""
        loop = self._by_lane.get(threading.get_ident())
        cache = kwargs.get("past_key_values")
        if loop is None or cache is None or loop.model() is not model:
            return None
        if loop.cache is None or loop.cache() is not _trackable(cache):
            return None
        if not loop.is_decoding:
            loop.is_decoding = True
            loop.call.decode_starts(loop.ended_ns)
        elif not loop.decode_is_open:
            loop.call.mark("phase_start", loop.ended_ns, DECODE)
        loop.decode_is_open = True
        return loop.call

    def step_ends(self, call: ObservedCall, model: Any, result: Any, add: AddCall) -> None:
        """A bare forward pass of `call` has returned."""
        now_ns = monotonic_ns()
        call.forward_ends()
        cache = _reference(mapping_of(result).get("past_key_values"))
        lane = threading.get_ident()
        loop = self._by_lane.get(lane)
        if loop is not None and loop.call is call:
            loop.ended_ns = now_ns
            loop.cache = cache or loop.cache
            if call.stream is not None:
                call.stream.record("end")
            if now_ns - call.progress_ns > PROGRESS_PERIOD_NS:
                call.progress_ns = now_ns
                _mark_so_far(loop)
            return
        call.end("returned", now_ns)
        add(call)
        if cache is not None:
            with self._lock:
                self._by_lane[lane] = _Loop(call, ref(model), cache, now_ns)

    def drop(self, call: ObservedCall) -> None:
        """The call was broken off, which ends its loop too."""
        loop = self._by_lane.get(call.lane)
        if loop is not None and loop.call is call:
            del self._by_lane[call.lane]

    def close_own(self, add: AddCall) -> None:
        """Another call begins in this thread: its loop, if any, is over."""
        if self._by_lane:
            self._close(threading.get_ident(), add)

    def close_all(self, add: AddCall) -> None:
        for lane in list(self._by_lane):
            self._close(lane, add)

    def settle_all(self) -> None:
        """Mark all loops as if they were over; one that goes on marks its decode phase anew from here."""
        for loop in list(self._by_lane.values()):
            _settle(loop)

    def _close(self, lane: int, add: AddCall) -> None:
        with self._lock:
            loop = self._by_lane.pop(lane, None)
        if loop is not None and loop.is_decoding:
            _settle(loop)
            if loop.call.stream is not None:
                add(loop.call)


def _settle(loop: _Loop) -> None:
    if loop.is_decoding:
        if loop.decode_is_open:
            loop.decode_is_open = False
            loop.call.mark("phase_end", loop.ended_ns, DECODE)
        _mark_so_far(loop)


def _mark_so_far(loop: _Loop) -> None:
    call = loop.call
    call.count(loop.ended_ns, "decode_steps", call.forwards - 1, STEPS)
    if call.prompts is not None:
        call.count(loop.ended_ns, "output", call.forwards * call.prompts, _HOW_OUTPUT)
    call.mark("call_end", loop.ended_ns, RUNTIME_NAME, text="returned")


def _trackable(cache: Any) -> Any:
    """What tells one cache from another: the object itself, or the first tensor in nested tuples."""
    while is_sequence(cache) and cache:
        cache = cache[0]
    return cache


def _reference(cache: Any) -> ref[Any] | None:
    """A weak reference, so that the program's cache lives no longer because it was metered."""
    tracked = _trackable(cache)
    try:
        return None if tracked is None else ref(tracked)
    except TypeError:
        return None

"""Loops written by hand: each forward pass with the cache of the one before belongs to the same call.

A pass is a decode step, or a further piece of the prompt: by embeddings of several positions, or of one that nothing
was embedded for, since a step embeds the token before it. DeepSeek-VL2's incremental_prefilling runs such pieces, then
its generate goes on with their cache. A cache that was copied on the way is known by its length.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ref

from wattvlm.runtimes.transformers.arguments import cached_length, first_tensor, without_contents
from wattvlm.runtimes.transformers.calls import PROGRESS_PERIOD_NS, RUNTIME_NAME, STEPS, ObservedCall, monotonic_ns
from wattvlm.runtimes.transformers.loose import is_tensor, mapping_of
from wattvlm.trace import DECODE

AddCall = Callable[[ObservedCall], None]

_HOW_OUTPUT = "forward passes of a hand-written loop, one token a prompt each"


@dataclass(frozen=True, slots=True)
class _Given:
    """What a call by embeddings was given, to count its prompt again when it has grown."""

    root: ref[Any]
    given: Mapping[str, Any]
    ids: Any
    embedded: list[Any]


@dataclass(slots=True)
class _Loop:
    """A call that ended with its last forward pass, unless another pass goes on with its cache."""

    call: ObservedCall
    model: ref[Any]
    cache: ref[Any] | None
    ended_ns: int
    given: _Given | None = None
    is_prefilling: bool = False
    is_decoding: bool = False
    decode_is_open: bool = False

    @property
    def positions(self) -> int:
        """Positions of the prompt that are computed; 0 where they are not known."""
        lengths = self.call.first_lengths
        return self.call.cached_length + sum(lengths) if lengths else 0

    def hand_back(self) -> bool:
        """Give the call what it was given; False where its model is gone."""
        if self.given is None or (root := self.given.root()) is None:
            return False
        self.call.model, self.call.given = root, self.given.given
        self.call.ids, self.call.embedded = self.given.ids, self.given.embedded
        return True


class OpenLoops:
    """At most one loop a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_lane: dict[int, _Loop] = {}

    def resume(self, model: Any, kwargs: Mapping[str, Any], was_embedded: bool | None = None) -> ObservedCall | None:
        """The call that this forward pass goes on with, or None for a call of its own.

        was_embedded: whether ids were embedded since the pass before; None is not known.
        """
        loop = self._by_lane.get(threading.get_ident())
        cache = kwargs.get("past_key_values")
        if loop is None or cache is None or loop.model() is not model:
            return None
        if _is_piece(loop, kwargs, was_embedded):
            loop.is_prefilling = loop.hand_back()
            return loop.call if loop.is_prefilling else None
        if loop.cache is None or loop.cache() is not first_tensor(cache):
            return None
        if not loop.is_decoding:
            loop.is_decoding = True
            loop.call.decode_starts(loop.ended_ns)
        elif not loop.decode_is_open:
            loop.call.mark("phase_start", loop.ended_ns, DECODE)
        loop.decode_is_open = True
        return loop.call

    def prefilled(
        self, model: Any, given: Mapping[str, Any], on_path: Callable[[Any], frozenset[int]]
    ) -> ObservedCall | None:
        """The call whose pieces of a prompt are in the cache that a generate of `model` begins with.

        on_path: ids of the modules of a model that hold its language model.
        """
        loop = self._by_lane.get(threading.get_ident())
        if loop is None or loop.is_decoding or loop.given is None or not loop.positions:
            return None
        own = loop.model()
        if own is None or cached_length(given) != loop.positions or not (own is model or id(own) in on_path(model)):
            return None
        del self._by_lane[loop.call.lane]
        loop.call.prefilled = loop.positions
        return loop.call if loop.hand_back() else None

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
            if loop.is_prefilling:
                _piece_ends(loop, now_ns)
                add(call)
                return
            if now_ns - call.progress_ns > PROGRESS_PERIOD_NS:
                call.progress_ns = now_ns
                _mark_so_far(loop)
            return
        with call.in_one_piece():
            call.end("returned", now_ns)
            given = None if cache is None else _given_by_embeddings(call)
            add(call)
        if cache is not None:
            call.prefill_pauses = call.prefill_ns is not None and call.first_logits_ns is None
            with self._lock:
                self._by_lane[lane] = _Loop(call, ref(model), cache, now_ns, given)

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


def _given_by_embeddings(call: ObservedCall) -> _Given | None:
    if call.model is None or not is_tensor(call.given.get("inputs_embeds")):
        return None
    return _Given(ref(call.model), without_contents(call.given), call.ids, call.embedded)


def _is_piece(loop: _Loop, kwargs: Mapping[str, Any], was_embedded: bool | None) -> bool:
    """Whether a pass with these arguments computes more of the prompt."""
    embeddings = kwargs.get("inputs_embeds")
    if loop.given is None or loop.is_decoding or not is_tensor(embeddings):
        return False
    cache = kwargs.get("past_key_values")
    is_same = loop.cache is not None and loop.cache() is first_tensor(cache)
    if not is_same and not 0 < loop.positions == cached_length(kwargs):
        return False
    return embeddings.shape[-2] > 1 if was_embedded is None else not was_embedded


def _piece_ends(loop: _Loop, now_ns: int) -> None:
    call = loop.call
    loop.is_prefilling = False
    call.forwards -= 1  # no step of decoding
    call.prompt_counted = False
    call.pause_prefill(now_ns)
    call.mark("call_end", now_ns, RUNTIME_NAME, text="returned")


def _reference(cache: Any) -> ref[Any] | None:
    """A weak reference, so that the program's cache lives no longer because it was metered."""
    tracked = first_tensor(cache)
    try:
        return None if tracked is None else ref(tracked)
    except TypeError:
        return None

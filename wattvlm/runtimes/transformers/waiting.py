"""Vision work whose language part may follow: a call that a later generate or forward pass of the same model goes on.

InternLM-XComposer2's chat() encodes, then calls generate with embeddings; with DeepSeek-VL the user does both. Until
then the encoding is a call of its own, and stays one if the next call has nothing to do with it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ref

from wattvlm.runtimes.transformers.arguments import without_contents
from wattvlm.runtimes.transformers.calls import ObservedCall
from wattvlm.runtimes.transformers.closing import write_counts
from wattvlm.runtimes.transformers.inputs import pixel_rows, result_tensor
from wattvlm.runtimes.transformers.loose import is_tensor
from wattvlm.runtimes.transformers.tree import ModuleTree


@dataclass(frozen=True, slots=True)
class _Suspended:
    """An encoding that is over at ended_ns. result: what it gave, weakly; shape: of that."""

    call: ObservedCall
    model: ref[Any]
    given: Mapping[str, Any]
    embedded: list[Any]
    result: ref[Any] | None
    shape: tuple[int, ...] | None
    ended_ns: int | None


class SuspendedCalls:
    """The latest encoding of each thread, as long as nothing else has come between."""

    def __init__(self) -> None:
        self._by_lane: dict[int, _Suspended] = {}
        self._further: dict[int, _Suspended] = {}

    def keep(self, call: ObservedCall, model: Any, result: Any) -> None:
        """`call` has encoded and ended; its counts are written, and the user's tensors let go of."""
        tensor = result_tensor(result)
        shape = None if tensor is None else tuple(int(size) for size in tensor.shape)
        weak = None if tensor is None else ref(tensor)
        given, embedded = without_contents(call.given), call.embedded
        call.given = given
        call.prompts = call.prompts or pixel_rows(given)[1]
        write_counts(call)
        self._by_lane[call.lane] = _Suspended(call, ref(model), given, embedded, weak, shape, call.vision_ended_ns)
        call.release()

    def forget(self) -> None:
        """Another call begins in this thread."""
        if self._by_lane:
            self._by_lane.pop(threading.get_ident(), None)

    def forget_all(self) -> None:
        self._by_lane.clear()
        self._further.clear()

    def further(self, model: Any) -> ObservedCall | None:
        """The call whose encoding a further encoding by the same model adds to: it gave features, not a prompt."""
        kept = self._by_lane.get(threading.get_ident())
        if kept is None or kept.model() is not model or kept.shape is None:
            return None
        positions = 1
        for size in kept.shape[:-1]:
            positions *= size
        if positions != kept.call.feature_rows:
            return None
        self._further[kept.call.lane] = kept
        return self._take(kept, model)

    def put_back(self, call: ObservedCall) -> bool:
        """Keep a call that was to encode further and did not, as it was. Gives whether it was such a call."""
        kept = self._further.pop(call.lane, None)
        if kept is None or kept.call is not call or call.vision_ended_ns != kept.ended_ns:
            return False
        self._by_lane[call.lane] = kept
        call.unhook()
        call.release()
        return True

    def followed_by(self, model: Any, given: Mapping[str, Any], on_path: frozenset[int]) -> ObservedCall | None:
        """The call that a generate or forward of `model` goes on with: its embeddings can come from the encoding.

        on_path: ids of the modules that hold the language model of the encoding's own model.
        """
        kept = self._by_lane.get(threading.get_ident())
        embeddings = given.get("inputs_embeds")
        encoder = None if kept is None else kept.model()
        if kept is None or encoder is None or not is_tensor(embeddings) or not _can_hold(embeddings, kept):
            return None
        if encoder is not model and id(model) not in on_path and not ModuleTree(model).paths_of(encoder):
            return None
        return self._take(kept, encoder)

    def model(self) -> Any:
        """The model of this thread's encoding, if it still lives."""
        kept = self._by_lane.get(threading.get_ident())
        return None if kept is None else kept.model()

    def _take(self, kept: _Suspended, model: Any) -> ObservedCall:
        del self._by_lane[kept.call.lane]
        kept.call.model = model
        kept.call.given = kept.given
        kept.call.embedded = kept.embedded
        return kept.call


def _can_hold(embeddings: Any, kept: _Suspended) -> bool:
    """Whether the embeddings are what the encoding gave, or have room for its features."""
    if kept.result is not None and kept.result() is embeddings:
        return True
    rows = kept.call.feature_rows
    positions = int(embeddings.numel()) // max(1, int(embeddings.shape[-1]))
    if rows is None or rows > positions or kept.shape is None:
        return False
    gave = 1
    for size in kept.shape[:-1]:
        gave *= size
    return gave <= max(rows, kept.call.rows_encoded or 0) or tuple(embeddings.shape) == kept.shape

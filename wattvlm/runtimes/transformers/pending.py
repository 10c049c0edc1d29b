"""Calls that are over on the host and perhaps not yet on the device: their last marks are written when they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from wattvlm.runtimes.transformers.arguments import without_contents
from wattvlm.runtimes.transformers.calls import ObservedCall, monotonic_ns
from wattvlm.runtimes.transformers.closing import write_counts
from wattvlm.runtimes.transformers.device_time import DeviceBoundary
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark
from wattvlm.units import NS_PER_MS, S_PER_NS


class PendingCalls:
    """Ended calls in the order of their ends. On a CPU nothing ever waits here."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: list[ObservedCall] = []

    def add(self, call: ObservedCall) -> None:
        if call.stream is None:
            _finish(call, ())
            return
        call.given = without_contents(call.given)
        with self._lock:
            self._waiting.append(call)
        self.resolve()

    def withdraw(self, call: ObservedCall) -> None:
        """The call goes on: it will be added again when it is over."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)

    def resolve(self) -> None:
        """Finish every waiting call that the device has finished; does not wait."""
        if not self._waiting:
            return
        with self._lock:
            while self._waiting:
                call = self._waiting[0]
                boundaries = None if call.stream is None else call.stream.resolve()
                if boundaries is None:
                    return
                self._waiting.pop(0)
                _finish(call, boundaries)

    def wait(self, patience_ns: int) -> None:
        """Resolve, asking again for at most so long."""
        until_ns = monotonic_ns() + patience_ns
        self.resolve()
        while self._waiting and monotonic_ns() < until_ns:
            time.sleep(NS_PER_MS * S_PER_NS)
            self.resolve()


def _finish(call: ObservedCall, boundaries: Sequence[DeviceBoundary]) -> None:
    try:
        _mark_device_phases(call, boundaries)
        if call.model is not None:
            with call.in_one_piece():
                write_counts(call)
    finally:
        call.release()


def _mark_device_phases(call: ObservedCall, boundaries: Sequence[DeviceBoundary]) -> None:
    at = {boundary.name: boundary for boundary in boundaries}
    end = at.get("end")
    logits = at.get("first_token")
    prefill = max(
        (each for name, each in at.items() if name in ("forward_start", "vision_end")),
        key=lambda each: each.time_ns,
        default=None,
    )
    phases = ((VISION_ENCODE, at.get("vision_start"), at.get("vision_end")), (PREFILL, prefill, logits or end))
    for name, start, stop in (*phases, (DECODE, logits, end)):
        if start is None or stop is None or call.stream is None or name in call.device_phases_marked:
            continue
        call.device_phases_marked |= {name}
        for kind, edge in (("phase_start", start), ("phase_end", stop)):
            device = call.stream.device
            mark_kind: Any = kind
            call.write(Mark(edge.time_ns, mark_kind, call.call_id, name, call.lane, device, float(edge.std_ns)))

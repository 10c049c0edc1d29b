"""When the device passed each boundary of a call, found out afterwards and without waiting for the device.

Work on a GPU runs later than the host asks for it, so boundaries are events on the stream. How the device's clock
lies to the host's follows from causality alone, with no synchronisation: an event is passed after it was recorded,
and before the first query that finds it passed. Every event of the call narrows the same offset.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wattvlm.units import NS_PER_MS, SQRT_12

_POLL_NS = 100_000


class DeviceEvent(Protocol):
    """The part of torch.cuda.Event that is used."""

    def record(self) -> object: ...

    def query(self) -> bool:
        """Whether the device has passed it; does not wait."""
        ...

    def elapsed_time(self, end_event: Any, /) -> float:
        """Milliseconds of device time from this event to `end_event`."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceBoundary:
    """When the device passed a boundary, on the host's monotonic clock, and how far off that may be (one sigma)."""

    name: str
    time_ns: int
    std_ns: int


class StreamTimes:
    """The boundaries of one call on one device's current stream.

    device: torch's name, "cuda:0". new_event: makes an event that has timing. monotonic_ns: the host's clock.
    peak_memory_bytes: the most that was allocated on the device since the process began or the program reset it.
    """

    def __init__(
        self,
        device: str,
        new_event: Callable[[], DeviceEvent],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        peak_memory_bytes: Callable[[], int] | None = None,
    ) -> None:
        self.device = device
        self.peak_memory_bytes = peak_memory_bytes
        self._new_event = new_event
        self._monotonic_ns = monotonic_ns
        self._recorded: dict[str, tuple[str, int, DeviceEvent]] = {}

    def record(self, name: str) -> None:
        """Put a boundary on the stream, in place of an earlier one of that name; waits for nothing."""
        event = self._new_event()
        before_ns = self._monotonic_ns()
        event.record()
        self._recorded.pop(name, None)
        self._recorded[name] = (name, before_ns, event)

    def resolve(self) -> tuple[DeviceBoundary, ...] | None:
        """Every boundary recorded so far, or None while the device has not passed the last of them."""
        if not self._recorded:
            return ()
        recorded = list(self._recorded.values())
        last = recorded[-1][2]
        asked_until_ns = self._monotonic_ns() + _POLL_NS
        while not last.query():
            if self._monotonic_ns() > asked_until_ns:
                return None
        return _on_host_clock(recorded, self._monotonic_ns())


def _on_host_clock(recorded: Sequence[tuple[str, int, DeviceEvent]], passed_by_ns: int) -> tuple[DeviceBoundary, ...]:
    """first_ns is the unknown host time of the first event: after each (recorded - its offset), before the query's."""
    first = recorded[0][2]
    offsets_ns = [int(first.elapsed_time(event) * NS_PER_MS) for _, _, event in recorded]
    earliest_ns = max(before_ns - offset for (_, before_ns, _), offset in zip(recorded, offsets_ns))
    latest_ns = max(earliest_ns, passed_by_ns - offsets_ns[-1])
    first_ns = (earliest_ns + latest_ns) // 2
    std_ns = int((latest_ns - earliest_ns) / SQRT_12)
    return tuple(DeviceBoundary(name, first_ns + offset, std_ns) for (name, _, _), offset in zip(recorded, offsets_ns))


def cuda_stream_times(device: str) -> StreamTimes | None:
    """StreamTimes for a model on a CUDA or ROCm device that torch already uses; None for any other device."""
    if not device.startswith("cuda"):
        return None
    import torch

    cuda: Any = torch.cuda
    if not cuda.is_initialized():
        return None
    index: Any = torch.device(device).index
    on_device = f"cuda:{cuda.current_device() if index is None else index}"

    def peak_memory_bytes() -> int:
        return int(cuda.max_memory_allocated(on_device))

    return StreamTimes(on_device, lambda: _CudaEvent(cuda, on_device), peak_memory_bytes=peak_memory_bytes)


class _CudaEvent:
    """A CUDA event that is recorded on the stream that its device runs at that moment."""

    __slots__ = ("_device", "_event", "_streams")

    def __init__(self, cuda: Any, device: str) -> None:
        self._event: Any = cuda.Event(enable_timing=True)
        self._streams = cuda
        self._device = device

    def record(self) -> None:
        self._event.record(self._streams.current_stream(self._device))

    def query(self) -> bool:
        return bool(self._event.query())

    def elapsed_time(self, end_event: Any, /) -> float:
        return float(self._event.elapsed_time(end_event._event))

"""Plays a plan of load on a device, and says when each step really began."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wattvlm.calibrate.plan import Step
from wattvlm.clock import Clock, SystemClock
from wattvlm.units import NS_PER_MS, NS_PER_US

DUTY_PERIOD_NS = 4 * NS_PER_MS
"""A partial load is this often busy and idle: faster than any window, slower than a kernel's launch."""

KERNEL_NS = 400 * NS_PER_US
"""One piece of work lasts about this long, so that edges are sharp to half a millisecond."""

SMALLEST, LARGEST = 64, 8192
TRIALS = 5


class Load(Protocol):
    """Something that keeps a device busy, or lets it be."""

    @property
    def device(self) -> str:
        """The device in words."""
        ...

    def work(self, until_ns: int) -> None:
        """Keep the device busy until a monotonic time, and return when it is done."""
        ...

    def rest(self, until_ns: int) -> None:
        """Leave the device idle until a monotonic time."""
        ...


@dataclass(frozen=True, slots=True)
class Played:
    """A plan as it was played: each step and when it began, in monotonic ns; and when the last one ended."""

    steps: tuple[Step, ...]
    start_ns: tuple[int, ...]
    end_ns: int

    @property
    def edges_ns(self) -> NDArray[np.int64]:
        """All times at which the square waves switched, the first one to the higher power."""
        ends = (*self.start_ns[1:], self.end_ns)
        square = [index for index, step in enumerate(self.steps) if step.section == "square"]
        edges = [*(self.start_ns[index] for index in square), *(ends[index] for index in square[-1:])]
        return np.array(edges, dtype=np.int64)

    @property
    def levels_ns(self) -> tuple[tuple[int, int], ...]:
        """(start, end) of each level that lasts: the stairs and the quiet around them."""
        ends = (*self.start_ns[1:], self.end_ns)
        return tuple(
            (start_ns, end_ns)
            for step, start_ns, end_ns in zip(self.steps, self.start_ns, ends)
            if step.section != "square"
        )


def drive(
    plan: Sequence[Step], load: Load, clock: Clock | None = None, tell: Callable[[float], None] | None = None
) -> Played:
    """Play a plan; tell: called with the fraction that is done, about once a second."""
    clock = clock or SystemClock()
    total_ns = sum(step.duration_ns for step in plan)
    starts: list[int] = []
    due_ns = first_ns = clock.monotonic_ns()
    told = -1
    for step in plan:
        now_ns = clock.monotonic_ns()
        starts.append(now_ns)
        due_ns += step.duration_ns
        until_ns = max(due_ns, now_ns + step.duration_ns // 2)  # a step that began late still lasts
        _play(step, load, now_ns, until_ns)
        seconds = (clock.monotonic_ns() - first_ns) // (1000 * NS_PER_MS)
        if tell is not None and seconds > told:
            told = seconds
            tell(min((due_ns - first_ns) / total_ns, 1.0))
    return Played(tuple(plan), tuple(starts), clock.monotonic_ns())


def _play(step: Step, load: Load, now_ns: int, until_ns: int) -> None:
    if step.busy_fraction >= 1.0:
        load.work(until_ns)
    elif step.busy_fraction <= 0.0:
        load.rest(until_ns)
    else:
        while now_ns < until_ns:
            load.work(now_ns + round(step.busy_fraction * DUTY_PERIOD_NS))
            now_ns += DUTY_PERIOD_NS
            load.rest(now_ns)


class TorchLoad:
    """Matrix products on a torch device, of a size that takes about KERNEL_NS.

    device: "cuda", "cuda:1", "cpu" ... RuntimeError or ImportError where torch cannot use it.
    """

    def __init__(self, device: str, clock: Clock | None = None, torch: Any = None) -> None:
        self._clock = clock or SystemClock()
        self._torch: Any = torch or importlib.import_module("torch")
        self._device: Any = self._torch.device(device)
        self._matrix: Any = self._sized()

    @property
    def device(self) -> str:
        """The device in words."""
        if self._device.type == "cuda":
            return str(self._torch.cuda.get_device_name(self._device))
        return str(self._device)

    @property
    def kind(self) -> str:
        """The device's kind as torch names it: "cuda", "cpu" ..."""
        return str(self._device.type)

    @property
    def uuid(self) -> str:
        """The board's UUID without any prefix; "" where torch does not say."""
        if self._device.type != "cuda":
            return ""
        found = getattr(self._torch.cuda.get_device_properties(self._device), "uuid", "")
        return str(found).removeprefix("GPU-")

    def work(self, until_ns: int) -> None:
        """Products one after another, each waited for; returns up to one product late."""
        while self._clock.monotonic_ns() < until_ns:
            self._product(self._matrix)

    def rest(self, until_ns: int) -> None:
        """Sleep: the device has nothing to do, since each product was waited for."""
        self._clock.sleep_ns(until_ns - self._clock.monotonic_ns())

    def _product(self, matrix: Any) -> None:
        self._torch.mm(matrix, matrix)
        if self._device.type == "cuda":
            self._torch.cuda.synchronize(self._device)

    def _sized(self) -> Any:
        size = SMALLEST
        while True:
            matrix = self._torch.rand(size, size, device=self._device)
            self._product(matrix)  # the first one loads libraries
            start_ns = self._clock.monotonic_ns()
            for _ in range(TRIALS):
                self._product(matrix)
            if self._clock.monotonic_ns() - start_ns >= TRIALS * KERNEL_NS or size >= LARGEST:
                return matrix
            size = size * 5 // 4

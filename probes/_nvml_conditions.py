"""What state NVIDIA boards are in: clocks, heat, limits, and who else computes on them. A part of `nvml.py`.

Bits, types and codes are NVML's stable binary interface (nvml.h 13.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from wattvlm.clock import Clock
from wattvlm.probes._nvml_boards import Board
from wattvlm.probes._nvml_questions import code_of
from wattvlm.sensing import Condition, Quantity
from wattvlm.units import HZ_PER_MHZ, NS_PER_US, W_PER_MILLIWATT

_CORE_CLOCK = 1
_CHIP_TEMPERATURE = 0

_POWER_CAP = 0x4
_HARDWARE_SLOWDOWN = 0x8
_HEAT = 0x20 | 0x40
_HARDWARE_HEAT = 0x40
_POWER_BRAKE = 0x80

_REFUSALS = frozenset({2, 3, 4, 13, 25})
"""INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH: not asked again."""

_MPS_SERVER = "nvidia-cuda-mps-server"


Found = Iterable[tuple[Quantity, float, int]]
"""(quantity, value, pid) of one answer."""


class BoardConditions:
    """The questions to some boards, in turn; what a board does not answer once is not asked again."""

    def __init__(self, nvml: Any, boards: Sequence[Board], clock: Clock) -> None:
        self._nvml = nvml
        self._clock = clock
        self._boards = tuple(boards)
        self._refused: set[tuple[str, str]] = set()
        self._last_seen_us = dict.fromkeys((board.name for board in boards), clock.wall_ns() // NS_PER_US)
        self._names: dict[int, str] = {}

    def look(self) -> Iterator[Condition]:
        """One look at all boards, a call to the driver a step."""
        questions: tuple[Callable[[Board], Found], ...] = (
            self._reasons, self._core_clock, self._temperature, self._busy, self._power_limit, self._power_state,
            self._processes, self._process_shares,
        )  # fmt: skip
        for board in self._boards:
            for question in questions:
                yield from self._answers(board, question)

    def _answers(self, board: Board, question: Callable[[Board], Found]) -> Iterator[Condition]:
        key = board.name, question.__name__
        if key in self._refused:
            return
        try:
            found = list(question(board))
        except (self._nvml.NVMLError, AttributeError) as error:  # AttributeError: a pynvml older than the question
            if isinstance(error, AttributeError) or code_of(error) in _REFUSALS:
                self._refused.add(key)
            return
        now_ns = self._clock.monotonic_ns()
        for quantity, value, pid in found:
            yield Condition(board.name, quantity, now_ns, value, pid)

    def _reasons(self, board: Board) -> Found:
        nvml = self._nvml
        # The name of it before driver 535.
        ask = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        ask = ask if ask is not None else nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        mask = int(ask(board.handle))
        by_hardware = mask & _POWER_BRAKE or (mask & _HARDWARE_SLOWDOWN and not mask & _HARDWARE_HEAT)
        yield "slowed_by_power", float(bool(mask & _POWER_CAP)), 0
        yield "slowed_by_heat", float(bool(mask & _HEAT)), 0
        yield "slowed_by_hardware", float(bool(by_hardware)), 0

    def _core_clock(self, board: Board) -> Found:
        yield "core_clock_hz", self._nvml.nvmlDeviceGetClockInfo(board.handle, _CORE_CLOCK) * HZ_PER_MHZ, 0

    def _temperature(self, board: Board) -> Found:
        yield "temperature_celsius", float(self._nvml.nvmlDeviceGetTemperature(board.handle, _CHIP_TEMPERATURE)), 0

    def _busy(self, board: Board) -> Found:
        yield "busy_fraction", self._nvml.nvmlDeviceGetUtilizationRates(board.handle).gpu / 100.0, 0

    def _power_limit(self, board: Board) -> Found:
        yield "power_limit_w", self._nvml.nvmlDeviceGetEnforcedPowerLimit(board.handle) * W_PER_MILLIWATT, 0

    def _power_state(self, board: Board) -> Found:
        yield "power_state", float(self._nvml.nvmlDeviceGetPerformanceState(board.handle)), 0

    def _processes(self, board: Board) -> Found:
        for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(board.handle):
            pid = int(process.pid)
            if _MPS_SERVER in self._name(pid):
                yield "shared_by_server", 1.0, pid
            else:
                yield "process", 1.0, pid

    def _name(self, pid: int) -> str:
        """A process's name as the driver knows it; "" where it does not say."""
        if pid not in self._names:
            try:
                name: object = self._nvml.nvmlSystemGetProcessName(pid)
            except (self._nvml.NVMLError, AttributeError):
                name = ""
            self._names[pid] = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        return self._names[pid]

    def _process_shares(self, board: Board) -> Found:
        """Mean SM utilisation of each process since the last look; the driver samples it some times a second."""
        last_us = self._last_seen_us[board.name]
        samples = [
            each for each in self._nvml.nvmlDeviceGetProcessUtilization(board.handle, last_us)
            if each.timeStamp > last_us
        ]  # fmt: skip
        shares: dict[int, list[float]] = {}
        for sample in samples:
            self._last_seen_us[board.name] = max(self._last_seen_us[board.name], int(sample.timeStamp))
            shares.setdefault(int(sample.pid), []).append(sample.smUtil / 100.0)
        for pid, fractions in shares.items():
            yield "busy_fraction", sum(fractions) / len(fractions), pid

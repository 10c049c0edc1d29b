"""What state AMD boards are in: clocks, heat, limits, and who else computes on them. A part of `amdsmi.py`.

One call gives the driver's whole table of metrics (amdsmi_get_gpu_metrics_info). amdsmi_get_violation_status is not
used: it waits 100 ms between two looks of its own. Nor is its list of processes, which searches all of /proc: the
compute driver lists its own in /sys/class/kfd/kfd/proc (Linux, kfd_process.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from wattvlm.clock import Clock
from wattvlm.probes import _amd_boards as amd
from wattvlm.probes._sysfs import text_of
from wattvlm.sensing import Condition, Quantity
from wattvlm.units import HZ_PER_MHZ

PROCESSES = "sys/class/kfd/kfd/proc"

LEAST_SLOWED_FRACTION = 0.1
"""Below this part of the driver's own samples, clocks that were held down are no news."""

_HELD_DOWN: Mapping[Quantity, tuple[str, ...]] = {
    "slowed_by_power": ("ppt_residency_acc",),
    "slowed_by_heat": ("socket_thm_residency_acc", "vr_thm_residency_acc", "hbm_thm_residency_acc"),
    "slowed_by_hardware": ("prochot_residency_acc",),
}
"""Sums of the driver's samples in which clocks were held down, since MI300; older boards' bits mean other things on
each product, and amdsmi gives them as one truth value."""

Found = Iterable[tuple[Quantity, float, int]]
"""(quantity, value, pid) of one answer."""


class BoardConditions:
    """The questions to some boards, in turn. An error ends this answer only: boards without one answer "N/A".

    root: where sys is.
    """

    def __init__(self, amdsmi: Any, boards: Sequence[amd.Board], clock: Clock, root: Path) -> None:
        self._amdsmi = amdsmi
        self._boards = tuple(boards)
        self._clock = clock
        self._root = root
        self._last: dict[str, Mapping[str, Any]] = {}
        self._kfd_ids: dict[str, object] = {}

    def look(self) -> Iterator[Condition]:
        """One look at all boards, a call to the driver a step."""
        questions: tuple[Callable[[amd.Board], Found], ...] = (self._metrics, self._power_limit, self._processes)
        for board in self._boards:
            for question in questions:
                found = list(question(board))
                now_ns = self._clock.monotonic_ns()
                for quantity, value, pid in found:
                    yield Condition(board.name, quantity, now_ns, value, pid)

    def _metrics(self, board: amd.Board) -> Found:
        told = amd.facts_of(self._amdsmi, "amdsmi_get_gpu_metrics_info", board.handle)
        several: list[Any] = told["current_gfxclks"] if isinstance(told.get("current_gfxclks"), list) else []
        clocks_mhz: list[float] = [each for each in (told.get("current_gfxclk"), *several) if _is_number(each)]
        if clocks_mhz:
            yield "core_clock_hz", max(clocks_mhz) * HZ_PER_MHZ, 0
        if _is_number(told.get("temperature_hotspot")):
            yield "temperature_celsius", float(told["temperature_hotspot"]), 0
        if _is_number(told.get("average_gfx_activity")):
            yield "busy_fraction", told["average_gfx_activity"] / 100.0, 0
        before, self._last[board.name] = self._last.get(board.name, {}), told
        yield from _slowed(before, told)

    def _power_limit(self, board: amd.Board) -> Found:
        limit_w = amd.cap_w(self._amdsmi, board, "power_cap")
        if limit_w is not None:
            yield "power_limit_w", limit_w, 0

    def _processes(self, board: amd.Board) -> Found:
        if board.name not in self._kfd_ids:
            told = amd.facts_of(self._amdsmi, "amdsmi_get_gpu_kfd_info", board.handle)
            self._kfd_ids[board.name] = told.get("kfd_id")
        kfd_id = self._kfd_ids[board.name]
        folders = (each for each in (self._root / PROCESSES).glob("[0-9]*") if each.name.isdecimal())
        for folder in folders:
            if text_of(folder / f"vram_{kfd_id}") in (None, "0"):
                continue
            yield "process", 1.0, int(folder.name)
            occupied = text_of(folder / f"stats_{kfd_id}" / "cu_occupancy")
            if occupied is not None and occupied.isdecimal() and board.compute_units:
                yield "busy_fraction", min(1.0, int(occupied) / board.compute_units), int(folder.name)


def _slowed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Found:
    """Whether clocks were held down since the last look."""
    samples = _risen(before, now, "accumulation_counter")
    if not samples:
        return
    for quantity, names in _HELD_DOWN.items():
        risen = [each for each in (_risen(before, now, name) for name in names) if each is not None]
        if risen:
            yield quantity, float(max(risen) >= LEAST_SLOWED_FRACTION * samples), 0


def _risen(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> int | None:
    earlier, later = before.get(name), now.get(name)
    if not isinstance(earlier, int) or not isinstance(later, int) or later < earlier:
        return None
    return later - earlier


def _is_number(value: object) -> TypeGuard[float]:
    """A number, which "N/A" is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)

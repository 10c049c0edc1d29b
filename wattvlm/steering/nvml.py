"""NVIDIA boards as things that can be set: what they allow, who else uses them, limits and clocks, and back again.

nvmlDeviceSetPowerManagementLimit and nvmlDeviceSetGpuLockedClocks need root. What they set stays when the process that
set it ends, until the driver is unloaded (nvml.h, "persistence"), so somebody has to give it back.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattvlm.errors import WattvlmError
from wattvlm.probes._nvml_boards import Board, visible_boards
from wattvlm.sweep import Setting
from wattvlm.units import HZ_PER_MHZ, W_PER_MILLIWATT

_NOT_SUPPORTED, _NO_PERMISSION = 3, 4

Whose = Callable[[int], bool | None]
"""True for a process of the program that steers, False for another's, None where it cannot be told."""


class NotSteerable(WattvlmError):
    """A limit or clock may not, or cannot, be set here; nothing is set where this is raised."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one board had before: its UUID and its power limit. Whether a clock was locked, NVML does not tell."""

    uuid: str
    index: int
    power_limit_w: float | None


class NvmlBoards:
    """The boards that CUDA shows to this process.

    library: an object with pynvml's functions (default: pynvml itself). environ: where CUDA_VISIBLE_DEVICES is looked
    up (default: this process's). NotSteerable where there is no board.
    """

    def __init__(self, library: Any = None, environ: Mapping[str, str] | None = None) -> None:
        try:
            self._nvml: Any = importlib.import_module("pynvml") if library is None else library
            self._nvml.nvmlInit()
            self._boards, _ = visible_boards(self._nvml, os.environ if environ is None else environ)
        except ImportError as error:
            raise NotSteerable("pynvml cannot be imported. Cure: pip install nvidia-ml-py") from error
        except self._nvml.NVMLError as error:
            raise NotSteerable(f"NVML did not start: {error}. Cure: a machine with an NVIDIA driver") from error
        if not self._boards:
            raise NotSteerable("CUDA shows no GPU to this process. Cure: see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES")

    def kept(self) -> list[Kept]:
        """What each board has now."""
        return [Kept(board.uuid, board.index, self._limit_w(board)) for board in self._boards]

    def check(self, settings: Sequence[Setting], whose: Whose) -> None:
        """NotSteerable where one of the settings could not be set, or where the GPU is not this program's alone."""
        for board in self._boards:
            if board.mig:
                raise NotSteerable(
                    f"{board.product} ({board.name}) is cut into MIG instances, and a limit or clock would be that of "
                    "all of them. Cure: a whole GPU, or `sudo nvidia-smi -mig 0`"
                )
            self._check_limits(board, [each.power_limit_w for each in settings if each.power_limit_w is not None])
            self._check_clocks(board, [each.core_clock_hz for each in settings if each.core_clock_hz is not None])
        self.refuse_others(whose, unknown_too=True)
        self._check_right(any(each.core_clock_hz is not None for each in settings))

    def refuse_others(self, whose: Whose, *, unknown_too: bool) -> None:
        """NotSteerable where processes of others compute on a board. unknown_too: also those that cannot be told."""
        for board in self._boards:
            found = [
                pid for pid in self._computing(board) if (own := whose(pid)) is False or (own is None and unknown_too)
            ]
            if found:
                raise NotSteerable(
                    f"{board.product} ({board.name}) is used by another process (pid {', '.join(map(str, found))}), "
                    "which a lower limit or clock would slow down. Cure: wait for it, or choose a GPU of your own with "
                    "CUDA_VISIBLE_DEVICES"
                )

    def set(self, setting: Setting) -> dict[str, float | None]:
        """Set every board; gives the limit in watts that each then enforces, by name; None where it has none."""
        for board in self._boards:
            if setting.power_limit_w is not None:
                self._do(board, "nvmlDeviceSetPowerManagementLimit", round(setting.power_limit_w / W_PER_MILLIWATT))
            if setting.core_clock_hz is not None:
                clock_mhz = round(setting.core_clock_hz / HZ_PER_MHZ)
                self._do(board, "nvmlDeviceSetGpuLockedClocks", clock_mhz, clock_mhz)
        return {board.name: self._enforced_w(board) for board in self._boards}

    def give_back(self, kept: Iterable[Kept], *, limits: bool, clocks: bool) -> list[str]:
        """Set what was there before; a line with the cure for each board where that failed."""
        known = {each.uuid: each for each in kept}
        failed: list[str] = []
        for board in self._boards:
            before = known.get(board.uuid)
            if limits and before is not None and before.power_limit_w is not None:
                failed += self._tried(board, f"-pl {before.power_limit_w:g}", "nvmlDeviceSetPowerManagementLimit",
                                      round(before.power_limit_w / W_PER_MILLIWATT))  # fmt: skip
            if clocks:
                failed += self._tried(board, "-rgc", "nvmlDeviceResetGpuLockedClocks")
        return failed

    def _tried(self, board: Board, option: str, function: str, *arguments: int) -> list[str]:
        try:
            self._do(board, function, *arguments)
        except NotSteerable as error:
            return [f"{error}. Cure: sudo nvidia-smi -i {board.index} {option}"]
        return []

    def _do(self, board: Board, function: str, *arguments: int) -> None:
        try:
            getattr(self._nvml, function)(board.handle, *arguments)
        except self._nvml.NVMLError as error:
            why = _RIGHT if getattr(error, "value", None) == _NO_PERMISSION else str(error)
            raise NotSteerable(f"{board.product} ({board.name}): {function}: {why}") from error

    def _given(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, function)(*arguments)
        except (self._nvml.NVMLError, AttributeError):  # AttributeError: a pynvml older than the function
            return None

    def _limit_w(self, board: Board) -> float | None:
        found_mw = self._given("nvmlDeviceGetPowerManagementLimit", board.handle)
        return None if found_mw is None else found_mw * W_PER_MILLIWATT

    def _enforced_w(self, board: Board) -> float | None:
        found_mw = self._given("nvmlDeviceGetEnforcedPowerLimit", board.handle)
        return None if found_mw is None else found_mw * W_PER_MILLIWATT

    def _computing(self, board: Board) -> list[int]:
        found: Sequence[Any] = self._given("nvmlDeviceGetComputeRunningProcesses", board.handle) or ()
        return [int(each.pid) for each in found]

    def _check_limits(self, board: Board, limits_w: Sequence[float]) -> None:
        if not limits_w:
            return
        found = self._given("nvmlDeviceGetPowerManagementLimitConstraints", board.handle)
        if found is None or self._limit_w(board) is None:
            raise NotSteerable(f"{board.product} ({board.name}) has no power limit that could be set")
        least_w, most_w = (each * W_PER_MILLIWATT for each in found)
        outside = [f"{each:g} W" for each in limits_w if not least_w <= each <= most_w]
        if outside:
            raise NotSteerable(
                f"{board.product} ({board.name}) takes limits from {least_w:g} to {most_w:g} W, not "
                f"{', '.join(outside)}"
            )

    def _check_clocks(self, board: Board, clocks_hz: Sequence[float]) -> None:
        if not clocks_hz:
            return
        known = self._clocks_mhz(board)
        if not known:
            raise NotSteerable(f"{board.product} ({board.name}) does not tell which clocks it supports")
        unknown = [mhz for mhz in (round(each / HZ_PER_MHZ) for each in clocks_hz) if mhz not in known]
        if unknown:
            near = ", ".join(f"{min(known, key=lambda each: abs(each - mhz))} for {mhz}" for mhz in unknown)
            raise NotSteerable(
                f"{board.product} ({board.name}) has no clock of {', '.join(map(str, unknown))} MHz. Cure: the "
                f"nearest, {near}; `nvidia-smi -q -d SUPPORTED_CLOCKS` lists all"
            )

    def _clocks_mhz(self, board: Board) -> list[int]:
        """Core clocks at the highest memory clock, which is the one of compute."""
        of_memory: Sequence[int] = self._given("nvmlDeviceGetSupportedMemoryClocks", board.handle) or ()
        if not of_memory:
            return []
        return list(self._given("nvmlDeviceGetSupportedGraphicsClocks", board.handle, max(of_memory)) or ())

    def _check_right(self, of_clocks: bool) -> None:
        """Ask for the right without changing anything: the limit that there is, or any clock that there is."""
        for board in self._boards:
            limit_w = self._limit_w(board)
            if of_clocks:
                known = self._clocks_mhz(board)
                self._do(board, "nvmlDeviceSetGpuLockedClocks", min(known), max(known))
                self._do(board, "nvmlDeviceResetGpuLockedClocks")
            elif limit_w is not None:
                self._do(board, "nvmlDeviceSetPowerManagementLimit", round(limit_w / W_PER_MILLIWATT))

    def close(self) -> None:
        """Give NVML back."""
        self._given("nvmlShutdown")


_RIGHT = (
    "this user may not set it. Cure: run as root (in a container with CAP_SYS_ADMIN), or without --power-limits and "
    "--clocks"
)

"""AMD GPUs through the package amdsmi: the board's energy counter, or its power where the counter is not to be trusted.

Counters that stand still and counters in another unit than the library says have both been reported (amdsmi issues 22
and 38), so each is compared with power x time for a moment before it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes import _amd_boards as amd
from wattvlm.probes._amd_conditions import BoardConditions
from wattvlm.probes._sysfs import text_of
from wattvlm.sensing import Absence, Channel, Condition, Domain, EnergyReading, PowerReading, Reading, Sensors
from wattvlm.units import J_PER_MICROJOULE, NS_PER_MS, S_PER_NS

VENDOR = "0x1002"
LOOK_NS = 200 * NS_PER_MS
"""How long counter and power are compared."""

NO_PERMISSION = 10
LOST_CODES = frozenset({31, 32, 34, 51})
"""NOT_FOUND, NOT_INIT, DRIVER_NOT_LOADED, NO_DRV (amdsmi.h): no later read can work. All others may."""

GAIN_STD_FRACTION = 0.05
SHORT_POWER_FACTOR = 1.6
_FAST_PRODUCTS = ("MI200", "MI210", "MI250", "MI300", "MI325", "MI350", "MI355")


class AmdSmiProbe:
    """All AMD GPUs that HIP shows to this process: "gpu-<uuid>/board".

    library: an object with amdsmi's functions (default: amdsmi itself). root: where dev and sys are.
    environ: where the variables that choose GPUs are looked up (default: this process's).
    """

    domain: Domain = "gpu"

    def __init__(
        self,
        library: Any = None,
        clock: Clock | None = None,
        root: Path = Path("/"),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._library = library
        self._clock: Clock = clock or SystemClock()
        self._root = root
        self._environ = os.environ if environ is None else environ
        self._amdsmi: Any = None
        self._asks: dict[str, Callable[[], float]] = {}
        self._conditions: BoardConditions | None = None

    def open(self) -> Sensors:
        """Starts amdsmi and compares each counter for a moment; sees nothing where there is no AMD GPU."""
        self.close()
        if not _is_here(self._root):
            return Sensors(())
        library = self._library if self._library is not None else _amdsmi()
        try:
            library.amdsmi_init()
        except library.AmdSmiException as error:
            raise _never_started(error) from error
        self._amdsmi = library
        try:
            return self._look()
        except library.AmdSmiException as error:
            self.close()
            raise _never_started(error) from error
        except BaseException:
            self.close()
            raise

    def _look(self) -> Sensors:
        boards, absent = amd.visible_boards(amd.all_boards(self._amdsmi), self._environ)
        before = [self._snapshot(board) for board in boards]
        self._clock.sleep_ns(LOOK_NS)
        channels: list[Channel] = []
        facts: dict[str, str] = {}
        for board, first in zip(boards, before):
            last = self._snapshot(board)
            why_not = _why_not_counter(first, last)
            if why_not and last.power_w is None:
                absent.append(_unreadable(board, why_not))
                continue
            limit_w = amd.cap_w(self._amdsmi, board)
            if why_not:
                absent.append(_no_counter(board, why_not))
                self._asks[f"{board.name}/board"] = partial(self._power_w, board)
            else:
                self._asks[f"{board.name}/board"] = partial(amd.energy_j, self._amdsmi, board)
            channels.append(_channel(board, limit_w, counts=not why_not))
            facts[f"{board.name} device"] = board.product
            if limit_w is not None:
                facts[f"{board.name} limit_w"] = f"{limit_w:g}"
        self._conditions = BoardConditions(self._amdsmi, boards, self._clock, self._root)
        return Sensors(tuple(channels), tuple(absent), facts)

    def _snapshot(self, board: amd.Board) -> _Snapshot:
        refusals: list[Exception] = []
        energy_j = power_w = None
        try:
            power_w = amd.power_w(self._amdsmi, board)
        except (self._amdsmi.AmdSmiException, AttributeError) as error:
            refusals.append(error)
        try:
            energy_j = amd.energy_j(self._amdsmi, board)
        except (self._amdsmi.AmdSmiException, AttributeError, KeyError) as error:
            refusals.append(error)
        return _Snapshot(self._clock.monotonic_ns(), energy_j, power_w, tuple(refusals))

    def _power_w(self, board: amd.Board) -> float:
        watts = amd.power_w(self._amdsmi, board)
        if watts is None:
            raise ProbeRetry(f"amdsmi gave no power for {board.name}")
        return watts

    def read(self, channel: Channel) -> Sequence[Reading]:
        """One reading now."""
        ask = self._asks.get(channel.name)
        if ask is None:
            raise ProbeLost(f"{channel.name} is not open; its joules are absent. Cure: open the probe first")
        before_ns = self._clock.monotonic_ns()
        try:
            value = ask()
        except self._amdsmi.AmdSmiException as error:
            if _code_of(error) in LOST_CODES:
                raise ProbeLost(
                    f"amdsmi lost {channel.name}: {_words(error)}; its joules end here. Cure: reset the GPU or reboot"
                ) from error
            raise ProbeRetry(f"amdsmi could not read {channel.name}: {_words(error)}") from error
        after_ns = self._clock.monotonic_ns()
        if channel.method == "counter":
            return (EnergyReading(channel.name, before_ns, after_ns, after_ns - before_ns, value),)
        return (PowerReading(channel.name, after_ns, after_ns - before_ns, value),)

    def conditions(self) -> Iterator[Condition]:
        """Clocks, heat, limits and processes of the open boards now."""
        return iter(()) if self._conditions is None else self._conditions.look()

    def close(self) -> None:
        """Gives amdsmi back, once for each start."""
        library, self._amdsmi = self._amdsmi, None
        self._asks = {}
        self._conditions = None
        if library is None:
            return
        try:
            library.amdsmi_shut_down()
        except library.AmdSmiException:  # a driver that is gone has nothing left to give back
            return


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Counter and power of a board at one time, None where it gave none; and how it refused."""

    time_ns: int
    energy_j: float | None
    power_w: float | None
    refusals: tuple[Exception, ...]


def _why_not_counter(first: _Snapshot, last: _Snapshot) -> str:
    if first.energy_j is None or last.energy_j is None:
        return ", ".join(sorted({_words(error) for error in last.refusals})) or "it gave no value"
    known_w = [snapshot.power_w for snapshot in (first, last) if snapshot.power_w is not None]
    watts = sum(known_w) / len(known_w) if known_w else None
    return amd.why_not_trusted(last.energy_j - first.energy_j, (last.time_ns - first.time_ns) * S_PER_NS, watts)


def _is_here(root: Path) -> bool:
    """The kernel's compute driver, or a display device of AMD's."""
    vendors = root.glob("sys/class/drm/card*/device/vendor")
    return (root / "dev/kfd").exists() or any(text_of(vendor) == VENDOR for vendor in vendors)


def _amdsmi() -> Any:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where it does not find its library
            return importlib.import_module("amdsmi")
    except ImportError as error:
        raise ProbeUnavailable(
            f"there is an AMD GPU, but amdsmi cannot be imported ({error})",
            "GPU joules are absent",
            "pip install amdsmi, in the version of the installed ROCm (or the one in /opt/rocm/share/amd_smi)",
        ) from error
    except (OSError, AttributeError, KeyError) as error:  # its shared library is missing, or of another version
        raise ProbeUnavailable(
            f"there is an AMD GPU, but amdsmi does not find a libamd_smi.so of its own version ({error!r})",
            "GPU joules are absent",
            "install ROCm's amd-smi-lib, and amdsmi in the same version",
        ) from error


def _channel(board: amd.Board, limit_w: float | None, *, counts: bool) -> Channel:
    is_fast = any(product in board.product for product in _FAST_PRODUCTS)
    return Channel(
        name=f"{board.name}/board",
        sensor="amdsmi energy counter" if counts else "amdsmi socket power",
        device=board.product,
        domain="gpu",
        method="counter" if counts else "power",
        update_period_ns=NS_PER_MS if counts and is_fast else None,
        window_ns=0 if counts else None,
        resolution_j=_COUNTER_STEP_J if counts and is_fast else None,
        resolution_w=None if counts else 1.0,
        max_power_w=None if limit_w is None else limit_w * SHORT_POWER_FACTOR,
        gain_std_fraction=GAIN_STD_FRACTION,
        source={
            "value": "energy_accumulator x counter_resolution in µJ (amdsmi documentation), checked against power x "
            "time when opened"
            if counts
            else "current_socket_power, else average_socket_power, in W (amdsmi documentation)",
            "domain": "the socket with its memory (amdsmi documentation); of two dies, both (zeus, device/gpu/amd.py)",
            "update_period_ns": "the driver's metrics are 1 ms old at most on Instinct boards (arXiv 2604.06056)"
            if counts and is_fast
            else "unknown until observed: no source found",
            "window_ns": "an integral has no window" if counts else "unknown: an undocumented moving average (ROCm "
            "issue 1649)",
            "resolution_j": "15.3 µJ (amdsmi documentation)" if is_fast else "unknown: each board has its own",
            "resolution_w": "the library gives whole watts",
            "max_power_w": "unknown: the library gives no limit"
            if limit_w is None
            else f"assumed: {SHORT_POWER_FACTOR} x the highest limit that the board accepts, as for NVIDIA's",
            "wraps_at_j": "never in practice: 64 bits",
            "gain_std_fraction": "assumed: 5 % and 1 % were seen against node meters (arXiv 2604.06056)",
        },
    )  # fmt: skip


_COUNTER_STEP_J = 15.3 * J_PER_MICROJOULE


def _code_of(error: BaseException) -> int:
    code = getattr(error, "err_code", -1)
    return code if isinstance(code, int) else -1


def _words(error: BaseException) -> str:
    """The error in one line; the library writes it in two."""
    return " ".join(str(error).split())


def _never_started(error: BaseException) -> ProbeUnavailable:
    if _code_of(error) == NO_PERMISSION:
        return ProbeUnavailable(
            "this user may not use the AMD GPU",
            "GPU joules are absent",
            "sudo usermod -aG render,video $USER and log in again; in a container: docker run --device=/dev/kfd "
            "--device=/dev/dri --group-add video",
        )
    return ProbeUnavailable(
        f"there is an AMD GPU, but amdsmi did not start: {_words(error)}",
        "GPU joules are absent",
        "see `amd-smi list` and `dmesg | grep -i amdgpu`",
    )


def _unreadable(board: amd.Board, why: str) -> Absence:
    return Absence(
        "gpu",
        f"{board.product} ({board.name}) gives no power, and its energy counter cannot be used: {why}",
        "the joules of this GPU are absent",
        "on a virtual machine measure on the host; else run as root, or try a newer ROCm",
    )


def _no_counter(board: amd.Board, why: str) -> Absence:
    return Absence(
        "gpu",
        f"the energy counter of {board.product} ({board.name}) is not used: {why}",
        "its joules are power readings times time, less sure for short phases",
        "a newer ROCm may mend the counter (amdsmi issues 22 and 38)",
    )


PROBE = AmdSmiProbe

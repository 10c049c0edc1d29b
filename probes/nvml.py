"""NVIDIA GPUs through NVML: the board's energy counter, and its power where the driver gives it a time stamp.

What a board can do is found by asking it, never from its architecture: virtual GPUs, laptops and Grace Hopper differ
from the documentation. Of the ways that answer, the best is the board's channel ("gpu-<uuid>/board"); the next one,
if the driver stamps it, is a second view of the same joules, contained in the first, and so is its memory's power.
Where only the power of a whole module (CPU, GPU, memory) is told, it is the channel "gpu-<uuid>/module" of the domain
"soc": what is neither the GPU's nor the CPU's is passed off as neither.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wattvlm.clock import Clock, SystemClock, WallAnchor, take_anchor, wall_to_monotonic_ns
from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes._nvml_boards import VISIBLE, Board, visible_boards
from wattvlm.probes._nvml_conditions import BoardConditions
from wattvlm.probes._nvml_questions import (
    COUNTER,
    LOST_CODES,
    MEMORY,
    NO_PERMISSION,
    POWER,
    Ask,
    Question,
    channel_of,
    code_of,
    never_started,
)
from wattvlm.sensing import Absence, Channel, Condition, Domain, EnergyReading, PowerReading, Reading, Sensors
from wattvlm.units import J_PER_MILLIJOULE, NS_PER_S, NS_PER_US, W_PER_MILLIWATT

BESIDE_EVERY_NS = NS_PER_S
"""How often memory's power is read, and the board's beside a counter where it is not to be followed."""

NEWEST_NS = NS_PER_S
"""How far back the driver's buffer of power samples is read at first."""

OLDEST_STAMP_NS = 10 * NS_PER_S
"""A driver's stamp further back than this is not a time on this machine's wall clock."""


class NvmlProbe:
    """All NVIDIA GPUs that CUDA shows to this process.

    library: an object with pynvml's functions (default: pynvml itself, of the package nvidia-ml-py).
    environ: where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are looked up (default: this process's).
    follows_power: read the power beside a counter at each of its updates, as a second view of the same joules; else
        once a second.
    """

    domain: Domain = "gpu"

    def __init__(
        self,
        library: Any = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        follows_power: bool = True,
    ) -> None:
        self._beside_every_ns = None if follows_power else BESIDE_EVERY_NS
        self._library = library
        self._clock: Clock = clock or SystemClock()
        self._environ = os.environ if environ is None else environ
        self._nvml: Any = None
        self._views: dict[str, _View] = {}
        self._conditions: BoardConditions | None = None

    def open(self) -> Sensors:
        """Starts NVML and asks each visible board what it can do; raises ProbeUnavailable."""
        self.close()
        library = self._library if self._library is not None else _pynvml()
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise never_started(code_of(error), str(error)) from error
        self._nvml = library
        try:
            return self._look()
        except library.NVMLError as error:
            self.close()
            raise never_started(code_of(error), str(error)) from error
        except BaseException:
            self.close()
            raise

    def _look(self) -> Sensors:
        boards, absent = visible_boards(self._nvml, self._environ)
        if not boards:
            raise self._nothing_visible(absent)
        facts = _facts(self._nvml, boards)
        for board in boards:
            views, missing = _views(self._nvml, board, self._clock, self._beside_every_ns)
            self._views.update((view.channel.name, view) for view in views)
            absent.extend(missing)
        self._conditions = BoardConditions(self._nvml, boards, self._clock)
        return Sensors(tuple(view.channel for view in self._views.values()), tuple(absent), facts)

    def _nothing_visible(self, absent: Sequence[Absence]) -> ProbeUnavailable:
        if absent:
            return ProbeUnavailable(absent[0].what, absent[0].effect, absent[0].remedy)
        wanted = self._environ.get(VISIBLE)
        if wanted is None:
            return ProbeUnavailable("NVML runs but lists no GPU", "GPU joules are absent", "see `nvidia-smi -L`")
        return ProbeUnavailable(
            f"{VISIBLE}={wanted!r} shows no GPU of this machine to CUDA",
            "GPU joules are absent",
            f"unset {VISIBLE}, or name GPUs as `nvidia-smi -L` prints them",
        )

    def read(self, channel: Channel) -> Sequence[Reading]:
        """One reading now; none where the driver still shows the power of the last read."""
        view = self._views.get(channel.name)
        if view is None:
            raise ProbeLost(f"{channel.name} is not open; its joules are absent. Cure: open the probe first")
        try:
            return view.read()
        except self._nvml.NVMLError as error:
            if code_of(error) in LOST_CODES:
                raise ProbeLost(
                    f"NVML lost {channel.name}: {error}; its joules end here. Cure: reset the GPU or reboot"
                ) from error
            raise ProbeRetry(f"NVML could not read {channel.name}: {error}") from error

    def conditions(self) -> Iterator[Condition]:
        """Clocks, heat, limits and processes of the open boards now."""
        return iter(()) if self._conditions is None else self._conditions.look()

    def close(self) -> None:
        """Gives NVML back, once for each start."""
        nvml, self._nvml = self._nvml, None
        self._views = {}
        self._conditions = None
        if nvml is None:
            return
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:  # a driver that is gone has nothing left to give back
            return


@dataclass(slots=True)
class _View:
    """One channel and how it is asked."""

    channel: Channel
    ask: Ask
    clock: Clock
    last_stamp_us: int = 0

    def read(self) -> Sequence[Reading]:
        before_ns = self.clock.monotonic_ns()
        found = self.ask(self.last_stamp_us)
        after_ns = self.clock.monotonic_ns()
        took_ns = after_ns - before_ns
        if self.channel.method == "counter":
            ((value, _),) = found
            return (EnergyReading(self.channel.name, before_ns, after_ns, took_ns, value * J_PER_MILLIJOULE),)
        fresh = [(value, stamp_us) for value, stamp_us in found if not stamp_us or stamp_us != self.last_stamp_us]
        if not fresh:
            return ()
        self.last_stamp_us = fresh[-1][1]
        anchor = take_anchor(self.clock)
        return [
            PowerReading(
                self.channel.name, self._stamp_time_ns(stamp_us, after_ns, anchor), took_ns, value * W_PER_MILLIWATT
            )
            for value, stamp_us in fresh
        ]

    def _stamp_time_ns(self, stamp_us: int, read_at_ns: int, anchor: WallAnchor) -> int:
        """The driver's wall-clock stamp on the monotonic clock; the end of the read where the stamp cannot be one."""
        stamp_ns = wall_to_monotonic_ns(stamp_us * NS_PER_US, (anchor,))
        return stamp_ns if read_at_ns - OLDEST_STAMP_NS <= stamp_ns <= read_at_ns else read_at_ns


def _pynvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise ProbeUnavailable(
            f"pynvml cannot be imported ({error})", "GPU joules are absent", "pip install nvidia-ml-py"
        ) from error


def _views(nvml: Any, board: Board, clock: Clock, every_ns: int | None) -> tuple[list[_View], list[Absence]]:
    """The best way of reading a board, the next one beside it (read `every_ns`), and what is missing or shared."""
    newest_us = (clock.wall_ns() - NEWEST_NS) // NS_PER_US
    counter, refusals = _answered(nvml, board, COUNTER, newest_us)
    power, power_refusals = _answered(nvml, board, POWER, newest_us)
    best = [*counter[:1], *power]
    if not best:
        return [], [_unreadable(board, [*refusals, *power_refusals])]
    absent = [] if counter else [_no_counter(board, refusals)]
    absent += [_module(board)] if best[0].scope == "module" else []
    absent += [_shared(board)] if board.mig else []
    channel = channel_of(nvml, board, best[0], "module" if best[0].scope == "module" else "board")
    views = [_View(channel, best[0].bound(nvml, board.handle), clock, newest_us if best[0].kind == "samples" else 0)]
    # A field, as rare reads lose a buffer; of the same scope, as module power is no part of the GPU's counter
    second = next((each for each in best[1:] if each.field is not None and each.scope == best[0].scope), None)
    if second is not None:
        beside = channel_of(nvml, board, second, second.kind)
        beside = replace(beside, contained_in=channel.name, read_every_ns=every_ns)
        views.append(_View(beside, second.bound(nvml, board.handle), clock))
    for question in _answered(nvml, board, MEMORY, newest_us)[0][:1]:
        part = replace(channel_of(nvml, board, question, "memory"), domain=channel.domain)
        part = replace(part, contained_in=channel.name, read_every_ns=BESIDE_EVERY_NS)
        views.append(_View(part, question.bound(nvml, board.handle), clock))
    return views, absent


def _answered(
    nvml: Any, board: Board, questions: Sequence[Question], newest_us: int
) -> tuple[list[Question], list[Exception]]:
    """The questions that a board answers, one a kind, in the given order; and how it refused the others."""
    answered: list[Question] = []
    refusals: list[Exception] = []
    for question in questions:
        if any(question.kind == other.kind for other in answered):
            continue
        try:
            found = question.bound(nvml, board.handle)(newest_us)
        except (nvml.NVMLError, AttributeError) as error:  # AttributeError: a pynvml older than the question
            refusals.append(error)
        else:
            if found:
                answered.append(question)
    return answered, refusals


def _facts(nvml: Any, boards: Sequence[Board]) -> dict[str, str]:
    """What the host record should know; a fact that the driver does not give is left out."""
    facts: dict[str, object] = {"driver": _given(nvml, "nvmlSystemGetDriverVersion")}
    for board in boards:
        limit_mw = _given(nvml, "nvmlDeviceGetEnforcedPowerLimit", board.handle)
        memory = _given(nvml, "nvmlDeviceGetMemoryInfo", board.handle)
        facts[f"{board.name} device"] = board.product
        facts[f"{board.name} index"] = board.index
        facts[f"{board.name} limit_w"] = None if limit_mw is None else f"{limit_mw * W_PER_MILLIWATT:g}"
        facts[f"{board.name} memory_bytes"] = None if memory is None else memory.total
        keeps_driver = _given(nvml, "nvmlDeviceGetPersistenceMode", board.handle)
        facts[f"{board.name} persistence"] = None if keeps_driver is None else ("on" if keeps_driver else "off")
        facts[f"{board.name} mig"] = "on" if board.mig else None
    return {name: str(fact) for name, fact in facts.items() if fact is not None}


def _given(nvml: Any, function: str, *arguments: object) -> Any:
    try:
        return getattr(nvml, function)(*arguments)
    except (nvml.NVMLError, AttributeError):  # AttributeError: a pynvml older than the function
        return None


def _unreadable(board: Board, refusals: Sequence[Exception]) -> Absence:
    denied = any(code_of(error) == NO_PERMISSION for error in refusals)
    reasons = ", ".join(sorted({str(error) for error in refusals}))
    return Absence(
        "gpu",
        f"{board.product} ({board.name}) gives neither energy nor power: {reasons}",
        "the joules of this GPU are absent",
        "run as root, or ask the administrator for access to the whole GPU"
        if denied
        else "a virtual GPU gives none: measure on the host; else try a newer NVIDIA driver",
    )


def _no_counter(board: Board, refusals: Sequence[Exception]) -> Absence:
    return Absence(
        "gpu",
        f"{board.product} ({board.name}) has no energy counter: {refusals[0]}",
        "its joules are power readings times time, less sure for short phases",
        "none on this GPU: the counter needs Volta or newer, outside a virtual GPU",
    )


def _module(board: Board) -> Absence:
    return Absence(
        "gpu",
        f"{board.product} ({board.name}) gives the power of its whole module only",
        "the joules of the GPU alone are absent: those of the module (as SoC) hold its CPU and memory too, and a CPU's "
        "own sensor is not added to them",
        "a newer NVIDIA driver may give the GPU alone",
    )


def _shared(board: Board) -> Absence:
    return Absence(
        "gpu",
        f"{board.product} ({board.name}) is cut into MIG instances, and its energy is counted for the whole board",
        "the joules hold those of every other instance on the board",
        "keep the other instances idle while measuring, or turn MIG off: sudo nvidia-smi -mig 0",
    )


PROBE = NvmlProbe

"""meter(): the one place where sensors, runtimes, attribution and report are wired together."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, cast

from wattvlm.runtimes import HasWorkers, Runtime, Settles, WatchesModels, own_runtimes, third_party_runtimes
from wattvlm.sampling.children import ChildMarks
from wattvlm.sampling.sampler import Sampler, shared_sampler
from wattvlm.sensing import ProbeSource
from wattvlm.trace import COUNTED, Mark

if TYPE_CHECKING:
    from os import PathLike

    from wattvlm.calibration import Calibration
    from wattvlm.recording import Recording
    from wattvlm.report import Report

    Calibrations = Sequence[Calibration | str | PathLike[str]] | None

_OwnMark = Literal["block_start", "block_end", "phase_start", "phase_end", "count", "note"]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result", covariant=True)

TICKS_TO_WAIT_NS = 250_000_000
"""A report asked right after the block waits for the next tick of each counter: two ticks of a 100 ms counter."""

IDLE_TO_SEE_NS = 500_000_000
"""How much quiet after the block the report would like to see, to know idle power."""


class Metered(Protocol[Parameters, Result]):
    """A function under `@meter()`: called as before; `meter` is the meter of its latest call."""

    meter: Meter

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result: ...


def meter(
    model: object = None,
    *,
    label: str = "",
    probes: Sequence[ProbeSource] | None = None,
    calibrations: Calibrations = None,
) -> Meter:
    """A meter for the joules of whatever model calls happen inside it: `with meter() as m: ...`, then `m.report`.

    model: not needed; give it to have bare calls of a module seen that is no transformers class.
    label: a name for the report's heading. probes: the sensors to read (default: all that this machine has).
    calibrations: records, or their files, to use (default: those that `wattvlm calibrate` kept; an empty list: none).
    As a decorator, `@meter()` meters each call of the function; `function.meter` is the meter of the latest call.
    Entering takes milliseconds (the first time, until the sensors answer, at most 250 ms) and never raises.
    """
    return Meter(model, label=label, probes=probes, calibrations=calibrations)


class Meter:
    """One metered block. Made by `meter()`; entered once."""

    def __init__(
        self,
        model: object,
        *,
        label: str,
        probes: Sequence[ProbeSource] | None,
        calibrations: Calibrations = None,
    ) -> None:
        self._model = model
        self._label = label
        self._probes = probes
        self._calibrations = calibrations
        self._id = next(_METER_IDS)
        self._sampler: Sampler | None = None
        self._start_ns: int | None = None
        self._end_ns: int | None = None
        self._report: Report | None = None

    def __enter__(self) -> Meter:
        if self._start_ns is not None:
            raise RuntimeError("this meter was entered before: make a new one with meter() for each block")
        self._sampler = shared_sampler(self._probes)
        problems = _WATCH.open(self._sampler, self._model)
        self._start_ns = self._mark("block_start", self._label)
        for problem in problems:
            self._mark("note", text=problem)
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        self._end_ns = self._mark("block_end")
        if self._sampler is not None:
            _WATCH.close(self._sampler)
            weakref.finalize(self, self._sampler.forget, self._id)
        return False

    def __call__(self, function: Callable[Parameters, Result]) -> Metered[Parameters, Result]:
        """The function, metered at each call; its attribute `meter` is the meter of the latest call."""
        fresh = functools.partial(
            Meter,
            self._model,
            label=self._label or getattr(function, "__name__", ""),
            probes=self._probes,
            calibrations=self._calibrations,
        )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def metered_coroutine(*args: Any, **kwargs: Any) -> Any:
                with _latest(metered_coroutine, fresh()):
                    return await function(*args, **kwargs)

            return cast("Metered[Parameters, Result]", metered_coroutine)

        @functools.wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            with _latest(metered, fresh()):
                return function(*args, **kwargs)

        return cast("Metered[Parameters, Result]", metered)

    @contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        """Mark what the library cannot know: `with m.phase("prefill"): ...`.

        The names preprocess, vision_encode, projector, prefill and decode make up calls of your own; any other name
        gets a row of its own.
        """
        self._mark("phase_start", name)
        try:
            yield
        finally:
            self._mark("phase_end", name)

    def tokens(self, **counts: int) -> None:
        """Token counts of the latest call that the library cannot see: fields of TokenCounts, images, batch_size.

        Raises TypeError for a name that is not one of these, ValueError for a negative count.
        """
        unknown = sorted(set(counts) - _COUNTS)
        if unknown:
            raise TypeError(f"tokens() knows {sorted(_COUNTS)}, not {unknown}")
        negative = {name: count for name, count in counts.items() if count < 0}
        if negative:
            raise ValueError(f"token counts cannot be negative: {negative}")
        for name, count in counts.items():
            self._mark("count", name, value=count, text="given by the caller")

    @property
    def recording(self) -> Recording:
        """What was recorded in this block so far, with a little before and after it."""
        if self._sampler is None or self._start_ns is None:
            raise RuntimeError("nothing was metered yet: use `with meter() as m:` and read m.report after the block")
        _WATCH.settle()
        end_ns = self._end_ns if self._end_ns is not None else monotonic_ns()
        if self._end_ns is not None:
            after_ns = max(IDLE_TO_SEE_NS, self._sampler.remembers_ns)
            self._sampler.wait_past(end_ns + after_ns, after_ns + TICKS_TO_WAIT_NS)
        recording = self._sampler.recording(self._start_ns, end_ns, meter_id=self._id)
        return recording.with_calibrations(self._calibrations)

    @property
    def report(self) -> Report:
        """The block's Report; inside the block, the report so far.

        The first time after the block it waits for the next tick of each sensor and a moment of quiet (0.75 s at
        most, nothing when asked later than that), and where a board has no counter but a mean of power over a second
        until the block has left that (1.25 s at most); after that it is kept.
        """
        if self._report is not None:
            return self._report
        from wattvlm.attribution import analyze

        ended = self._end_ns is not None
        report = analyze(self.recording)
        if ended:
            self._report = report
        return report

    def gathered(self, group: object = None) -> Report | None:
        """The Report of all ranks of a distributed job on the first one, after the block; None on the others.

        A collective over a torch.distributed process group (the default one): every rank must call it. Each device is
        counted once; calls are labelled "rank 0", "rank 1" ... RuntimeError without a process group.
        """
        from wattvlm.attribution import analyze
        from wattvlm.gathering import gathered

        recording = gathered(self.recording, group)
        return None if recording is None else analyze(recording)

    def _mark(self, kind: _OwnMark, name: str = "", *, value: float = 0.0, text: str = "") -> int:
        now_ns = monotonic_ns()
        is_of_block = kind in ("block_start", "block_end")
        mark = Mark(
            now_ns, kind, self._id if is_of_block else 0, name, threading.get_ident(), value=value, text=text
        )  # fmt: skip
        if self._sampler is not None:
            self._sampler.mark(mark)
        if not is_of_block:
            _WATCH.pass_on(mark)
        return now_ns


def _latest(function: Any, own: Meter) -> Meter:
    """The meter, which the decorated function also shows as its attribute `meter`."""
    function.meter = own
    return own


_METER_IDS = itertools.count(1)

_COUNTS = frozenset((*COUNTED, "images", "batch_size"))


def see_calls_for(marks: ChildMarks) -> SeenFromOutside:
    """Have this process's calls seen for another one that meters it, until it ends; never raises.

    Processes that it forks are seen too. Meters that are opened in it work as ever.
    """
    _WATCH.follow(marks)
    return _WATCH


class SeenFromOutside(Protocol):
    """What a process that another one meters is asked for at its beginning and end."""

    def settle_at_end(self) -> None:
        """Write the marks that were kept back; for the end of each process."""
        ...

    def worker_packages(self) -> set[str]:
        """Packages whose worker processes do a part of calls that are seen elsewhere."""
        ...


class _Watch:
    """The runtimes of this process, installed while any meter is open, and the samplers that want their marks."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._outer: ChildMarks | None = None
        self._runtimes: list[Runtime] = []
        self._others: list[tuple[str, Runtime | Exception]] | None = None
        self._samplers: list[Sampler | ChildMarks] = []
        self._last: tuple[Sampler | ChildMarks, ...] = ()
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        """A forked process; the lock may have been held by a thread that is not here."""
        self._lock = threading.RLock()

    def follow(self, marks: ChildMarks) -> None:
        """Marks of this process go to `marks` too, from now on."""
        self._outer = marks
        for problem in self.open(marks, None):
            marks.mark(Mark(monotonic_ns(), "note", text=problem))

    def pass_on(self, mark: Mark) -> None:
        """A mark that a meter's user wrote, for whoever meters this process from outside."""
        if self._outer is not None:
            self._outer.mark(mark)

    def open(self, sampler: Sampler | ChildMarks, model: object) -> list[str]:
        """One more meter is open; the first one installs the runtimes. Gives what went wrong, as lines."""
        problems: list[str] = []
        with self._lock:
            self._samplers.append(sampler)
            if len(self._samplers) == 1:
                self._runtimes = [*own_runtimes(), *self._third_party(problems)]
                for runtime in self._runtimes:
                    problems += _attempt(runtime, "install", functools.partial(runtime.install, self._sink))
            if model is not None:
                for runtime in self._runtimes:
                    if isinstance(runtime, WatchesModels):
                        problems += _attempt(runtime, "watch the model with", functools.partial(runtime.watch, model))
        return problems

    def _third_party(self, problems: list[str]) -> Iterator[Runtime]:
        """Runtimes of other packages, looked up once a process; one that cannot be loaded is a problem."""
        if self._others is None:
            self._others = list(third_party_runtimes())
        for name, runtime in self._others:
            if isinstance(runtime, Exception):
                problems.append(
                    f"the runtime {name} cannot be loaded ({runtime!r}); its calls are not seen. Cure: reinstall it"
                )
            else:
                yield runtime

    def close(self, sampler: Sampler) -> None:
        """One meter less; the last one takes the runtimes out again."""
        with self._lock:
            if sampler not in self._samplers:
                return
            if len(self._samplers) == 1:
                for runtime in self._runtimes:
                    self._tell(_attempt(runtime, "uninstall", runtime.uninstall))
            self._samplers.remove(sampler)
            self._last = (sampler,)

    def worker_packages(self) -> set[str]:
        """Packages whose worker processes do a part of calls that are seen elsewhere."""
        return {each.worker_package for each in self._runtimes if isinstance(each, HasWorkers)} - {""}

    def settle_at_end(self) -> None:
        """The end of a process that is metered from outside: what is kept back is written now or never."""
        if self._outer is not None and self._outer.has_written:
            self.settle()

    def settle(self) -> None:
        """Have the runtimes write what they keep back: for a report inside a block, or times a device gives late."""
        with self._lock:
            for runtime in self._runtimes:
                if isinstance(runtime, Settles):
                    self._tell(_attempt(runtime, "settle", runtime.settle))

    def _tell(self, problems: Sequence[str]) -> None:
        for problem in problems:
            self._sink(Mark(monotonic_ns(), "note", text=problem))

    def _sink(self, /, *marks: Mark) -> None:
        for sampler in dict.fromkeys(self._samplers) or self._last:
            sampler.mark(*marks)


def _attempt(runtime: Runtime, what: str, action: Callable[[], None]) -> list[str]:
    """Do it; [] or the line that says why it failed: metering never raises into the measured program."""
    try:
        action()
    except Exception as error:
        return [f"could not {what} the runtime {runtime.name}: {error!r}; its calls are not split into phases"]
    return []


_WATCH = _Watch()

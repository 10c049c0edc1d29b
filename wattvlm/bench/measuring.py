"""How a cell is measured: warmed up, repeated with random pauses until its phases are known, and analysed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic_ns, sleep
from typing import Any, Protocol

from wattvlm.bench.design import Cell, Design
from wattvlm.bench.keeping import Finished
from wattvlm.bench.precision import Reach, reaches
from wattvlm.metering import meter
from wattvlm.report import Report
from wattvlm.sensing import ProbeSource
from wattvlm.steering import Steered
from wattvlm.units import NS_PER_MS, NS_PER_S

WARM_UP_CALLS = 2
LONGEST_PAUSE_NS = 150 * NS_PER_MS
"""Pauses of random length between calls are up to so long: more than a tick of a 100 ms counter, so that calls do not
come in step with it."""

FEWEST_FOR_INTERVALS = 5


class Subject(Protocol):
    """What is measured: it makes a call of a cell ready, loading what it needs."""

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """The call, as a function that may be repeated; whatever it raises fails this cell alone."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: cells done of all, the cell in work, its calls, how many it may need, and what is still open."""

    done: int
    cells: int
    name: str
    calls: int = 0
    wanted: int = 0
    spent_ns: int = 0
    limit_ns: int = 0
    open_parts: tuple[Reach, ...] = ()
    finished: Finished | None = None


Tell = Callable[[Progress], None]


class Measuring:
    """One cell after the other on this machine. boards: what limits and clocks are set on; None where none are."""

    def __init__(
        self, design: Design, subject: Subject, probes: Sequence[ProbeSource] | None, tell: Tell, boards: Steered | None
    ) -> None:
        self._design = design
        self._subject = subject
        self._probes = probes
        self._tell = tell
        self._boards = boards
        self._chance = random.Random()  # pauses differ from run to run, also where the order does not
        self._progress = Progress(0, 0, "")

    def measure(self, cell: Cell, limit_ns: int, place: tuple[int, int] = (0, 1)) -> tuple[Finished, Report | None]:
        """One cell: warmed up, repeated, and analysed; what its call raises is its failure.

        limit_ns: how long it may be repeated. place: how many cells are done, and how many there are, to be told.
        """
        design = self._design
        self._show(Progress(*place, cell.name, limit_ns=limit_ns))
        try:
            call = self._subject.call_of(cell, design.seed)
            limits_w = self._boards.set(cell.setting) if self._boards is not None else {}
            for _ in range(WARM_UP_CALLS):
                call()
            sleep(design.cool_down_ns / NS_PER_S)
            report, stopped = self._repeat(call, cell, limit_ns, place)
            report = _with_setting(report, limits_w, cell)
        except Exception as error:  # a model may fail in any way, such as out of memory: only its cell does
            words = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            return Finished(cell.name, "", 0, "failed", failure=words), None
        still = [each for each in reaches(report, design.until_fraction) if not each.is_within]
        open_parts = tuple(f"{each}: {each.why_not or f'{each.calls} calls needed'}" for each in still)
        return Finished(cell.name, f"{cell.name}.json.gz", len(report.calls), stopped, open_parts), report

    def _repeat(self, call: Callable[[], Any], cell: Cell, limit_ns: int, place: tuple[int, int]) -> tuple[Report, str]:
        """Repeat until each phase is within, or calls or time are at their limit; why it stopped."""
        design = self._design
        begin_ns, done, wanted, stopped = monotonic_ns(), 0, design.fewest_calls, ""
        with meter(label=cell.name, probes=self._probes) as m:
            while not stopped:
                for _ in self._pauses(wanted - done):
                    call()
                    done += 1
                    spent_ns = monotonic_ns() - begin_ns
                    self._show(Progress(*place, cell.name, done, wanted, spent_ns, limit_ns, self._progress.open_parts))
                    if spent_ns > limit_ns and done >= min(FEWEST_FOR_INTERVALS, design.most_calls):
                        stopped = "time is up"
                        break
                if not stopped:
                    found = reaches(m.report, design.until_fraction)
                    reachable = tuple(each for each in found if each.calls is not None)
                    self._show(
                        Progress(*place, cell.name, done, wanted, monotonic_ns() - begin_ns, limit_ns, reachable)
                    )
                    stopped, wanted = _next(found, done, design.most_calls)
        return m.report, stopped

    def _pauses(self, calls: int) -> Iterator[None]:
        for _ in range(calls):
            sleep(self._chance.random() * LONGEST_PAUSE_NS / NS_PER_S)
            yield

    def _show(self, progress: Progress) -> None:
        self._progress = progress
        self._tell(progress)


def _with_setting(report: Report, limits_w: Mapping[str, float | None], cell: Cell) -> Report:
    """The report with what its GPUs were set to: the sampler asked for limits once, before the first cell."""
    facts = {f"{board} limit_w": f"{limit_w:g}" for board, limit_w in limits_w.items() if limit_w is not None}
    if cell.core_clock_hz is not None:
        facts |= {f"{board} locked_clock_hz": f"{cell.core_clock_hz:.0f}" for board in limits_w}
    return replace(report, host=replace(report.host, facts={**report.host.facts, **facts})) if facts else report


def _next(found: Sequence[Reach], done: int, most_calls: int) -> tuple[str, int]:
    """(why to stop, or "", and how many calls in all come next): what the widest phase needs, at most twice as many.

    What few calls say of the need is rough, so it is asked again on the way there.
    """
    needed = [each.calls for each in found if each.calls is not None]
    if not found:
        return "no sensor: joules are modelled or absent", done
    if not needed:
        return "each phase that can be is within", done
    if done >= most_calls:
        return f"{most_calls} calls are the most", done
    return "", min(max(needed), 2 * done, most_calls)

"""Journals to a Recording: what was kept of a run, whether it goes on, has ended, or was killed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattvlm.clock import Clock, WallAnchor, take_anchor
from wattvlm.host import job_facts, this_host
from wattvlm.recording import Gap, Readings, Recording, SamplerCost, States
from wattvlm.sampling.children import child_marks
from wattvlm.sampling.columns import Columns, read_columns
from wattvlm.sampling.findings import Findings, read_findings
from wattvlm.sampling.journal import BEGINNING, Position, read_segments
from wattvlm.sampling.marks import decode_marks
from wattvlm.sampling.records import CONDITION, COST, ENERGY, GAP, POWER
from wattvlm.sensing import Absence, Channel, Domain
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_S, format_ns

_SLACK_NS = 5 * NS_PER_S
"""Records lie in the order of writing; a driver's stamps may be a little older. Never by this much."""

_ONE_A_MACHINE: frozenset[Domain] = frozenset({"cpu", "ram", "node"})
"""What one probe cannot read (RAPL of powercap) and another one does (RAPL of perf) is not absent. Of GPUs there may be
several, of several vendors: the absence of each is news."""

_ALIVE_EVERY_NS = 3 * NS_PER_S
"""The sampling process writes its cost each second: a longer silence is a stretch in which it did not run."""


@dataclass(frozen=True, slots=True)
class Window:
    """What to read back: a block from start to end, and the readings of a wider stretch around it.

    meter_id: whose block marks to keep, None for all. marks_from: where the block's marks begin in their journal.
    """

    start_ns: int
    end_ns: int
    from_ns: int
    until_ns: int
    meter_id: int | None = None
    marks_from: Position = BEGINNING


def generations(folder: Path) -> list[int]:
    """The numbers of the sampling processes that wrote into a folder."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    digits = [name.removeprefix("sensors-") for name in names if name.startswith("sensors-")]
    return sorted(int(each) for each in digits if each.isascii() and each.isdecimal() and len(each) <= 9)


def read_back(
    folder: Path,
    window: Window | None,
    *,
    extra_marks: Sequence[Mark] = (),
    notes: Iterable[str] = (),
    clock: Clock | None = None,
    goes_on: bool = False,
) -> Recording:
    """The Recording of a window of a folder's journals; of all they hold where the window is None.

    clock: of the process that was measured, where that is this one: to anchor the wall clock and to name the host.
    goes_on: the latest sampling process still runs. Damaged records are passed over; a folder that holds nothing
    readable gives an empty Recording.
    """
    logs = {generation: read_findings(folder / f"sensors-{generation}") for generation in generations(folder)}
    marks = _all_marks(folder, window, extra_marks)
    columns = {generation: read_columns(folder, f"readings-{generation}", *_reach(window)) for generation in logs}
    window = window or _whole(marks, columns.values())
    parts = [_Part(logs[generation], columns[generation], window) for generation in logs]
    gaps = [gap for part in parts for gap in part.gaps()] + _ends(parts, window, goes_on)
    return _joined(parts, gaps, _chosen(marks, window), window, tuple(notes), clock)


def no_recording(window: Window, marks: Sequence[Mark], notes: Iterable[str], problem: str, clock: Clock) -> Recording:
    """The Recording where no sampling process could be started: the marks, and why there are no joules."""
    absence = Absence(
        "node",
        problem or "the sampler was stopped before this was asked for",
        "nothing was measured: times and tokens only, no joules",
        "free space in the temporary folder and check that this program may start processes",
    )
    return Recording(
        window.start_ns,
        window.end_ns,
        absent=(absence,),
        marks=_chosen(marks, window),
        wall_anchors=(take_anchor(clock),),
        host=this_host(job_facts()),
        notes=tuple(notes),
    )


def _reach(window: Window | None) -> tuple[int, int]:
    return (-(2**62), 2**62) if window is None else (window.from_ns - _SLACK_NS, window.until_ns + _SLACK_NS)


def _all_marks(folder: Path, window: Window | None, extra: Sequence[Mark]) -> list[Mark]:
    since = window.marks_from if window is not None else BEGINNING
    written = (mark for content in read_segments(folder, "marks", since) for mark in decode_marks(content))
    return [mark for mark in (*written, *child_marks(folder), *extra) if isfinite(mark.value)]


def _whole(marks: Sequence[Mark], columns: Iterable[Columns]) -> Window:
    """The window of everything that was kept; the marks tell where its block began."""
    marked = [mark.time_ns for mark in marks]
    read = [int(time_ns) for each in columns if len(each.time_ns) for time_ns in each.time_ns[[0, -1]]]
    end_ns = max([*marked, *read], default=0)
    return Window(min(marked or read, default=0), end_ns, min([*marked, *read], default=0), end_ns)


def _chosen(marks: Sequence[Mark], window: Window) -> tuple[Mark, ...]:
    """All marks of calls that began in the block, marks outside calls from that time, and the meter's own block."""
    began: dict[int, int] = {}
    for mark in marks:
        if mark.call_id and mark.kind not in ("block_start", "block_end"):
            is_start = mark.kind == "call_start"
            began[mark.call_id] = mark.time_ns if is_start else began.get(mark.call_id, mark.time_ns)
    inside = {call_id for call_id, time_ns in began.items() if window.start_ns <= time_ns <= window.end_ns}
    chosen: list[Mark] = []
    for mark in marks:
        if mark.kind in ("block_start", "block_end"):
            is_wanted = window.meter_id is None or mark.call_id == window.meter_id
        elif mark.call_id:
            is_wanted = mark.call_id in inside
        else:
            is_wanted = window.start_ns <= mark.time_ns <= window.end_ns
        if is_wanted:
            chosen.append(mark)
    return tuple(sorted(chosen, key=lambda mark: mark.time_ns))


class _Part:
    """What one sampling process gives to the Recording."""

    def __init__(self, log: Findings, columns: Columns, window: Window) -> None:
        self.log = log
        self._columns = columns
        self._window = window

    def readings(self) -> dict[str, Readings]:
        """Per channel, the readings of the window and one on either side."""
        found: dict[str, Readings] = {}
        for index, channel in self.log.channels.items():
            wanted = ENERGY if channel.method == "counter" else POWER
            own = self._columns.of(wanted, index)
            readings = Readings(channel.name, own.time_ns, own.from_ns, own.took_ns, own.value)
            found[channel.name] = readings.between(self._window.from_ns, self._window.until_ns)
        return found

    def conditions(self) -> list[States]:
        """The state of the devices in the window."""
        found: list[States] = []
        for index, named in self.log.conditions.items():
            own = self._columns.of(CONDITION, index)
            states = States(
                named.device, named.quantity, own.time_ns, own.value, named.pid, named.process, named.is_own
            ).between(self._window.from_ns, self._window.until_ns)
            if len(states):
                found.append(states)
        return found

    def gaps(self) -> list[Gap]:
        """Failed and missing stretches that touch the window."""
        window = self._window
        found = [*self._told_gaps(), *self._late_starts(), *self._silences()]
        for name, from_ns, why in self.log.lost:
            found.append(Gap(name, from_ns, max(from_ns, window.until_ns), why))
        return [gap for gap in found if gap.to_ns >= window.from_ns and gap.from_ns <= window.until_ns]

    def _told_gaps(self) -> list[Gap]:
        told: dict[tuple[str, int], Gap] = {}
        own = self._columns.of(GAP, None)
        rows = zip(own.channel.tolist(), own.from_ns.tolist(), own.time_ns.tolist(), own.took_ns.tolist())
        for index, from_ns, to_ns, reason in rows:
            channel = self.log.channels.get(index)
            if channel is not None and from_ns <= to_ns:
                why = self.log.reasons.get(reason, "a read failed")
                told[channel.name, from_ns] = Gap(channel.name, from_ns, to_ns, why)
        return list(told.values())

    def _late_starts(self) -> list[Gap]:
        """Channels that opened only after the block had begun."""
        window, started_ns = self._window, self.log.started_ns
        found: list[Gap] = []
        for name, opened_ns in self.log.opened_ns.items():
            if window.start_ns < opened_ns and started_ns is not None:
                why = f"the sensor took {format_ns(opened_ns - started_ns)} to start"
                found.append(Gap(name, min(opened_ns, max(window.start_ns, started_ns)), opened_ns, why))
        return found

    def _silences(self) -> list[Gap]:
        """Stretches in which the sampling process did not run: stopped, or the machine asleep."""
        beats = self._columns.of(COST, None).time_ns
        found: list[Gap] = []
        for index in np.nonzero(np.diff(beats) > _ALIVE_EVERY_NS)[0].tolist():
            times = int(beats[index]), int(beats[index + 1])
            why = "the sampling process did not run"
            found += [Gap(channel.name, *times, why) for channel in self.log.channels.values()]
        return found

    def last_sign_ns(self) -> int | None:
        """When this process was last seen to run."""
        return int(self._columns.time_ns.max()) if len(self._columns.time_ns) else self.log.started_ns

    def cost(self) -> SamplerCost | None:
        """CPU time over the window, by the records around it."""
        beats = self._columns.of(COST, None)
        if len(beats.time_ns) < 2:
            return None
        first = max(0, int(np.searchsorted(beats.time_ns, self._window.start_ns, "right")) - 1)
        last = min(len(beats.time_ns) - 1, int(np.searchsorted(beats.time_ns, self._window.end_ns, "left")))
        first = min(first, last - 1) if last else 0
        last = max(last, 1)
        cpu_ns = int(beats.took_ns[last] - beats.took_ns[first])
        return SamplerCost(max(0, cpu_ns), max(0, int(beats.time_ns[last] - beats.time_ns[first])))


def _joined(
    parts: Sequence[_Part],
    gaps: Iterable[Gap],
    marks: tuple[Mark, ...],
    window: Window,
    notes: tuple[str, ...],
    clock: Clock | None,
) -> Recording:
    channels: dict[str, Channel] = {}
    readings: dict[str, Readings] = {}
    facts: dict[str, str] = {}
    for part in parts:
        channels |= {channel.name: channel for channel in part.log.channels.values()}
        facts |= part.log.facts
        for name, own in part.readings().items():
            readings[name] = _concatenated(readings[name], own) if name in readings else own
    starts = [part.log.started_ns for part in parts if part.log.started_ns is not None]
    from_ns = min(window.start_ns, max([window.from_ns, *starts[:1]]))
    return Recording(
        from_ns,
        max(from_ns, window.until_ns),
        channels=tuple(channels.values()),
        readings=readings,
        gaps=tuple(_without_repeats(gaps)),
        absent=_absences(parts, channels),
        marks=marks,
        wall_anchors=_anchors(parts, window, clock),
        # A run that is over had other versions than those that this process has loaded.
        host=this_host({**facts, **job_facts()}) if clock is not None else replace(this_host(facts), versions={}),
        sampler_cost=_cost(parts),
        notes=tuple(dict.fromkeys([*notes, *(note for part in parts for note in _part_notes(part, window))])),
        virtual="virtual" in facts,
        conditions=tuple(states for part in parts for states in part.conditions()),
    )


def _part_notes(part: _Part, window: Window) -> list[str]:
    """Notes of the log, and a line for each channel that was lost; not for one that was lost inside another."""
    lost: list[str] = []
    names = {name for name, _, _ in part.log.lost}
    inside = {channel.name for channel in part.log.channels.values() if channel.contained_in in names}
    for name, from_ns, why in part.log.lost:
        if from_ns <= window.until_ns and name not in inside:
            cure = "" if "Cure:" in why else ". Cure: see `wattvlm doctor`"
            lost.append(f"{name} was lost, its joules after that are absent: {why}{cure}")
    return [*part.log.notes, *lost]


def _absences(parts: Sequence[_Part], channels: Mapping[str, Channel]) -> tuple[Absence, ...]:
    """What the newest sampling process could not open, or has not opened yet."""
    if not parts:
        return ()
    log = parts[-1].log
    waiting = [
        Absence(
            "node",
            f"{target.partition(':')[0]} was still starting",
            "its sensors are not in this report",
            "meter a longer block, or open a meter a few seconds before",
        )
        for target in log.opening
    ]
    measured = {channel.domain for channel in channels.values() if channel.method != "model"}
    elsewhere = {each for each in log.of_silent_probes if each.domain in _ONE_A_MACHINE and each.domain in measured}
    return (*(each for each in dict.fromkeys(log.absent) if each not in elsewhere), *waiting)


def _ends(parts: Sequence[_Part], window: Window, goes_on: bool) -> list[Gap]:
    """From the last sign of a sampling process to the start of the next one, or to the end of the window."""
    found: list[Gap] = []
    next_starts = [part.log.started_ns for part in parts[1:]]
    for part, next_start_ns in zip(parts, [*next_starts, None]):
        from_ns = part.log.ended_ns or part.last_sign_ns()
        to_ns = window.until_ns if next_start_ns is None else next_start_ns
        if from_ns is None or from_ns >= to_ns or (goes_on and part is parts[-1]):
            continue
        if to_ns >= window.from_ns and from_ns <= window.until_ns:
            why = "the sampling process had ended"
            found += [Gap(channel.name, from_ns, to_ns, why) for channel in part.log.channels.values()]
    return found


def _concatenated(before: Readings, after: Readings) -> Readings:
    def both(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([one, other])

    return replace(
        before,
        time_ns=both(before.time_ns, after.time_ns),
        unchanged_at_ns=both(before.unchanged_at_ns, after.unchanged_at_ns),
        took_ns=both(before.took_ns, after.took_ns),
        value=both(before.value, after.value),
    )


def _without_repeats(gaps: Iterable[Gap]) -> list[Gap]:
    return sorted(dict.fromkeys(gaps), key=lambda gap: (gap.from_ns, gap.channel, gap.to_ns))


def _anchors(parts: Sequence[_Part], window: Window, clock: Clock | None) -> tuple[WallAnchor, ...]:
    """The anchors of the window with one on either side, and one of now where the run goes on."""
    known = sorted((anchor for part in parts for anchor in part.log.anchors), key=lambda anchor: anchor.monotonic_ns)
    if clock is not None:
        known.append(take_anchor(clock))
    first = max([n for n, anchor in enumerate(known) if anchor.monotonic_ns <= window.from_ns], default=0)
    last = min([n for n, anchor in enumerate(known) if anchor.monotonic_ns >= window.until_ns], default=len(known))
    return tuple(known[first : last + 1])


def _cost(parts: Sequence[_Part]) -> SamplerCost | None:
    costs = [cost for cost in (part.cost() for part in parts) if cost is not None]
    if not costs:
        return None
    return SamplerCost(sum(cost.cpu_ns for cost in costs), sum(cost.wall_ns for cost in costs))

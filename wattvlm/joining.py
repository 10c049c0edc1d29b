"""Recordings of the processes of one job as one: each device once, calls by process, one clock.

Processes of one machine read the same sensors, so their readings of a channel are one channel's, and its joules are
counted once. Machines have sensors and clocks of their own: their times are brought together by the wall clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import median, median_low

import numpy as np

from wattvlm.clock import WallAnchor
from wattvlm.errors import RecordingsDoNotJoin
from wattvlm.recording import Gap, Readings, Recording, States
from wattvlm.sensing import Channel
from wattvlm.trace import CallTrace, Mark
from wattvlm.units import NS_PER_MS, NS_PER_S, format_ns

SAME_BOOT_NS = 2 * NS_PER_S
"""Clocks of one machine that are further apart than this are of two boots, or the wall clock was set in between."""

STRAGGLES_FROM = 1.2
"""A process whose calls take this many times the usual is named."""

LANES_A_PROCESS = 2**48
"""Thread ids are addresses of 47 bits; from this multiple of it on, a lane of a joined recording is a process's."""

PROCESS = "process"
"""Facts "process 0", "process 1" ... of a joined recording's host: the names of its processes."""


def joined(recordings: Sequence[Recording], names: Sequence[str] = ()) -> Recording:
    """One Recording of several of one job; `analyze` makes one Report of it, with the calls labelled by process.

    names: of the processes, for labels and notes; "rank 0", "rank 1" ... by default. RecordingsDoNotJoin where there is
    none, where real and virtual hardware are mixed, where they are of several jobs, or where machines have no wall
    clock in common.
    """
    if not recordings:
        raise RecordingsDoNotJoin("no recording was given, so there is nothing to join")
    if len({recording.virtual for recording in recordings}) > 1:
        raise RecordingsDoNotJoin("recordings of real and of virtual hardware have no joules in common")
    _refuse_other_jobs(recordings)
    called = list(names) or [_rank(recording, number) for number, recording in enumerate(recordings)]
    hosts = [recording.host.name for recording in recordings]
    placed = [_placed(recording, recordings[0]) for recording in recordings]
    own = [_with_host(recording, _shared_by_hosts(placed)) for recording in placed]
    renamed = [_of_process(recording, number, name) for number, (recording, name) in enumerate(zip(own, called))]
    start_ns, end_ns = min(each.start_ns for each in renamed), max(each.end_ns for each in renamed)
    channels = {channel.name: channel for recording in renamed for channel in recording.channels}
    return replace(
        renamed[0],
        start_ns=start_ns,
        end_ns=end_ns,
        channels=tuple(channels.values()),
        readings={name: _readings(name, renamed) for name in channels},
        gaps=_gaps(renamed),
        absent=tuple(dict.fromkeys(each for recording in renamed for each in recording.absent)),
        marks=_marks(renamed, called),
        wall_anchors=tuple(sorted({each for one in renamed for each in one.wall_anchors}, key=_monotonic_ns)),
        host=replace(renamed[0].host, name=", ".join(dict.fromkeys(hosts)), facts=_facts(renamed, called)),
        notes=(_what(called, hosts), *_missing(recordings), *_stragglers(renamed, called), *_notes(renamed, called)),
        conditions=_conditions(renamed),
        calibrations=tuple(dict.fromkeys(each for recording in renamed for each in recording.calibrations)),
        sampler_cost=None,
    )


def _refuse_other_jobs(recordings: Sequence[Recording]) -> None:
    """Recordings that tell their jobs, and tell several."""
    for fact in ("slurm job", "torchrun job"):
        jobs = list(dict.fromkeys(job for each in recordings if (job := each.host.facts.get(fact))))
        if len(jobs) > 1:
            raise RecordingsDoNotJoin(
                f"these are of several jobs ({fact} {' and '.join(jobs)}), which have no block in common. Cure: the "
                "recordings of one job; `wattvlm compare` holds jobs against each other"
            )


def _rank(recording: Recording, number: int) -> str:
    return f"rank {recording.host.facts.get('rank', number)}"


def _missing(recordings: Sequence[Recording]) -> list[str]:
    """Which ranks of a job that tells how many it has are not among these, and which are twice."""
    told = [each.host.facts for each in recordings]
    if not all("rank" in facts and facts.get("ranks", "").isdecimal() for facts in told):
        return []
    count = Counter(facts["rank"] for facts in told)
    ranks = max(int(facts["ranks"]) for facts in told)
    absent = [str(rank) for rank in range(ranks) if str(rank) not in count]
    twice = [rank for rank, times in count.items() if times > 1]
    lines: list[str] = []
    if absent:
        lines.append(
            f"{len(absent)} of {ranks} ranks are not among these ({', '.join(absent)}): their calls, and joules of "
            "devices that only they read, are not in this report. Cure: merge the files of all ranks"
        )
    if twice:
        lines.append(f"rank {', '.join(twice)} is here more than once: each of its calls counts as often")
    return lines


def _facts(recordings: Sequence[Recording], names: Sequence[str]) -> dict[str, str]:
    """The facts of all machines, and whose processes these are; a fact that differs has its machine's name before."""
    found: dict[str, str] = {}
    for recording in recordings:
        for fact, value in recording.host.facts.items():
            if fact not in _OWN_FACTS and found.setdefault(fact, value) != value:
                found[f"{recording.host.name}:{fact}"] = value
    for number, (recording, name) in enumerate(zip(recordings, names)):
        found[f"{PROCESS} {number}"] = name
        if recording.host.name:
            found[f"{PROCESS} {number} host"] = recording.host.name
    return found


_OWN_FACTS = ("rank", "local rank")


def _offset_ns(recording: Recording) -> int | None:
    """What the wall clock is ahead of the monotonic one, or None where it was not read."""
    if not recording.wall_anchors:
        return None
    return round(median(each.wall_ns - each.monotonic_ns for each in recording.wall_anchors))


def _placed(recording: Recording, first: Recording) -> Recording:
    """The recording in the first one's monotonic time."""
    own_ns, first_ns = _offset_ns(recording), _offset_ns(first)
    is_same_host = recording.host.name == first.host.name
    if is_same_host and (own_ns is None or first_ns is None or abs(own_ns - first_ns) < SAME_BOOT_NS):
        return recording
    if own_ns is None or first_ns is None:
        raise RecordingsDoNotJoin(
            f"{recording.host.name or 'a machine'} and {first.host.name or 'another'} have clocks of their own, and in "
            "one of them the wall clock was not read, so their times cannot be compared. Cure: record them again"
        )
    return _later(recording, own_ns - first_ns)


def _later(recording: Recording, by_ns: int) -> Recording:
    return replace(
        recording,
        start_ns=recording.start_ns + by_ns,
        end_ns=recording.end_ns + by_ns,
        readings={
            name: replace(own, time_ns=own.time_ns + by_ns, unchanged_at_ns=own.unchanged_at_ns + by_ns)
            for name, own in recording.readings.items()
        },
        gaps=tuple(replace(gap, from_ns=gap.from_ns + by_ns, to_ns=gap.to_ns + by_ns) for gap in recording.gaps),
        marks=tuple(replace(mark, time_ns=mark.time_ns + by_ns) for mark in recording.marks),
        wall_anchors=tuple(WallAnchor(each.monotonic_ns + by_ns, each.wall_ns) for each in recording.wall_anchors),
        conditions=tuple(replace(each, time_ns=each.time_ns + by_ns) for each in recording.conditions),
    )


def _shared_by_hosts(recordings: Sequence[Recording]) -> frozenset[str]:
    """Boards that several machines call by one name, such as cpu-0; a GPU's UUID is its own."""
    seen = {(recording.host.name, channel.board) for recording in recordings for channel in recording.channels}
    count = Counter(board for _, board in seen)
    return frozenset(board for board, times in count.items() if times > 1)


def _with_host(recording: Recording, shared: frozenset[str]) -> Recording:
    """The same, the machine's name before boards that others have too."""

    def own(name: str) -> str:
        return f"{recording.host.name}:{name}" if name.split("/", 1)[0] in shared else name

    def renamed(channel: Channel) -> Channel:
        inside = None if channel.contained_in is None else own(channel.contained_in)
        return replace(channel, name=own(channel.name), contained_in=inside)

    facts = {_own_fact(fact, own): value for fact, value in recording.host.facts.items()}
    return replace(
        recording,
        host=replace(recording.host, facts=facts),
        channels=tuple(renamed(channel) for channel in recording.channels),
        readings={own(name): replace(each, channel=own(name)) for name, each in recording.readings.items()},
        gaps=tuple(replace(gap, channel=own(gap.channel)) for gap in recording.gaps),
        conditions=tuple(replace(each, device=own(each.device)) for each in recording.conditions),
        calibrations=tuple(replace(each, channel=own(each.channel)) for each in recording.calibrations),
    )


def _own_fact(fact: str, own: Callable[[str], str]) -> str:
    """A fact's name with its device's new one: "cpu-0/package limit_w" is one of the device before the blank."""
    device, blank, what = fact.partition(" ")
    return f"{own(device)}{blank}{what}" if blank else fact


def _of_process(recording: Recording, number: int, name: str) -> Recording:
    """The marks with threads and numbers of calls that no other process has, and labels with the process' name."""
    calls: dict[int, int] = {0: 0}

    def renamed(mark: Mark) -> Mark:
        call_id = calls.setdefault(mark.call_id, (len(calls) << 20) + number + 1)
        label = f"{name} {mark.text}".strip() if mark.kind == "call_start" else mark.text
        return replace(mark, call_id=call_id, lane=mark.lane + number * LANES_A_PROCESS, text=label)

    return replace(recording, marks=tuple(renamed(mark) for mark in recording.marks))


def _readings(name: str, recordings: Iterable[Recording]) -> Readings:
    """The readings of the process that read the channel for longest, and what others read before and after it.

    Not all readings by time: of two reads at a tick the one that ends later may show the older value.
    """
    own = [found for recording in recordings if len(found := recording.readings.get(name, _none(name)))]
    if not own:
        return _none(name)
    found = max(own, key=_span_ns)
    for other in sorted(own, key=_span_ns, reverse=True):
        before, after = other.time_ns < found.time_ns[0], other.time_ns - other.took_ns > found.time_ns[-1]
        columns = {
            column: np.concatenate([values[before], getattr(found, column), values[after]])
            for column in _COLUMNS
            for values in [getattr(other, column)]
        }
        found = Readings(name, **columns)
    return found


_COLUMNS = ("time_ns", "unchanged_at_ns", "took_ns", "value")


def _none(name: str) -> Readings:
    never = np.zeros(0, np.int64)
    return Readings(name, never, never, never, np.zeros(0))


def _span_ns(readings: Readings) -> int:
    return int(readings.time_ns[-1] - readings.time_ns[0])


def _gaps(recordings: Sequence[Recording]) -> tuple[Gap, ...]:
    """Gaps of channels that one process alone read; where several read one, another's readings lie in them."""
    readers = Counter(name for recording in recordings for name, own in recording.readings.items() if len(own))
    return tuple(gap for recording in recordings for gap in recording.gaps if readers[gap.channel] < 2)


def _conditions(recordings: Iterable[Recording]) -> tuple[States, ...]:
    """Each condition of each device once, from the process that saw the most of it."""
    found: dict[tuple[str, str, int], States] = {}
    for each in (each for recording in recordings for each in recording.conditions):
        key = each.device, each.quantity, each.pid
        if key not in found or len(found[key]) < len(each):
            found[key] = each
    return tuple(found.values())


def _marks(recordings: Sequence[Recording], names: Sequence[str]) -> tuple[Mark, ...]:
    """All marks, and a block around the blocks of all processes."""
    marks = [mark for recording in recordings for mark in recording.marks]
    blocks = [mark.time_ns for mark in marks if mark.kind in ("block_start", "block_end")]
    if blocks:
        label = f"{len(names)} processes"
        marks += [Mark(min(blocks), "block_start", 1 << 62, label), Mark(max(blocks), "block_end", 1 << 62, label)]
    return tuple(sorted(marks, key=_time_ns))


def _time_ns(mark: Mark) -> int:
    return mark.time_ns


def _monotonic_ns(anchor: WallAnchor) -> int:
    return anchor.monotonic_ns


def _what(names: Sequence[str], hosts: Sequence[str]) -> str:
    machines = len(set(hosts))
    clock = (
        f" on {machines} machines, whose clocks agree as well as NTP keeps them: calls of two machines may be off "
        "against each other by milliseconds; joules of each machine are not touched by it"
        if machines > 1 else ""
    )  # fmt: skip
    return f"joined: {len(names)} processes{clock}. Each device is counted once"


def _stragglers(recordings: Sequence[Recording], names: Sequence[str]) -> list[str]:
    """Processes whose calls take longer than those of the others: all wait for them where they work in step."""
    lasted = [_median_ns(recording.trace.calls) for recording in recordings]
    known = [each for each in lasted if each is not None]
    if len(known) < 2:
        return []
    usual_ns = median_low(known)
    slow = [
        f"{name} ({format_ns(own_ns)}, {own_ns / usual_ns:.2f} times the usual)"
        for name, own_ns in zip(names, lasted)
        if own_ns is not None and own_ns > max(STRAGGLES_FROM * usual_ns, usual_ns + NS_PER_MS)
    ]
    return [f"calls take longer in {', '.join(slow)}: the others may wait for it"] if slow else []


def _median_ns(calls: Sequence[CallTrace]) -> float | None:
    return median(call.end_ns - call.start_ns for call in calls) if calls else None


def _notes(recordings: Sequence[Recording], names: Sequence[str]) -> list[str]:
    """Every note once; with the process' name where not all have it."""
    count = Counter(note for recording in recordings for note in dict.fromkeys(recording.notes))
    lines = [
        note if count[note] == len(recordings) else f"{name}: {note}"
        for recording, name in zip(recordings, names)
        for note in recording.notes
    ]
    return list(dict.fromkeys(lines))

"""What a report says in words: gaps, shared time, interruptions; and how each sensor did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wattvlm.attribution.calls import OVERLAP_WORTH_SAYING_NS
from wattvlm.attribution.domains import Sources
from wattvlm.attribution.pooled import DOMAIN_WORDS
from wattvlm.attribution.rows import Layout
from wattvlm.attribution.ticks import Floats, Times, is_free_running
from wattvlm.recording import Gap, Readings, Recording
from wattvlm.report import ChannelUse
from wattvlm.sensing import Channel, Domain
from wattvlm.trace import Block, CallTrace, Trace
from wattvlm.units import format_ns


def lines_of(
    recording: Recording,
    trace: Trace,
    block: Block,
    calls: Sequence[CallTrace],
    sources: Sources,
    layouts: tuple[Layout, Layout],
    by_time: Sequence[Domain],
) -> tuple[str, ...]:
    """All lines of a report, each once. by_time: domains whose joules calls that ran together share by time."""
    lines = [*recording.notes, *trace.notes, *_gap_lines(recording, block, sources), *sources.notes]
    if by_time:
        words = ", ".join(DOMAIN_WORDS.get(domain, domain) for domain in by_time)
        lines.append(
            f"shared: model. Calls ran at the same time; {words} joules of that time are split in equal shares a call, "
            "which is an assumption, and so is idle power. The block's joules are not touched by it"
        )
    overlap_ns = max((call.overlap_ns for layout in layouts for call in layout.calls), default=0.0)
    if overlap_ns > OVERLAP_WORTH_SAYING_NS:
        lines.append(
            f"phases of one call overlapped by up to {format_ns(overlap_ns)}; that time is counted once, in the phase "
            "that began last"
        )
    running = sum(1 for call in trace.calls if call.start_ns < block.start_ns < call.end_ns)
    if running:
        lines.append(f"{running} calls were running when the block began; their joules in it are outside calls")
    unfinished = sum(1 for call in calls if call.end_ns > block.end_ns)
    if unfinished:
        lines.append(f"{unfinished} calls ended after the block did; their joules after it are theirs, not the block's")
    return tuple(dict.fromkeys(lines))


def _gap_lines(recording: Recording, block: Block, sources: Sources) -> list[str]:
    """One line a channel and reason, for gaps that touch the block; channels in no total are no news."""
    grouped: dict[tuple[str, str], list[Gap]] = {}
    for gap in recording.gaps:
        if gap.channel in sources.used and gap.from_ns < block.end_ns and gap.to_ns > block.start_ns:
            grouped.setdefault((gap.channel, gap.why), []).append(gap)
    lines: list[str] = []
    for (channel, why), gaps in grouped.items():
        length_ns = sum(gap.to_ns - gap.from_ns for gap in gaps)
        count = "a gap" if len(gaps) == 1 else f"{len(gaps)} gaps"
        lines.append(
            f"{channel}: {count} of {format_ns(length_ns)} in all ({why}); the readings around it bound its joules, "
            "and intervals are wider for it"
        )
    return lines


def interruption_of(calls: Sequence[CallTrace]) -> str:
    """How calls ended that did not return, or "" where all did."""
    ended = [(call.call_id, call.ended) for call in calls if call.ended != "returned"]
    if not ended:
        return ""
    first = "; ".join(f"call {call_id} {how}" for call_id, how in ended[:3])
    more = f" and {len(ended) - 3} more" if len(ended) > 3 else ""
    return f"{first}{more}: what was recorded until then is reported"


def uses_of(recording: Recording, sources: Sources) -> tuple[ChannelUse, ...]:
    """How each channel did in this recording."""
    return tuple(_use(channel, recording, sources) for channel in recording.channels)


def _use(channel: Channel, recording: Recording, sources: Sources) -> ChannelUse:
    readings = recording.readings.get(channel.name)
    gaps = sum(1 for gap in recording.gaps if gap.channel == channel.name)
    in_totals = channel.name in sources.used
    if readings is None or not len(readings):
        return ChannelUse(channel, 0, gaps=gaps, in_totals=in_totals)
    changed_ns, steps = _changes(readings)
    period_ns = float(np.median(np.diff(changed_ns))) if len(changed_ns) > 1 else None
    step = float(np.min(steps)) if len(steps) else None
    if channel.method != "counter" or is_free_running(channel):
        return ChannelUse(channel, len(readings), None, _power_period_ns(channel, readings), step, gaps, in_totals)
    return ChannelUse(channel, len(readings), max(len(changed_ns) - 1, 0), period_ns, step, gaps, in_totals)


def _power_period_ns(channel: Channel, readings: Readings) -> float | None:
    """Time between values of a power; unknown for a counter that ticks faster than it is read."""
    if channel.method == "counter" or len(readings) < 2:
        return None
    return float(np.median(np.diff(readings.time_ns)))


def _changes(readings: Readings) -> tuple[Times, Floats]:
    """(times of the first reading and of each reading that shows a new value, the sizes of the changes)."""
    differences = np.diff(readings.value)
    changed = np.concatenate([[True], differences != 0.0])
    return readings.time_ns[changed], np.abs(differences[differences != 0.0])

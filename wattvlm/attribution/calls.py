"""The time of each call: its whole, its phases, and what lies between them, on the host's or the devices' clock.

GPU joules follow device spans where a phase has them, everything else the host's. Time in which phases of one call
overlap belongs to the phase that began last. Time in which several calls were active is given to them in equal
shares, which is a model of who used what and is said in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.windows import SLACK_SIGMAS, Stretches, Window, clipped, difference, duration_ns, union
from wattvlm.recording import Recording
from wattvlm.trace import HOST, PREPROCESS, Block, CallTrace, Phase, Span, Trace
from wattvlm.units import NS_PER_HOUR

OVERLAP_WORTH_SAYING_NS = 1_000_000

LARGEST_SLACK_NS = NS_PER_HOUR
"""A boundary that is less sure than an hour is not known at all; larger numbers only overflow."""


@dataclass(frozen=True, slots=True)
class CallWindows:
    """The windows of one call: whole = phases + between. overlap_ns: how long phases of it overlapped."""

    whole: Stretches
    phases: dict[str, Stretches]
    between: Stretches
    overlap_ns: float = 0.0


def calls_of_block(trace: Trace, block: Block) -> tuple[CallTrace, ...]:
    """The calls that began in a block, without what they did before it."""
    inside = [call for call in trace.calls if block.start_ns <= call.start_ns <= block.end_ns]
    return tuple(_without_earlier(call, block.start_ns) for call in inside)


def _without_earlier(call: CallTrace, start_ns: int) -> CallTrace:
    """A preprocess that was over before the block began is not this block's."""
    if all(span.start_ns >= start_ns for phase in call.phases for span in phase.spans):
        return call
    kept: list[Phase] = []
    for phase in call.phases:
        spans = tuple(
            replace(span, start_ns=max(span.start_ns, start_ns)) for span in phase.spans if span.end_ns > start_ns
        )
        if spans:
            kept.append(replace(phase, spans=spans))
    return replace(call, phases=tuple(kept))


def call_windows(call: CallTrace, on_devices: bool) -> CallWindows:
    """The windows of one call on the host's clock, or on the devices' where the phases have such spans."""
    spans = {phase.name: union(map(_window, spans_of(phase, on_devices))) for phase in call.phases}
    own, overlap_ns = _exclusive(spans)
    whole = union([Window(call.start_ns, call.end_ns), *(window for each in own.values() for window in each)])
    taken = union(window for each in own.values() for window in each)
    return CallWindows(whole, own, difference(whole, taken), overlap_ns)


def has_device_spans(calls: Sequence[CallTrace]) -> bool:
    """True where any phase was timed on a device."""
    return any(span.device != HOST for call in calls for phase in call.phases for span in phase.spans)


def spans_of(phase: Phase, on_devices: bool) -> Sequence[Span]:
    """The spans of a phase on the devices' clock where it has such and they are wanted, else on the host's."""
    devices = tuple(span for span in phase.spans if span.device != HOST)
    return devices if on_devices and devices else phase.host_spans or devices


def _window(span: Span) -> Window:
    slack_ns = min(SLACK_SIGMAS * span.boundary_std_ns, LARGEST_SLACK_NS)
    return Window(span.start_ns, max(span.start_ns, span.end_ns), slack_ns, slack_ns)


def _exclusive(spans: dict[str, Stretches]) -> tuple[dict[str, Stretches], float]:
    """The phases in order of time, overlapped time with the one that began last; and how long they overlapped."""
    ordered = sorted((name for name, windows in spans.items() if windows), key=lambda name: spans[name][0].start_ns)
    flat = sorted(window for name in ordered for window in spans[name])
    if all(one.end_ns <= two.start_ns for one, two in pairwise(flat)):
        return {name: spans[name] for name in ordered}, 0.0
    own: dict[str, Stretches] = {}
    later: Stretches = ()
    for name in reversed(ordered):
        own[name] = difference(spans[name], later)
        later = union([*later, *spans[name]])
    overlap_ns = sum(duration_ns(spans[name]) - duration_ns(own[name]) for name in ordered)
    return {name: own[name] for name in ordered}, overlap_ns


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many calls were active from each moment on."""

    from_ns: NDArray[np.int64]
    active: NDArray[np.int64]

    def share(self, windows: Stretches) -> Stretches:
        """The same windows, cut so that each piece has one number of active calls, and counting with its share."""
        pieces: list[Window] = []
        for window in windows:
            first = int(np.searchsorted(self.from_ns, window.start_ns, "right")) - 1
            end = int(np.searchsorted(self.from_ns, window.end_ns, "left"))
            for index in range(first, max(end, first + 1)):
                pieces.append(self._piece(window, index, index == first, index + 1 >= end))
        return tuple(pieces)

    def _piece(self, window: Window, index: int, is_first: bool, is_last: bool) -> Window:
        return Window(
            window.start_ns if is_first else int(self.from_ns[index]),
            window.end_ns if is_last else int(self.from_ns[index + 1]),
            window.start_slack_ns if is_first else 0,
            window.end_slack_ns if is_last else 0,
            1.0 / max(int(self.active[index]), 1) if index >= 0 else 1.0,
        )


def sharing_of(wholes: Sequence[Stretches]) -> Sharing | None:
    """How calls overlapped, or None where each had its time to itself."""
    flat = sorted(window for whole in wholes for window in whole)
    if all(one.end_ns <= two.start_ns for one, two in pairwise(flat)):
        return None
    starts = np.array([window.start_ns for window in flat], dtype=np.int64)
    ends = np.array([window.end_ns for window in flat], dtype=np.int64)
    from_ns, inverse = np.unique(np.concatenate([starts, ends]), return_inverse=True)
    changes = np.concatenate([np.ones(len(starts), np.int64), -np.ones(len(ends), np.int64)])
    active = np.cumsum(np.bincount(inverse.ravel(), changes, len(from_ns)).astype(np.int64))
    return Sharing(from_ns, active)


def shared(call: CallWindows, sharing: Sharing | None) -> CallWindows:
    """The windows of a call with its share of the time that it had in common with other calls."""
    if sharing is None:
        return call
    phases = {name: sharing.share(windows) for name, windows in call.phases.items()}
    return CallWindows(sharing.share(call.whole), phases, sharing.share(call.between), call.overlap_ns)


def blocks_of(recording: Recording, trace: Trace) -> tuple[Block, ...]:
    """The metered blocks; one that has not ended yet, or never did, lasts until the recording's end."""
    ended = {mark.call_id for mark in recording.marks if mark.kind == "block_end"}
    return tuple(
        block if block.meter_id in ended else replace(block, end_ns=max(recording.end_ns, block.end_ns))
        for block in trace.blocks
    )


def block_of(recording: Recording, blocks: Sequence[Block]) -> Block:
    """The longest metered block (the outermost of nested ones), or the whole recording where none was marked."""
    whole = Block(0, recording.start_ns, recording.end_ns)
    return max(blocks, key=lambda block: block.end_ns - block.start_ns, default=whole)


def outside_of(block: Block, wholes: Sequence[Stretches]) -> Stretches:
    """The block's time outside all calls."""
    busy = union(window for whole in wholes for window in whole)
    return difference((Window(block.start_ns, block.end_ns),), clipped(busy, block.start_ns, block.end_ns))


def preprocess_was_unseen(call: CallTrace) -> bool:
    """True where a call has input that something prepared, and no preprocess was seen, nor is inside another phase."""
    if any(PREPROCESS in phase.holds for phase in call.phases):
        return False
    counted = any(count is not None for count in (call.tokens.prompt, call.tokens.output, call.tokens.visual_input))
    return call.phase(PREPROCESS) is None and (bool(call.images) or counted)

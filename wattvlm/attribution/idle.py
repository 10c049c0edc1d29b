"""Idle power of a domain: over stretches of the recording outside of all blocks and calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wattvlm.attribution.curve import Curve
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.joules import domain_joules
from wattvlm.attribution.power import LONGEST_WINDOW_NS
from wattvlm.attribution.windows import Stretches, Window, columns, difference, duration_ns, union
from wattvlm.recording import Readings, Recording
from wattvlm.report import Idle
from wattvlm.trace import Block, Trace
from wattvlm.units import NS_PER_S

LEAST_TICKS = 2


def quiet_stretches(recording: Recording, trace: Trace, blocks: Sequence[Block]) -> Stretches:
    """The time of a recording outside all blocks, calls and phases."""
    busy = [Window(block.start_ns, block.end_ns) for block in blocks]
    busy += [Window(call.start_ns, call.end_ns) for call in trace.calls]
    phases = [*trace.own_phases, *(phase for call in trace.calls for phase in call.phases)]
    busy += [Window(span.start_ns, max(span.start_ns, span.end_ns)) for phase in phases for span in phase.spans]
    return difference((Window(recording.start_ns, recording.end_ns),), union(busy))


def idle_of(found: DomainCurves, recording: Recording, quiet: Stretches) -> Idle | None:
    """Idle power of a domain, or None where one of its channels was not seen idle for two ticks."""
    power_w, low_w, high_w = 0.0, 0.0, 0.0
    seen_ns: list[float] = []
    for curve in found.curves:
        stretches = _between_ticks(curve, recording.readings[curve.channel.name], quiet)
        if not stretches:
            return None
        joules = domain_joules([curve], found.method, columns([stretches]))
        seconds = duration_ns(stretches) / NS_PER_S
        power_w += float(joules.middle_j[0]) / seconds
        low_w += float(joules.low_j[0]) / seconds
        high_w += float(joules.high_j[0]) / seconds
        seen_ns.append(duration_ns(stretches))
    return Idle(power_w, (low_w, high_w), round(min(seen_ns)), found.method == "modelled")


def _between_ticks(curve: Curve, readings: Readings, quiet: Stretches) -> Stretches:
    """Each quiet stretch from its first to its last reading; a mean over a window must lie in it wholly.

    A counter's very first reading is left out, since its tick was not seen.
    """
    settle_ns = 0
    if curve.channel.method == "power":
        settle_ns = LONGEST_WINDOW_NS if curve.channel.window_ns is None else curve.channel.window_ns
    first_tick = 1 if curve.channel.method == "counter" else 0
    trimmed: list[Window] = []
    for window in quiet:
        first = max(first_tick, int(np.searchsorted(readings.time_ns, window.start_ns + settle_ns, "left")))
        last = int(np.searchsorted(readings.time_ns, window.end_ns, "right")) - 1
        if last - first + 1 >= LEAST_TICKS:
            trimmed.append(Window(int(readings.time_ns[first]), int(readings.time_ns[last])))
    return tuple(trimmed)

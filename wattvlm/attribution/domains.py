"""Which channels make up a domain: nothing twice, measured before modelled, and what is missing is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wattvlm.attribution.counter import counter_curve
from wattvlm.attribution.curve import Curve
from wattvlm.attribution.power import PowerCurve, model_curve, power_curve
from wattvlm.energy import Provenance
from wattvlm.recording import Readings, Recording
from wattvlm.sensing import DOMAINS, Absence, Channel, Domain
from wattvlm.trace import Block
from wattvlm.units import NS_PER_MS, format_ns

MODEL_STARTS_WITHIN_NS = 250 * NS_PER_MS
"""No meter waits for a model to start, and its interval is wider than what it misses; so that is no news."""

WORTH_SAYING_FRACTION = 0.005
"""Time without readings is mentioned from this fraction of the block on."""


@dataclass(frozen=True, slots=True)
class DomainCurves:
    """The curves whose joules add up to a domain's.

    beside: powers that a counter among them holds already, which may see its curve a second time.
    """

    domain: Domain
    method: Provenance
    curves: tuple[Curve, ...]
    beside: tuple[PowerCurve, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """The domains of a recording, what is absent from them, lines for the report, and the channels that are used."""

    domains: tuple[DomainCurves, ...]
    absent: tuple[Absence, ...]
    notes: tuple[str, ...]
    used: frozenset[str]


def sources_of(recording: Recording, block: Block) -> Sources:
    """The domains that have joules in a block."""
    curves: dict[str, Curve] = {}
    absent: list[Absence] = []
    for channel in recording.channels:
        curve = _curve(channel, recording)
        if curve is not None and curve.span_ns[0] <= block.end_ns and curve.span_ns[1] >= block.start_ns:
            curves[channel.name] = curve
        else:
            absent.append(_without_readings(channel))
    chosen = [_domain(domain, recording.channels, curves) for domain in DOMAINS]
    domains = tuple(found for found in chosen if found is not None)
    used = frozenset(curve.channel.name for found in domains for curve in found.curves)
    notes = [note for found in domains for curve in found.curves for note in curve.notes]
    for found in domains:
        notes += _uncovered(found.curves, block)
    return Sources(domains, tuple(absent), tuple(notes), used)


def _curve(channel: Channel, recording: Recording) -> Curve | None:
    readings = recording.readings.get(channel.name)
    if readings is None or not len(readings):
        return None
    make = {"counter": counter_curve, "power": power_curve, "model": model_curve}[channel.method]
    return make(channel, _in_order(readings), recording.start_ns)


def _in_order(readings: Readings) -> Readings:
    """The readings in order of time; a driver's own stamps may come out of order."""
    if bool(np.all(np.diff(readings.time_ns) >= 0)):
        return readings
    order = np.argsort(readings.time_ns, kind="stable")
    return Readings(
        readings.channel,
        readings.time_ns[order],
        readings.unchanged_at_ns[order],
        readings.took_ns[order],
        readings.value[order],
    )


def _domain(domain: Domain, channels: Sequence[Channel], curves: Mapping[str, Curve]) -> DomainCurves | None:
    present = [channel for channel in channels if channel.domain == domain and channel.name in curves]
    measured = [channel for channel in present if channel.method != "model"]
    chosen = _once(measured or present, curves)
    if not chosen:
        return None
    counters = {channel.name for channel in chosen if channel.method == "counter"}
    held = (curves[channel.name] for channel in present if channel.contained_in in counters)
    return DomainCurves(
        domain,
        "measured" if measured else "modelled",
        tuple(curves[channel.name] for channel in chosen),
        tuple(curve for curve in held if isinstance(curve, PowerCurve)),
    )


def _once(channels: Sequence[Channel], curves: Mapping[str, Curve]) -> list[Channel]:
    """Channels of which none holds joules of another: not a core beside its package, not watts beside a counter."""
    counted = {channel.board for channel in channels if channel.method == "counter"}
    return [
        channel
        for channel in channels
        if not (channel.method == "power" and channel.board in counted)
        and (channel.contained_in is None or channel.contained_in not in curves)
    ]


def _without_readings(channel: Channel) -> Absence:
    return Absence(
        channel.domain,
        f"{channel.sensor} ({channel.name}) gave no usable reading in this block",
        f"its joules are not in the {channel.domain} total",
        "run `wattvlm doctor`; for a short block, meter several calls together",
    )


def _uncovered(curves: Sequence[Curve], block: Block) -> list[str]:
    """Lines for channels whose readings begin after the block does, or end before its end."""
    lines: list[str] = []
    for curve in curves:
        late_ns, early_ns = curve.span_ns[0] - block.start_ns, block.end_ns - curve.span_ns[1]
        known = curve.channel.max_power_w is not None
        limit = "its largest power" if known else "twice the largest power seen, as its largest power is not known"
        for missing_ns, where in ((late_ns, "start"), (early_ns, "end")):
            if curve.channel.method == "model" and missing_ns < MODEL_STARTS_WITHIN_NS:
                continue
            if missing_ns > WORTH_SAYING_FRACTION * (block.end_ns - block.start_ns):
                lines.append(
                    f"{curve.channel.name} has no reading in the {format_ns(missing_ns)} at the block's {where}; "
                    f"there its power lies between 0 and {limit}"
                )
    return lines

"""Readings as an ideal sensor would have given them: gain, offset and lag of a calibration record taken out.

shown = gain x true + offset, so watts become (shown - offset) / gain, and a counter loses offset x time and is divided
by the gain. A counter's offset grows at its ticks only: between them its value must stay as it is, or each read would
look like a tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.ticks import Floats
from wattvlm.calibration import Calibration, record_of
from wattvlm.recording import Gap, Readings, Recording
from wattvlm.sensing import Channel
from wattvlm.units import S_PER_NS

CALIBRATED = "calibration of"
"""What the source of a Channel's fact begins with where it is a record's."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A recording with the records taken into account, and lines for the report."""

    recording: Recording
    notes: tuple[str, ...]


def calibrated(recording: Recording, given: Sequence[Calibration] | None = None) -> Calibrated:
    """The recording with each channel as its record says; given: records in place of the recording's own.

    A record of another driver version is not used, and a line says so.
    """
    records = recording.calibrations if given is None else tuple(given)
    if not records:
        return Calibrated(recording, ())
    channels: list[Channel] = []
    readings = dict(recording.readings)
    shifts_ns: dict[str, int] = {}
    notes: list[str] = []
    for channel in recording.channels:
        record, note = record_of(channel, records, recording.host.facts)
        notes += [note] if note else []
        if record is None:
            channels.append(channel)
            continue
        channels.append(_channel(channel, record))
        if channel.name in readings:
            shifts_ns[channel.name] = _shift_ns(channel, record)
            readings[channel.name] = _readings(channel, readings[channel.name], record, shifts_ns[channel.name])
    gaps = tuple(_moved(gap, shifts_ns.get(gap.channel, 0)) for gap in recording.gaps)
    return Calibrated(replace(recording, channels=tuple(channels), readings=readings, gaps=gaps), tuple(notes))


def _channel(channel: Channel, record: Calibration) -> Channel:
    """The channel with what the record says of it, and of each such fact that it is the record's."""
    words, found = f"{CALIBRATED} {record.date}: {record.how}", channel
    source = dict(channel.source)
    if record.gain is not None and record.gain_std_fraction is not None:
        source["gain_std_fraction"] = source["offset_std_w"] = words
        found = replace(
            found,
            gain_std_fraction=record.gain_std_fraction,
            offset_std_w=(record.offset_std_w or 0.0) / record.gain,
            resolution_j=_scaled(channel.resolution_j, record.gain),
            resolution_w=_scaled(channel.resolution_w, record.gain),
            wraps_at_j=_scaled(channel.wraps_at_j, record.gain),
        )
    if record.update_period_ns is not None:
        source["update_period_ns"] = words
        found = replace(found, update_period_ns=record.update_period_ns)
    if record.response == "boxcar" and record.window_ns is not None:
        source["window_ns"] = words
        found = replace(found, window_ns=sum(record.window_ns) // 2)
    return replace(found, source=source)


def _scaled(shown: float | None, gain: float) -> float | None:
    return None if shown is None else shown / gain


def _shift_ns(channel: Channel, record: Calibration) -> int:
    """How late values are stamped, where the record is sure of it; a counter's ticks are seen as they happen."""
    if channel.method != "power" or record.lag_ns is None or record.lag_ns[0] <= 0 <= record.lag_ns[1]:
        return 0
    return (record.lag_ns[0] + record.lag_ns[1]) // 2


def _readings(channel: Channel, readings: Readings, record: Calibration, shift_ns: int) -> Readings:
    value = readings.value
    if record.gain is not None:
        offset_w = record.offset_w or 0.0
        taken = offset_w * _counting_s(readings) if channel.method == "counter" else offset_w
        value = np.asarray((value - taken) / record.gain, np.float64)
    return replace(
        readings, time_ns=readings.time_ns - shift_ns, unchanged_at_ns=readings.unchanged_at_ns - shift_ns, value=value
    )


def _counting_s(readings: Readings) -> Floats:
    """For each reading of a counter, when its value came up, in seconds after the first one that did."""
    if not len(readings):
        return np.zeros(0)
    changed = np.flatnonzero(np.diff(readings.value) != 0.0) + 1
    if not len(changed):
        return np.zeros(len(readings))
    came_up_ns = readings.time_ns[changed]
    period_ns = round(float(np.median(np.diff(came_up_ns)))) if len(changed) > 1 else 0
    first_ns = came_up_ns[0] - period_ns  # the first value came up before it was first read
    starts_ns = np.concatenate([[first_ns], came_up_ns])
    latest = np.searchsorted(changed, np.arange(len(readings)), "right")
    return np.asarray((starts_ns[latest] - first_ns) * S_PER_NS, np.float64)


def _moved(gap: Gap, shift_ns: int) -> Gap:
    return replace(gap, from_ns=gap.from_ns - shift_ns, to_ns=gap.to_ns - shift_ns)

"""Gain and offset of a sensor against a meter that is trusted: another channel, or a file of times and watts.

Only levels that last are compared, and of each only what lies behind the longest window and the error of the alignment:
an edge that is off by milliseconds moves no level's mean. The clocks of a file and of this machine are aligned by
cross-correlation over the levels.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wattvlm.clock import wall_to_monotonic_ns
from wattvlm.errors import NotResolved, ReportFormatError
from wattvlm.recording import Readings, Recording
from wattvlm.sensing import Channel
from wattvlm.units import NS_PER_MS, NS_PER_S, NS_PER_US, S_PER_NS

Floats = NDArray[np.float64]

LARGEST_SHIFT_NS = 5 * NS_PER_S
SETTLING_NS = 1_200 * NS_PER_MS
"""What follows a change of level is left out for so long: the longest window is a second, clocks rise for a while."""

MARGIN_NS = 300 * NS_PER_MS
"""And so much before the next change, for what the alignment of the clocks may be off."""

LEAST_CORRELATION = 0.8
LEAST_R_SQUARED = 0.99
LEAST_SWING_W = 5.0
LEAST_SWING_SIGMAS = 20.0
WORST_STD_FRACTION = 0.03
"""A gain that is less sure than this is no better than none."""

FEWEST_LEVELS = 5
METER_STD_FRACTION = 0.005
"""One sigma of a meter whose own error is not stated."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A trusted meter's joules over monotonic time, and how sure its own gain is (one sigma)."""

    time_ns: NDArray[np.int64]
    energy_j: Floats
    std_fraction: float
    words: str
    may_shift: bool = False

    def mean_w(self, start_ns: int, end_ns: int) -> float:
        """Mean power of a window."""
        joules = np.interp([start_ns, end_ns], self.time_ns, self.energy_j)
        return float(joules[1] - joules[0]) / ((end_ns - start_ns) * S_PER_NS)


@dataclass(frozen=True, slots=True)
class GainFit:
    """shown = gain x true + offset, as the levels say. shift_ns: how much later the reference's clock is."""

    gain: float
    gain_std_fraction: float
    offset_w: float
    offset_std_w: float
    r_squared: float
    levels: int
    swing_w: float
    shift_ns: int


def trusted_channel(recording: Recording, name: str) -> Reference:
    """Another channel of the same recording as the reference; NotResolved where it is not there or gave nothing."""
    channel = next((each for each in recording.channels if each.name == name), None)
    readings = recording.readings.get(name)
    if channel is None or readings is None or len(readings) < 2:
        known = ", ".join(each.name for each in recording.channels) or "none"
        raise NotResolved(f"the channel {name} gave no readings, so there is no gain. Cure: name one of: {known}")
    return Reference(readings.time_ns, _cumulative_j(channel, readings), channel.gain_std_fraction, name)


def meter_file(path: str | os.PathLike[str], recording: Recording, std_fraction: float | None = None) -> Reference:
    """A meter's file as the reference: two columns, time and watts, with or without a line of names.

    Times may be s, ms, µs or ns, since 1970 or on this machine's monotonic clock: the reading that lies in the
    recording is taken. ReportFormatError for what is no such file, NotResolved where no reading of its times fits.
    """
    times, power_w = _columns(Path(path))
    time_ns = _as_monotonic_ns(times, recording)
    if time_ns is None:
        raise NotResolved(
            f"{path} has no times inside this run, whether as s, ms, µs or ns, since 1970 or monotonic. "
            "Cure: let the meter log while `wattvlm calibrate` runs, on this machine's clock"
        )
    order = np.argsort(time_ns, kind="stable")
    time_ns, power_w = time_ns[order], power_w[order]
    steps_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(time_ns) * S_PER_NS
    energy_j = np.concatenate([[0.0], np.cumsum(steps_j)])
    std = METER_STD_FRACTION if std_fraction is None else std_fraction
    return Reference(time_ns, energy_j, std, Path(path).name, may_shift=True)


def _columns(path: Path) -> tuple[Floats, Floats]:
    rows: list[tuple[float, float]] = []
    with path.open(newline="", errors="replace") as file:
        for number, row in enumerate(csv.reader(file)):
            if not row or row[0].lstrip().startswith("#"):
                continue
            try:
                rows.append((float(row[0]), float(row[1])))
            except (ValueError, IndexError) as error:
                if rows or number > 3:
                    raise ReportFormatError(
                        f"{path}: line {number + 1} is not a time and watts: {','.join(row)[:60]!r}"
                    ) from error
    times = np.array([time for time, _ in rows], dtype=np.float64)
    power_w = np.array([power for _, power in rows], dtype=np.float64)
    if len(rows) < 2 or not bool(np.all(np.isfinite(times)) and np.all(np.isfinite(power_w))):
        raise ReportFormatError(f"{path} does not hold two columns of numbers, time and watts")
    return times, power_w


def _as_monotonic_ns(times: Floats, recording: Recording) -> NDArray[np.int64] | None:
    """The times in the unit and on the clock in which most of them lie inside the recording."""
    best: tuple[float, NDArray[np.int64] | None] = (0.0, None)
    for unit_ns in (1, NS_PER_US, NS_PER_MS, NS_PER_S):
        if float(np.max(np.abs(times))) * unit_ns >= 2.0**62:
            continue
        stamped = np.rint(times * unit_ns).astype(np.int64)
        clocks = [stamped]
        if recording.wall_anchors:
            clocks.append(stamped + (wall_to_monotonic_ns(int(stamped[0]), recording.wall_anchors) - int(stamped[0])))
        for time_ns in clocks:
            span = min(int(time_ns[-1]), recording.end_ns) - max(int(time_ns[0]), recording.start_ns)
            share = span / max(recording.end_ns - recording.start_ns, 1)
            if share > max(best[0], 0.5):
                best = share, time_ns
    return best[1]


def _cumulative_j(channel: Channel, readings: Readings) -> Floats:
    if channel.method == "counter":
        steps_j = np.diff(readings.value)
        if channel.wraps_at_j is not None:
            steps_j = np.where(steps_j < 0, steps_j + channel.wraps_at_j, steps_j)
        if bool(np.any(steps_j < 0)):
            raise NotResolved(f"{channel.name} went backwards meanwhile, so there is no gain. Cure: calibrate again")
    else:  # each value is taken for the time since the one before
        steps_j = readings.value[1:] * np.diff(readings.time_ns) * S_PER_NS
    return np.concatenate([[0.0], np.cumsum(steps_j)])


def fit_gain(
    channel: Channel, readings: Readings, levels_ns: Sequence[tuple[int, int]], reference: Reference
) -> GainFit:
    """Gain and offset of a channel; NotResolved says why there are none."""
    shift_ns = _shift_ns(channel, readings, levels_ns, reference) if reference.may_shift else 0
    found: list[tuple[float, float]] = []
    for start_ns, end_ns in levels_ns:
        mean_w = _level_w(channel, readings, start_ns + SETTLING_NS, end_ns - MARGIN_NS)
        if mean_w is not None:
            found.append((reference.mean_w(mean_w[1] + shift_ns, mean_w[2] + shift_ns), mean_w[0]))
    if len(found) < FEWEST_LEVELS:
        raise NotResolved(
            f"only {len(found)} levels of load were long enough to compare, so there is no gain. Cure: --seconds 60"
        )
    true_w = np.array([true for true, _ in found], dtype=np.float64)
    shown_w = np.array([shown for _, shown in found], dtype=np.float64)
    return _line(true_w, shown_w, reference, shift_ns)


def _level_w(channel: Channel, readings: Readings, start_ns: int, end_ns: int) -> tuple[float, int, int] | None:
    """(mean watts, from, to) of a level, from the first to the last update in it; None for fewer than three."""
    inside = np.flatnonzero((readings.time_ns >= start_ns) & (readings.time_ns <= end_ns))
    if channel.method == "counter":
        changed = np.flatnonzero(np.diff(readings.value) != 0.0) + 1
        inside = np.intersect1d(inside, changed)
    if len(inside) < 3:
        return None
    first, last = int(inside[0]), int(inside[-1])
    from_ns, to_ns = int(readings.time_ns[first]), int(readings.time_ns[last])
    if channel.method != "counter":
        return float(np.mean(readings.value[inside])), from_ns, to_ns
    energy_j = _cumulative_j(channel, readings)
    return float(energy_j[last] - energy_j[first]) / ((to_ns - from_ns) * S_PER_NS), from_ns, to_ns


def _shift_ns(channel: Channel, readings: Readings, levels_ns: Sequence[tuple[int, int]], reference: Reference) -> int:
    """How much later the reference shows a load than the sensor does: where their correlation is largest."""
    step_ns = max(int(np.median(np.diff(reference.time_ns))), int(np.median(np.diff(readings.time_ns))), NS_PER_MS)
    step_ns = min(step_ns, 500 * NS_PER_MS)
    stairs_from = levels_ns[1][0] if len(levels_ns) > 2 else levels_ns[0][0]
    grid_ns = np.arange(stairs_from, levels_ns[-1][1], step_ns)
    shown_w = np.diff(np.interp(grid_ns, readings.time_ns, _cumulative_j(channel, readings)))
    shown_w = shown_w - np.mean(shown_w)
    best = (-1.0, 0)
    for shift_ns in range(-LARGEST_SHIFT_NS, LARGEST_SHIFT_NS + 1, step_ns):
        true_w = np.diff(np.interp(grid_ns + shift_ns, reference.time_ns, reference.energy_j))
        spread = float(np.std(shown_w)) * float(np.std(true_w))
        correlation = float(np.mean(shown_w * (true_w - np.mean(true_w)))) / spread if spread > 0 else -1.0
        best = max(best, (correlation, shift_ns))
    if best[0] < LEAST_CORRELATION:
        raise NotResolved(
            f"{reference.words} does not follow this load (correlation {best[0]:.2f}), so there is no gain. "
            "Cure: a meter of this board alone, logged on this machine's clock, at least each second"
        )
    return best[1]


def _line(true_w: Floats, shown_w: Floats, reference: Reference, shift_ns: int) -> GainFit:
    """The straight line through the levels, its errors from how far they lie off it and from the reference's own."""
    around = true_w - np.mean(true_w)
    squares = float(np.sum(around**2))
    swing_w = float(np.max(true_w) - np.min(true_w))
    if swing_w < LEAST_SWING_W or not squares:
        raise NotResolved(
            f"the load moved {reference.words} by {swing_w:.1f} W only, so there is no gain. Cure: stop what else runs "
            "on the device, or calibrate a larger load"
        )
    gain = float(np.sum(around * shown_w)) / squares
    offset_w = float(np.mean(shown_w)) - gain * float(np.mean(true_w))
    left_w = shown_w - gain * true_w - offset_w
    std_w = sqrt(float(np.sum(left_w**2)) / (len(left_w) - 2))
    around_shown = shown_w - np.mean(shown_w)
    r_squared = 1.0 - float(np.sum(left_w**2)) / max(float(np.sum(around_shown**2)), 1e-12)
    gain_std = std_w / sqrt(squares)
    std_fraction = hypot(gain_std / abs(gain), reference.std_fraction) if gain else np.inf
    if r_squared < LEAST_R_SQUARED or swing_w < LEAST_SWING_SIGMAS * std_w or std_fraction > WORST_STD_FRACTION:
        raise NotResolved(
            f"levels lie {std_w:.1f} W off a line over {swing_w:.0f} W (R2 {r_squared:.4f}), so there is no gain that "
            f"is surer than none. Cure: a meter of this board alone, nothing else running, and --seconds 120"
        )
    mean_w = float(np.mean(true_w))
    offset_std_w = sqrt((std_w**2) / len(true_w) + (gain_std * mean_w) ** 2)
    return GainFit(gain, float(std_fraction), offset_w, offset_std_w, r_squared, len(true_w), swing_w, shift_ns)

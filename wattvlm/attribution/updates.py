"""When a sensor's value was renewed: its updates, and the comb (period and phase) that they keep.

A value is renewed at ticks that the host does not see. A driver's own stamps are these ticks; otherwise a new value is
first seen by some read, and its tick lies between that read and the one before. Ticks are far steadier than reads:
with the comb of all ticks each one is known better than its bracket tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Counts, Floats, seconds_since
from wattvlm.recording import Readings
from wattvlm.units import S_PER_NS

FEWEST_CHANGES = 6
"""Below this many changes no period is told from chance (as in `sampling.comb`)."""

LARGEST_STRAY_FRACTION = 0.1
"""Changes that stray from the comb by more than a tenth of its period (one sigma) keep none."""

STRAY_WEIGHT = 0.001
"""What a change that strays from the comb still counts."""

READS_A_TICK = 1.5
"""Where values change at nearly each read, the reads are the ticks (stamped), or slower than these."""


@dataclass(frozen=True, slots=True)
class Comb:
    """Ticks at at_s + number * period_s, each off by jitter_s (one sigma)."""

    period_s: float
    at_s: float
    jitter_s: float

    def numbers(self, time_s: Floats) -> Counts:
        """The number of the tick that is nearest to each time."""
        return np.rint((time_s - self.at_s) / self.period_s).astype(np.int64)

    def time_s(self, number: Counts) -> Floats:
        """When ticks are expected."""
        return np.asarray(self.at_s + number * self.period_s, np.float64)


@dataclass(frozen=True, slots=True)
class Updates:
    """Each renewed value: when (seconds since the origin), how unsure that is (one sigma), and the value.

    comb: None where the values keep no period.
    """

    time_s: Floats
    std_s: Floats
    value: Floats
    comb: Comb | None

    def __len__(self) -> int:
        return len(self.time_s)

    def between(self, start_s: float, end_s: float) -> Updates:
        """The updates inside a stretch of time."""
        inside = (self.time_s >= start_s) & (self.time_s <= end_s)
        return Updates(self.time_s[inside], self.std_s[inside], self.value[inside], self.comb)


def updates_of(readings: Readings, origin_ns: int, *, is_counter: bool = False) -> Updates | None:
    """The updates in a channel's readings (in order of time), or None where its value never changed.

    is_counter: the readings state the bracket of each change.
    """
    time_s = seconds_since(origin_ns, readings.time_ns)
    changed = np.flatnonzero(np.diff(readings.value) != 0.0) + 1
    if len(changed) < 1:
        return None
    if not is_counter and _are_ticks(time_s, changed):
        once = np.concatenate([[True], np.diff(time_s) > 0.0])
        comb = comb_through(time_s[changed], np.zeros(len(changed)))
        return Updates(time_s[once], np.zeros(int(np.sum(once))), readings.value[once], comb)
    older_s = seconds_since(origin_ns, readings.time_ns - readings.took_ns)[changed - 1]
    early_s = seconds_since(origin_ns, readings.unchanged_at_ns)[changed] if is_counter else older_s
    early_s, late_s = np.maximum(early_s, older_s), time_s[changed]
    comb = comb_through((early_s + late_s) / 2, late_s - early_s)
    if comb is None:
        return Updates((early_s + late_s) / 2, (late_s - early_s) / 12**0.5, readings.value[changed], None)
    return _with_comb(comb, early_s, late_s, readings.value[changed])


def _are_ticks(time_s: Floats, changed: Counts) -> bool:
    """True where values change nearly each time that they are read."""
    if len(changed) < 2:
        return False
    return float(np.quantile(np.diff(time_s[changed]), 0.2)) < READS_A_TICK * float(np.median(np.diff(time_s)))


def _with_comb(comb: Comb, early_s: Floats, late_s: Floats, value: Floats) -> Updates:
    """Each tick where its bracket and the comb agree best; ticks that changed nothing repeat the value before."""
    width_s = np.maximum(late_s - early_s, S_PER_NS)
    numbers = np.maximum.accumulate(comb.numbers((early_s + late_s) / 2))
    first = np.concatenate([[True], np.diff(numbers) > 0])
    every: Counts = np.arange(int(numbers[0]), int(numbers[-1]) + 1, dtype=np.int64)
    seen: Counts = np.searchsorted(numbers[first], every, "right") - 1
    is_seen: NDArray[np.bool_] = numbers[first][seen] == every
    expected_s = comb.time_s(every)
    time_s = np.where(
        is_seen, np.minimum(np.maximum(expected_s, early_s[first][seen]), late_s[first][seen]), expected_s
    )
    least_std_s = np.maximum(comb.jitter_s, S_PER_NS)
    within_s = (least_std_s**-2.0 + 12.0 / width_s[first][seen] ** 2) ** -0.5
    last = np.append(np.flatnonzero(first)[1:], len(numbers)) - 1
    return Updates(time_s, np.asarray(np.where(is_seen, within_s, least_std_s), np.float64), value[last][seen], comb)


def comb_through(time_s: Floats, width_s: Floats) -> Comb | None:
    """The comb of changes that were seen within brackets of some width around their times; None where they keep none.

    Changes may be missing where a value was renewed with itself.
    """
    if len(time_s) < FEWEST_CHANGES:
        return None
    distance_s = np.diff(time_s)
    short_s = distance_s[distance_s < 1.6 * float(np.quantile(distance_s, 0.3))]
    period_s = float(np.median(short_s))
    steps = np.maximum(np.rint(distance_s / period_s), 1.0)
    numbers = np.concatenate([[0.0], np.cumsum(steps)])
    at_s = float(time_s[0])
    for _ in range(4):
        period_s, at_s = _line(numbers, time_s, width_s)
        if period_s <= 0.0:
            return None
        numbers = np.rint((time_s - at_s) / period_s)
    stray_s = time_s - at_s - numbers * period_s
    std_s = float(np.sqrt(np.sum(stray_s**2) / max(len(stray_s) - 2, 1)))
    usual_s = 1.4826 * float(np.median(np.abs(stray_s - np.median(stray_s))))
    if min(std_s, max(usual_s, float(np.mean(width_s)) / 12**0.5)) > LARGEST_STRAY_FRACTION * period_s:
        return None
    jitter_s = max(usual_s**2 - float(np.mean(width_s**2)) / 12, 0.0) ** 0.5
    return Comb(period_s, at_s, jitter_s)


def _line(numbers: Floats, time_s: Floats, width_s: Floats) -> tuple[float, float]:
    """(slope, time of number 0) of the weighted least-squares line, changes far off it left out."""
    weight = 1.0 / (width_s**2 / 12 + (float(np.mean(width_s)) / 4) ** 2 + 1e-8)
    slope = middle = middle_s = 0.0
    for _ in range(2):
        total = float(np.sum(weight))
        middle, middle_s = float(numbers @ weight) / total, float(time_s @ weight) / total
        spread = float(((numbers - middle) ** 2) @ weight)
        if spread <= 0.0:
            return 0.0, 0.0
        slope = float(((numbers - middle) * (time_s - middle_s)) @ weight) / spread
        stray_s = np.abs(time_s - middle_s - slope * (numbers - middle))
        weight = np.where(stray_s > 4.0 * float(np.median(stray_s)) + 1e-4, weight * STRAY_WEIGHT, weight)
    return slope, middle_s - slope * middle

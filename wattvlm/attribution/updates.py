"""When a sensor's value was renewed: its updates, and the comb (period and phase) that they keep.

A value is renewed at ticks that the host does not see. A driver's own stamps are these ticks; otherwise a new value is
first seen by some read, and its tick lies between that read and the one before. Ticks are far steadier than reads:
with the comb of all ticks each one is known better than its bracket tells. Reads that keep step with the ticks see all
of them from the same side: then all may be early or late together, which no mean over them tells (see `unsure`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.combs import Comb, comb_in_brackets, comb_through, unsure
from wattvlm.attribution.ticks import Counts, Floats, seconds_since
from wattvlm.recording import Readings
from wattvlm.units import S_PER_NS

UNSURE_FRACTION = 0.1
"""A read within this part of a period of where a tick is thought to be may have come before it."""

RAREST_S = 0.25
"""A field beside a counter that is read more rarely than this says next to nothing of it."""

SURE_STRETCH_S = 20e-6
"""Where the first and the last tick may be off against each other by less than this, the period is known."""

NEXT_SHARE, FARTHEST_READS = 0.5, 3
"""Where over half of the changes come one read after another, the reads are the ticks (stamped), or slower than these:
two reads a tick show one in two reads, at most now and then two in a row. Changes more than three reads apart have a
value between them that was renewed with itself; in even power so do many that are two or three apart."""


@dataclass(frozen=True, slots=True)
class Updates:
    """Each renewed value: when (seconds since the origin), how unsure that is (one sigma), and the value.

    comb: None where the values keep no period. shift_s: all may be off by up to this together, beside what std_s says
    of each; stretch: and the time between them by up to this fraction.
    """

    time_s: Floats
    std_s: Floats
    value: Floats
    comb: Comb | None
    shift_s: float = 0.0
    stretch: float = 0.0

    def __len__(self) -> int:
        return len(self.time_s)

    def between(self, start_s: float, end_s: float) -> Updates:
        """The updates inside a stretch of time."""
        inside = (self.time_s >= start_s) & (self.time_s <= end_s)
        return replace(self, time_s=self.time_s[inside], std_s=self.std_s[inside], value=self.value[inside])


def is_rare(updates: Updates) -> bool:
    """True where values are too rare, or their period too unsure, for a power field to tell of phases."""
    rare = float(np.median(np.diff(updates.time_s))) > RAREST_S
    return rare or updates.stretch * float(np.ptp(updates.time_s)) / 2 >= SURE_STRETCH_S


def updates_of(readings: Readings, origin_ns: int, *, is_counter: bool = False) -> Updates | None:
    """The updates in a channel's readings (in order of time), or None where its value never changed.

    is_counter: the readings state the bracket of each change.
    """
    time_s = seconds_since(origin_ns, readings.time_ns)
    changed = np.flatnonzero(np.diff(readings.value) != 0.0) + 1
    if len(changed) < 1:
        return None
    if not is_counter and _are_ticks(changed):
        once = np.concatenate([[True], np.diff(time_s) > 0.0])
        comb = comb_through(time_s[changed], np.zeros(len(changed)))
        return Updates(time_s[once], np.zeros(int(np.sum(once))), readings.value[once], comb)
    begun_s = seconds_since(origin_ns, readings.time_ns - readings.took_ns)
    older_s = begun_s[changed - 1]
    early_s = seconds_since(origin_ns, readings.unchanged_at_ns)[changed] if is_counter else older_s
    early_s, late_s = np.maximum(early_s, older_s), time_s[changed]
    comb = comb_through((early_s + late_s) / 2, late_s - early_s)
    if not is_counter:
        comb = comb_in_brackets(comb, changed, early_s, late_s)
    if comb is None:
        return Updates((early_s + late_s) / 2, (late_s - early_s) / 12**0.5, readings.value[changed], None)
    if is_counter:
        return _with_comb(comb, early_s, late_s, readings.value[changed])
    comb, shift_s, stretch = unsure(comb, early_s, late_s)
    found = _with_comb(comb, early_s, late_s, readings.value[changed])
    whole = _with_ends(found, comb, shift_s, (float(time_s[0]), float(begun_s[-1])), float(readings.value[0]))
    return replace(whole, shift_s=shift_s, stretch=stretch)


def _are_ticks(changed: Counts) -> bool:
    """True where values change from one read to the next, as far as they change."""
    reads = np.diff(changed)
    near = reads[reads <= FARTHEST_READS]
    return int(np.count_nonzero(near == 1)) > NEXT_SHARE * len(near)


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


def _with_ends(found: Updates, comb: Comb, shift_s: float, read_s: tuple[float, float], first_value: float) -> Updates:
    """The updates with those ticks before the first change and after the last that renewed a value with itself.

    Only ticks between reads are known to have done that, wherever in the comb's error they were.
    """
    margin_s = shift_s + max(4.0 * comb.jitter_s, UNSURE_FRACTION * comb.period_s)
    first, last = comb.numbers(found.time_s[[0, -1]])
    before = int(np.ceil((read_s[0] + margin_s - comb.at_s) / comb.period_s))
    after = int(np.floor((read_s[1] - margin_s - comb.at_s) / comb.period_s))
    earlier, later = np.arange(before, first, dtype=np.int64), np.arange(last + 1, after + 1, dtype=np.int64)
    std_s = max(comb.jitter_s, S_PER_NS)
    return replace(
        found,
        time_s=np.concatenate([comb.time_s(earlier), found.time_s, comb.time_s(later)]),
        std_s=np.concatenate([np.full(len(earlier), std_s), found.std_s, np.full(len(later), std_s)]),
        value=np.concatenate([np.full(len(earlier), first_value), found.value, np.full(len(later), found.value[-1])]),
    )

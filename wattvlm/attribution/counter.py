"""What an energy counter says of joules over time: its stretches (see `stretch`), what lies between them and around.

Across a break, and before the first and after the last reading, joules are known by their least (what was counted)
and by the largest power. Without a stated largest power, twice the largest power seen stands in for it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np

from wattvlm.attribution.curve import ASSUMED_RATE, limit_of
from wattvlm.attribution.stretch import Stretch
from wattvlm.attribution.ticks import (
    Break,
    Count,
    Counts,
    Floats,
    Ticks,
    Times,
    is_free_running,
    recover_ticks,
    seconds_since,
    within,
)
from wattvlm.recording import Readings
from wattvlm.sensing import Channel
from wattvlm.units import S_PER_NS

MOST_BREAKS = 200
"""A counter that cannot be trusted this often in one recording is no counter."""


LARGEST_SKEW_S = 0.003
"""Marks of the host and stamps of a device's driver may be off against each other by this much, all of them alike:
on CUDA a host's mark is made before the device begins, and a counter's value is some milliseconds old when it shows."""

LARGEST_SKEW_ON_HOST_S = 0.0001
"""CPU work, its marks and its counter are on one clock, and differ by the time of a read."""

HOST_DOMAINS = ("cpu", "ram")

SKEW_STEP_S = 0.001
"""Bounds are looked up for skews this far apart; in between, both ends of a window are moved apart by the step."""


def largest_skew_s(channel: Channel) -> float:
    """How much all marks together may be off against a channel's readings, in seconds, to either side."""
    return LARGEST_SKEW_ON_HOST_S if channel.domain in HOST_DOMAINS else LARGEST_SKEW_S


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of time with joules of its own kind: known by a Stretch, or only by a least and a largest power."""

    start_s: float
    end_s: float
    power_w: float
    least_j: float = 0.0
    stretch: Stretch | None = None


@dataclass(frozen=True, slots=True)
class CounterCurve:
    """The Curve of an energy counter, in the counter's own joules.

    skew_s: bounds hold for windows whose two ends are off by any one time up to this.
    """

    channel: Channel
    origin_ns: int
    pieces: tuple[_Piece, ...]
    limit_w: float | None
    outside_w: float
    notes: tuple[str, ...] = ()
    skew_s: float = 0.0

    @property
    def span_ns(self) -> tuple[int, int]:
        return self._ns(self.pieces[1].start_s), self._ns(self.pieces[-2].end_s)

    def _ns(self, time_s: float) -> int:
        return self.origin_ns + round(time_s / S_PER_NS)

    def _seconds(self, time_ns: Times) -> Floats:
        return seconds_since(self.origin_ns, time_ns)

    @property
    def step_ns(self) -> Times:
        stretches = [piece.stretch for piece in self.pieces if piece.stretch is not None]
        return self.origin_ns + np.round(np.concatenate([each.knot_s for each in stretches]) / S_PER_NS).astype(
            np.int64
        )

    def middle_j(self, time_ns: Times) -> Floats:
        time_s = self._seconds(time_ns)
        total_j = np.zeros_like(time_s)
        for piece in self.pieces:
            inside_s = within(time_s, piece.start_s, piece.end_s)
            if piece.stretch is None:
                anchor_s = piece.start_s if np.isfinite(piece.start_s) else piece.end_s
                total_j += (inside_s - anchor_s) * piece.power_w
            else:
                total_j += piece.stretch.middle_j(inside_s) - piece.stretch.middle_j(np.array([piece.start_s]))
        return total_j

    def least_j(self, start_ns: Times, end_ns: Times) -> Floats:
        start_s, end_s = self._seconds(start_ns), self._seconds(end_ns)
        found = [self._least_j(start_s + late_s, end_s + early_s) for early_s, late_s in self._skews()]
        return np.asarray(np.min(found, axis=0), np.float64)

    def most_j(self, start_ns: Times, end_ns: Times) -> Floats:
        start_s, end_s = self._seconds(start_ns), self._seconds(end_ns)
        found = [self._most_j(start_s + early_s, end_s + late_s) for early_s, late_s in self._skews()]
        most_j = np.asarray(np.max(found, axis=0), np.float64)
        if self.limit_w is None:
            return most_j
        return np.minimum(most_j, np.maximum(end_s - start_s, 0.0) * self.limit_w)

    def _skews(self) -> list[tuple[float, float]]:
        """Neighbouring skews (early, late): joules up to a time only rise, so that all skews between lie within."""
        steps = max(ceil(2.0 * self.skew_s / SKEW_STEP_S - 1e-9), 1)
        ends_s = [self.skew_s * (2.0 * step / steps - 1.0) for step in range(steps + 1)]
        return list(pairwise(ends_s))

    def _least_j(self, start_s: Floats, end_s: Floats) -> Floats:
        total_j = np.zeros_like(start_s)
        for piece in self.pieces:
            from_s, to_s = within(start_s, piece.start_s, piece.end_s), within(end_s, piece.start_s, piece.end_s)
            if piece.stretch is not None:
                known_j = piece.stretch.low_j(to_s) - piece.stretch.high_j(from_s)
            elif piece.least_j > 0:
                known_j = piece.least_j - self.outside_w * (piece.end_s - piece.start_s - (to_s - from_s))
            else:
                continue
            total_j += np.where(to_s > from_s, np.maximum(known_j, 0.0), 0.0)
        return total_j

    def _most_j(self, start_s: Floats, end_s: Floats) -> Floats:
        total_j = np.zeros_like(start_s)
        for piece in self.pieces:
            from_s, to_s = within(start_s, piece.start_s, piece.end_s), within(end_s, piece.start_s, piece.end_s)
            slope_w = self.outside_w if self.limit_w is None else self.limit_w
            most_j = np.maximum(to_s - from_s, 0.0) * slope_w
            if piece.stretch is not None:
                known_j = piece.stretch.high_j(to_s) - piece.stretch.low_j(from_s)
                most_j = known_j if self.limit_w is None else np.minimum(known_j, most_j)
            else:
                most_j = np.maximum(most_j, np.where(to_s > from_s, piece.least_j, 0.0))
            total_j += np.where(to_s > from_s, most_j, 0.0)
        return total_j

    def low_j(self, start_ns: Times, end_ns: Times) -> Floats:
        return self.least_j(start_ns, end_ns)

    def high_j(self, start_ns: Times, end_ns: Times) -> Floats:
        return self.most_j(start_ns, end_ns)

    def ticks(self, start_ns: Times, end_ns: Times) -> Counts | None:
        if is_free_running(self.channel):
            return None
        late_s = np.concatenate([piece.stretch.ticks.late_s for piece in self.pieces if piece.stretch is not None])
        return np.searchsorted(late_s, self._seconds(end_ns), "right") - np.searchsorted(
            late_s, self._seconds(start_ns), "left"
        )


def counter_curve(channel: Channel, readings: Readings, origin_ns: int) -> CounterCurve | None:
    """The curve of a counter's readings, or None where they hold no tick or nothing but breaks."""
    stated_w = limit_of(channel)
    count = recover_ticks(channel, readings, origin_ns, stated_w)
    if count is None or len(count.breaks) > MOST_BREAKS:
        return None
    resolution_j = channel.resolution_j or 0.0
    limit_w = stated_w
    notes = [*count.notes]
    if stated_w is not None and not all(_fits(ticks, stated_w, resolution_j) for ticks in count.stretches):
        limit_w = None
        notes.append(
            f"{channel.name} counted faster than its stated largest power of {channel.max_power_w:g} W allows; that "
            "limit is not used, and bounds of phases are wider for it"
        )
    outside_w = limit_w if limit_w is not None else ASSUMED_RATE * _largest_rate(count)
    if limit_w is None and count.breaks:
        notes.append(
            f"{channel.name}: no largest power is known, so at most {outside_w:.0f} W, twice the largest seen, is "
            "assumed where its count cannot be trusted"
        )
    stretches = [Stretch(ticks, resolution_j, limit_w, outside_w) for ticks in count.stretches]
    return CounterCurve(
        channel, origin_ns, _pieces(stretches, count.breaks, outside_w), limit_w, outside_w, tuple(notes),
        largest_skew_s(channel),
    )  # fmt: skip


def _largest_rate(count: Count) -> float:
    rates = [np.diff(ticks.energy_j) / np.maximum(np.diff(ticks.late_s), S_PER_NS) for ticks in count.stretches]
    return max((float(np.max(rate)) for rate in rates if len(rate)), default=0.0)


def _fits(ticks: Ticks, limit_w: float, resolution_j: float) -> bool:
    """True where every tick can be reached from every tick before it at no more than `limit_w`."""
    reached_j = np.minimum.accumulate(ticks.energy_j + resolution_j - limit_w * ticks.early_s)
    needed_j = ticks.energy_j - limit_w * ticks.late_s
    slack_j = 1e-9 * (1.0 + abs(float(ticks.energy_j[-1])))
    return bool(np.all(needed_j[1:] <= reached_j[:-1] + slack_j))


def _pieces(stretches: list[Stretch], breaks: tuple[Break, ...], outside_w: float) -> tuple[_Piece, ...]:
    """All time from -inf to inf: before the readings, stretches with breaks between them, and after the readings."""
    first_w = [power for each in stretches if (power := each.end_power_w(first=True)) is not None]
    last_w = [power for each in stretches if (power := each.end_power_w(first=False)) is not None]
    pieces = [_Piece(-np.inf, stretches[0].start_s, _extended_w(first_w[:1], outside_w))]
    for index, stretch in enumerate(stretches):
        pieces.append(_Piece(stretch.start_s, stretch.end_s, 0.0, stretch=stretch))
        if index < len(breaks):
            pieces.append(_broken_piece(breaks[index], stretch, stretches[index + 1], outside_w))
    pieces.append(_Piece(stretches[-1].end_s, np.inf, _extended_w(last_w[-1:], outside_w)))
    return tuple(pieces)


def _extended_w(neighbour_w: list[float], outside_w: float) -> float:
    """The middle power where there is no reading: the neighbour's, or half of what is possible."""
    return min(neighbour_w[0], outside_w) if neighbour_w else outside_w / 2


def _broken_piece(broken: Break, before: Stretch, after: Stretch, outside_w: float) -> _Piece:
    """The middle of a break is its neighbours' power, unless the counter itself accounts for half of that."""
    seconds = max(broken.end_s - broken.start_s, S_PER_NS)
    powers_w = [
        power for power in (before.end_power_w(first=False), after.end_power_w(first=True)) if power is not None
    ]
    neighbours_w = min(float(np.mean(powers_w)), outside_w) if powers_w else 0.0
    counted_w = broken.least_j / seconds
    power_w = counted_w if counted_w >= neighbours_w / 2 else neighbours_w
    return _Piece(broken.start_s, broken.end_s, power_w, broken.least_j)

"""A counter's ticks and the segments of time between them, in small independent groups: clusters.

A long segment (three ticks inside it, or more) is counted directly from its second tick to its last but one; what is
before and after them belongs to the clusters on its two sides, as its head and its tail, each with a power and a slope
of its own, since power drifts inside a decode. What a long segment's body holds is free, so clusters share nothing but
mean powers, and the work is linear in calls. Clusters of one size lie in arrays together, filled up with empty rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats, Ticks, seconds_since
from wattvlm.attribution.timeline import Indices, Timeline
from wattvlm.units import S_PER_NS

LARGEST_LAG_S = 0.005
"""How far the marks may be shifted against the sensor; no tick this close to a boundary is taken as inside."""

TICKS_INSIDE_LONG = 3

MOST_ROWS = 32
"""Clusters with more ticks are cut, so that no matrix grows with the recording."""

ROWS_STEP = 4
"""Clusters whose numbers of rows round up to the same multiple of this are handled together."""

SLOPE_S = 0.1
"""Slopes of heads and tails are in watts over this time."""

LEVEL, HEAD_SLOPE, TAIL_SLOPE = 0, 1, 2
"""What a segment's column stands for: its mean power, or watts that rise from its start, or towards its end."""

STAMP_STD_S = 50e-6
"""Marks and reads are on one clock, but stamped by two processes: one sigma of what is between them."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """J clusters of up to M rows (ticks after the first) and S segments.

    tick_s (J, M + 1), joules (J, M + 1) above the first tick's, noise_j2 (J, M + 1): the variance of each; real
    (J, M): the rows that are ticks. start_s, end_s, kind, row, shape (J, S): the segments, of no length where there is
    none; shape: LEVEL, or a slope beside the level of the same segment.
    first_row, last_row (J,): the part of calls whose counted body ends at the first, begins at the last tick, or -1.
    """

    tick_s: Floats
    joules: Floats
    noise_j2: Floats
    real: NDArray[np.bool_]
    start_s: Floats
    end_s: Floats
    kind: Indices
    row: Indices
    shape: Indices
    first_row: Indices
    last_row: Indices

    def __len__(self) -> int:
        return len(self.tick_s)

    def seconds(self, lag_s: float) -> Floats:
        """Time of each segment between the first tick and each row's, (J, M, S), the marks shifted by a lag.

        Of a slope, that time weighed by its rise.
        """
        low_s, high_s = self.start_s[:, None, :] + lag_s, self.end_s[:, None, :] + lag_s
        passed_s: Floats = np.minimum(np.maximum(self.tick_s[:, :, None], low_s), high_s)
        shape = self.shape[:, None, :]
        passed_s = np.where(shape == HEAD_SLOPE, (passed_s - low_s) ** 2 / (2 * SLOPE_S), passed_s)
        passed_s = np.where(shape == TAIL_SLOPE, -((high_s - passed_s) ** 2) / (2 * SLOPE_S), passed_s)
        return np.asarray(passed_s[:, 1:] - passed_s[:, :1], np.float64)

    def is_kind(self, kinds: int) -> Floats:
        """1 where a segment is of a kind, (J, S, kinds)."""
        return np.asarray(self.kind[:, :, None] == np.arange(kinds), np.float64)

    def chosen(self, which: NDArray[np.bool_] | Indices) -> Clusters:
        """Some of the clusters."""
        return Clusters(
            self.tick_s[which], self.joules[which], self.noise_j2[which], self.real[which], self.start_s[which],
            self.end_s[which], self.kind[which], self.row[which], self.shape[which], self.first_row[which],
            self.last_row[which],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chain:
    """All clusters of a counter. counted_j: joules of the bodies by row.

    of_row: kind -> row, or -1. is_slope: the kinds that are slopes and not powers.
    """

    clusters: tuple[Clusters, ...]
    counted_j: Floats
    of_row: Indices
    is_slope: NDArray[np.bool_]

    @property
    def kinds(self) -> int:
        return len(self.of_row)


_HEADS, _TAILS, _HEAD_SLOPES, _TAIL_SLOPES = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class _Ticks:
    early_s: Floats
    late_s: Floats
    energy_j: Floats
    middle_s: Floats
    noise_j2: Floats


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where clusters end and begin: the left one at tick `end`, the right one at tick `begin`. segment: whose body."""

    end: int
    begin: int
    segment: int = -1


def chain_of(timeline: Timeline, ticks: Ticks, origin_ns: int, resolution_j: float, took_s: float) -> Chain | None:
    """The clusters of an unbroken stretch of ticks, or None where a call is not wholly between two of them.

    took_s: how long a read takes.
    """
    known = _known_ticks(ticks, resolution_j, took_s)
    first_s, last_s = seconds_since(origin_ns, np.array(timeline.in_calls_ns))
    if len(known.late_s) < 2 or known.late_s[0] > first_s - LARGEST_LAG_S or known.early_s[-1] < last_s + LARGEST_LAG_S:
        return None
    start_s, end_s = seconds_since(origin_ns, timeline.start_ns), seconds_since(origin_ns, timeline.end_ns)
    cuts, counted_j = _body_cuts(timeline, known, start_s, end_s)
    spans = _spans(_with_forced_cuts(cuts, len(known.late_s)), len(known.late_s))
    pieces = [_members(timeline, known, start_s, end_s, *span) for span in spans]
    pieces = [piece for piece in pieces if np.any(piece.row >= 0)]
    used = np.unique(np.concatenate([piece.kind[0] for piece in pieces]))
    base = used % len(timeline.kinds)
    joined = tuple(_renumbered(_joined(group), used) for group in _by_size(pieces))
    is_slope = used >= _HEAD_SLOPES * len(timeline.kinds)
    return Chain(joined, counted_j, np.where(base < timeline.rows, base, -1), is_slope)


def _known_ticks(ticks: Ticks, resolution_j: float, took_s: float) -> _Ticks:
    """Ticks with their brackets; a value's variance is that of its place in the bracket, and of its resolution.

    A bracket reaches from the beginning of one read to the end of the next; the value is taken somewhere within each.
    """
    first = 0 if np.isfinite(ticks.early_s[0]) else 1
    early_s, late_s, energy_j = ticks.early_s[first:], ticks.late_s[first:], ticks.energy_j[first:]
    if len(late_s) < 2:
        return _Ticks(early_s, late_s, energy_j, late_s, np.zeros_like(late_s))
    middle_s = (early_s + late_s) / 2
    slope_w = np.diff(energy_j) / np.maximum(np.diff(middle_s), S_PER_NS)
    around_w = (np.append(slope_w, slope_w[-1]) + np.append(slope_w[:1], slope_w)) / 2
    between_s = np.maximum(late_s - early_s - took_s, 0.0)
    place_s2 = between_s**2 / 12 + took_s**2 / 6 + STAMP_STD_S**2
    noise_j2 = around_w**2 * place_s2 + resolution_j**2 / 12
    return _Ticks(early_s, late_s, energy_j, middle_s, np.maximum(noise_j2, 1e-8))


def _body_cuts(timeline: Timeline, ticks: _Ticks, start_s: Floats, end_s: Floats) -> tuple[list[_Cut], Floats]:
    """The bodies of long segments, and their joules by row. A kind is long where nearly all of its segments are."""
    first = np.searchsorted(ticks.early_s, start_s + LARGEST_LAG_S, "left")
    last = np.searchsorted(ticks.late_s, end_s - LARGEST_LAG_S, "right") - 1
    several = last - first + 1 >= TICKS_INSIDE_LONG
    share = np.bincount(timeline.kind, several, len(timeline.kinds)) / np.maximum(timeline.instances, 1)
    cuts = [
        _Cut(int(first[index]) + 1, int(last[index]) - 1, int(index))
        for index in np.flatnonzero(several & (share[timeline.kind] >= 0.75))
    ]
    counted_j = np.zeros(timeline.rows)
    for cut in cuts:
        row = int(timeline.row[cut.segment])
        if row >= 0:
            counted_j[row] += ticks.energy_j[cut.begin] - ticks.energy_j[cut.end]
    return cuts, counted_j


def _with_forced_cuts(cuts: Sequence[_Cut], ticks: int) -> list[_Cut]:
    every: list[_Cut] = []
    begin = 0
    for cut in [*cuts, _Cut(ticks - 1, ticks - 1)]:
        pieces = -(-(cut.end - begin) // MOST_ROWS)
        inner = [begin + (cut.end - begin) * piece // pieces for piece in range(1, pieces)]
        every += [_Cut(tick, tick) for tick in inner]
        every.append(cut)
        begin = cut.begin
    return every[:-1]


def _spans(cuts: Sequence[_Cut], ticks: int) -> list[tuple[int, int, int, int]]:
    """(first tick, last tick, the long segment on the left or -1, the one on the right or -1) of each cluster."""
    borders = [_Cut(0, 0), *cuts, _Cut(ticks - 1, ticks - 1)]
    spans = [(one.begin, two.end, one.segment, two.segment) for one, two in pairwise(borders)]
    return [span for span in spans if span[1] > span[0]]


def _members(
    timeline: Timeline, ticks: _Ticks, start_s: Floats, end_s: Floats, first: int, last: int, left: int, right: int
) -> Clusters:
    """One cluster; its kinds are numbered over all kinds, then their heads, tails, and the slopes of these."""
    middle_s, rows = ticks.middle_s[first : last + 1], last - first
    low = left if left >= 0 else int(np.searchsorted(end_s, float(ticks.middle_s[first]) - LARGEST_LAG_S, "right"))
    high = (
        right if right >= 0 else int(np.searchsorted(start_s, float(ticks.middle_s[last]) + LARGEST_LAG_S, "left")) - 1
    )
    members = list(range(low, high + 1))
    kind = [int(timeline.kind[each]) for each in members]
    shape = [LEVEL] * len(members)
    if right >= 0:
        kind[-1] += _HEADS * len(timeline.kinds)
    if left >= 0:
        kind[0] = int(timeline.kind[left]) + _TAILS * len(timeline.kinds)
    for segment, slope, form in ((right, _HEAD_SLOPES, HEAD_SLOPE), (left, _TAIL_SLOPES, TAIL_SLOPE)):
        if segment >= 0:
            members.append(segment)
            kind.append(int(timeline.kind[segment]) + slope * len(timeline.kinds))
            shape.append(form)
    return Clusters(
        middle_s[None], (ticks.energy_j[first : last + 1] - ticks.energy_j[first])[None],
        ticks.noise_j2[first : last + 1][None], np.ones((1, rows), dtype=bool), start_s[members][None],
        end_s[members][None], np.array([kind]), timeline.row[members][None], np.array([shape]),
        _row_of(timeline, left), _row_of(timeline, right),
    )  # fmt: skip


def _row_of(timeline: Timeline, segment: int) -> Indices:
    return np.array([timeline.row[segment] if segment >= 0 else -1], dtype=np.int64)


def _by_size(pieces: Sequence[Clusters]) -> list[list[Clusters]]:
    sizes: dict[int, list[Clusters]] = {}
    for piece in pieces:
        sizes.setdefault(-(-piece.real.shape[1] // ROWS_STEP), []).append(piece)
    return [sizes[size] for size in sorted(sizes)]


def _joined(pieces: Sequence[Clusters]) -> Clusters:
    rows = max(piece.real.shape[1] for piece in pieces)
    segments = max(piece.kind.shape[1] for piece in pieces)

    shape = len(pieces), segments
    whole = Clusters(
        np.zeros((len(pieces), rows + 1)), np.zeros((len(pieces), rows + 1)), np.ones((len(pieces), rows + 1)),
        np.zeros((len(pieces), rows), dtype=bool), np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64),
        np.full(shape, -1), np.full(shape, LEVEL), np.concatenate([piece.first_row for piece in pieces]),
        np.concatenate([piece.last_row for piece in pieces]),
    )  # fmt: skip
    for index, piece in enumerate(pieces):
        ticks, members = piece.tick_s.shape[1], piece.kind.shape[1]
        whole.tick_s[index, :ticks], whole.tick_s[index, ticks:] = piece.tick_s[0], piece.tick_s[0, -1]
        whole.joules[index, :ticks], whole.joules[index, ticks:] = piece.joules[0], piece.joules[0, -1]
        whole.noise_j2[index, :ticks] = piece.noise_j2[0]
        whole.real[index, : ticks - 1] = True
        for name in ("start_s", "end_s", "kind", "row", "shape"):
            getattr(whole, name)[index, :members] = getattr(piece, name)[0]
        whole.kind[index, members:] = piece.kind[0, -1]
    return whole


def _renumbered(clusters: Clusters, used: Indices) -> Clusters:
    return replace(clusters, kind=np.asarray(np.searchsorted(used, clusters.kind), dtype=np.int64))

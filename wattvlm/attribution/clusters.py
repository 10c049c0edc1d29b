"""A counter's ticks and the segments of time between them, in small independent groups: clusters.

A long segment (three ticks inside it, or more) is counted directly from its second tick to its last but one; what is
before and after them belongs to the clusters on its two sides, as its head and its tail, each with a power and a slope
of its own, since power drifts inside a decode. What a long segment's body holds is free, so clusters share nothing but
mean powers, and the work is linear in calls. Clusters of about one size lie in arrays together, filled up with empty
rows; all of them are made at once, without a loop over calls or ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats, Ticks, seconds_since
from wattvlm.attribution.timeline import MAD_TO_STD, PAUSE, Indices, Timeline
from wattvlm.attribution.views import HEAD_SLOPE, LEVEL, TAIL_SLOPE, Chain, Clusters, CounterView, Segments
from wattvlm.units import S_PER_NS

LARGEST_LAG_S = 0.005
"""How far the marks may be shifted against the sensor; no tick this close to a boundary is taken as inside."""

TICKS_INSIDE_LONG = 3

LONG_SHARE = 0.75
"""A kind is long where at least this share of its segments have so many ticks inside."""

MOST_ROWS = 32
"""Clusters with more ticks are cut, so that no matrix grows with the recording."""

ROWS_STEP = 4
"""Clusters whose numbers of rows round up to the same multiple of this are handled together."""

STAMP_STD_S = 50e-6
"""Marks and reads are on one clock, but stamped by two processes: one sigma of what is between them."""

READ_STD_S = 1e-6
"""A value and its stamp are taken one after the other: one sigma of what is between them."""

_HEADS, _TAILS, _HEAD_SLOPES, _TAIL_SLOPES = 1, 2, 3, 4
"""Kinds are numbered over all kinds of the timeline, then their heads, tails, and the slopes of these."""


@dataclass(frozen=True, slots=True)
class Spans:
    """The stretches of time of clusters, (J,) each.

    low_s, high_s: segments that reach into this time take part. left, right: the long segment whose body ends where
    the cluster begins, and the one whose body begins where it ends; -1 for none.
    """

    low_s: Floats
    high_s: Floats
    left: Indices
    right: Indices

    def chosen(self, which: Indices) -> Spans:
        """Some of the spans."""
        return Spans(self.low_s[which], self.high_s[which], self.left[which], self.right[which])


@dataclass(frozen=True, slots=True)
class KnownTicks:
    """Ticks with their brackets and middles. place_s2: variance of when a value was taken; noise_j2: of its joules."""

    early_s: Floats
    late_s: Floats
    energy_j: Floats
    middle_s: Floats
    place_s2: Floats
    noise_j2: Floats


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Where clusters end and begin: left ones at tick `end`, right ones at tick `begin`. segment: whose body."""

    end: Indices
    begin: Indices
    segment: Indices


def chain_of(
    timeline: Timeline, ticks: Ticks, origin_ns: int, resolution_j: float, took_s: float, is_fast: bool = False
) -> Chain | None:
    """The clusters of an unbroken stretch of ticks, or None where a call is not wholly between two of them.

    took_s: how long a read takes. is_fast: it ticks too fast for its ticks to be seen, and is read when it suits.
    """
    known = known_ticks(ticks, resolution_j, took_s, is_fast)
    first_s, last_s = seconds_since(origin_ns, np.array(timeline.in_calls_ns))
    if len(known.late_s) < 2 or known.late_s[0] > first_s - LARGEST_LAG_S or known.early_s[-1] < last_s + LARGEST_LAG_S:
        return None
    cuts, counted_j = _body_cuts(timeline, known, origin_ns)
    first, last, left, right = _between(cuts, len(known.late_s))
    spans = Spans(known.middle_s[first] - LARGEST_LAG_S, known.middle_s[last] + LARGEST_LAG_S, left, right)
    kept: list[Clusters] = []
    size = -(-(last - first) // ROWS_STEP)
    for each in np.unique(size):
        own = np.flatnonzero(size == each)
        segments = segments_of(timeline, spans.chosen(own), origin_ns)
        made = _clusters(timeline, known, segments, (first[own], last[own], left[own], right[own]))
        kept.append(made.chosen(np.any(segments.row >= 0, axis=1)))
    joules = sum(float(np.sum(np.max(own.values * own.real, axis=1))) for own in kept)
    seconds = sum(float(np.sum(own.to_s - own.from_s)) for own in kept)
    return joined_chain(kept, counted_j, timeline, joules / seconds)


def joined_chain(clusters: Sequence[Clusters], counted_j: Floats, timeline: Timeline, mean_w: float) -> Chain:
    """The chain of clusters, at least one, whose kinds are still numbered over all that the timeline could have.

    counted_j: by row of calls; with one joule more, that of the time between calls, this is a row too.
    """
    kept = [own for own in clusters if len(own)]
    used = np.unique(np.concatenate([np.unique(own.segments.kind) for own in kept]))
    offsets = np.concatenate([np.ravel(own.segments.offset) for own in kept])
    pairs, boundaries = np.unique(offsets[offsets >= 0], return_counts=True)
    has_met = np.concatenate([np.ravel(_has_met(own.segments)) for own in kept])
    met_share = np.bincount(np.searchsorted(pairs, offsets[has_met]), minlength=len(pairs)) / boundaries
    numbered = tuple(
        replace(
            own,
            segments=replace(
                own.segments,
                kind=np.searchsorted(used, own.segments.kind).astype(np.int64),
                offset=np.where(own.segments.offset >= 0, np.searchsorted(pairs, own.segments.offset), -1),
            ),
        )
        for own in kept
    )
    base = used % len(timeline.kinds)
    of_row = np.where(base < timeline.rows, base, -1)
    is_end = np.maximum(pairs // len(timeline.kinds), pairs % len(timeline.kinds)) >= timeline.rows
    is_slope = used >= _HEAD_SLOPES * len(timeline.kinds)
    pauses = np.flatnonzero(used == timeline.kinds.index(PAUSE))
    outside = int(pauses[0]) if len(pauses) and len(counted_j) > timeline.rows else -1
    counted_j = counted_j if outside >= 0 else counted_j[: timeline.rows]
    return Chain(numbered, counted_j, of_row, is_slope, boundaries, met_share, is_end, mean_w, outside)


def _has_met(segments: Segments) -> NDArray[np.bool_]:
    """True for boundaries with a segment of no length beside them, (J, S)."""
    is_empty = segments.end_s <= segments.start_s
    left = np.take_along_axis(is_empty, np.maximum(segments.before, 0), axis=1)
    return np.asarray((segments.offset >= 0) & (is_empty | left), np.bool_)


def segments_of(timeline: Timeline, spans: Spans, origin_ns: int) -> Segments:
    """The columns of clusters: all segments in their time, then the slopes of a tail on the left and a head."""
    start_s, end_s = seconds_since(origin_ns, timeline.start_ns), seconds_since(origin_ns, timeline.end_ns)
    low = np.where(spans.left >= 0, spans.left, np.searchsorted(end_s, spans.low_s, "right"))
    high = np.where(spans.right >= 0, spans.right, np.searchsorted(start_s, spans.high_s, "left") - 1)
    low = np.minimum(low, len(start_s) - 1)
    count = np.maximum(high - low, 0) + 1
    column = np.arange(int(np.max(count)))
    exists = column < count[:, None]
    member = np.where(exists, low[:, None] + column, low[:, None])
    kinds = len(timeline.kinds)
    kind = timeline.kind[member]
    is_tail = (column == 0) & (spans.left >= 0)[:, None]
    is_head = (column == count[:, None] - 1) & (spans.right >= 0)[:, None]
    kind = np.where(is_head, timeline.kind[member] + _HEADS * kinds, kind)
    kind = np.where(is_tail, timeline.kind[member] + _TAILS * kinds, kind)
    kind = np.where(exists, kind, kind[:, :1])
    has_boundary = exists & (column > 0)
    pair = timeline.kind[np.maximum(member - 1, 0)] * kinds + timeline.kind[member]
    length = np.where(exists, 1.0, 0.0)
    lengths = timeline.lengths
    levels = Segments(
        start_s[member] * length,
        end_s[member] * length,
        kind,
        np.where(exists, timeline.row[member], -1),
        np.full(member.shape, LEVEL),
        np.where(has_boundary, column - 1, -1),
        np.where(has_boundary, pair, -1),
        np.where(has_boundary, timeline.start_std_ns[member] * S_PER_NS, 0.0),
        np.where(exists, lengths.longer_s[member], 0.0),
        np.where(exists, lengths.length_s2[member], np.inf),
        np.where(exists, lengths.overlap_s[member], 0.0),
        np.where(exists, lengths.overlap_s2[member], 0.0),
    )
    slopes = [
        _slope_column(timeline, start_s, end_s, segment, variant, shape, kind[:, :1])
        for segment, variant, shape in (
            (spans.right, _HEAD_SLOPES, HEAD_SLOPE), (spans.left, _TAIL_SLOPES, TAIL_SLOPE)
        )
    ]  # fmt: skip
    return levels.beside(*slopes)


def _slope_column(
    timeline: Timeline, start_s: Floats, end_s: Floats, segment: Indices, variant: int, shape: int, other: Indices
) -> Segments:
    """One column: the slope of a long segment; of no length and of another kind where a cluster has none."""
    exists = (segment >= 0)[:, None]
    member = np.maximum(segment, 0)[:, None]
    none = np.full(member.shape, -1)
    return Segments(
        np.where(exists, start_s[member], 0.0), np.where(exists, end_s[member], 0.0),
        np.where(exists, timeline.kind[member] + variant * len(timeline.kinds), other),
        np.where(exists, timeline.row[member], -1), np.where(exists, shape, LEVEL), none, none,
        np.zeros(member.shape), np.zeros(member.shape), np.full(member.shape, np.inf), np.zeros(member.shape),
        np.zeros(member.shape),
    )  # fmt: skip


def _clusters(
    timeline: Timeline, ticks: KnownTicks, segments: Segments, ends: tuple[Indices, Indices, Indices, Indices]
) -> Clusters:
    """The clusters of one size. ends: first tick, last tick, the long segment on the left or -1, on the right or -1."""
    first, last, left, right = ends
    rows = np.arange(1, int(np.max(last - first)) + 1)
    real = first[:, None] + rows <= last[:, None]
    tick = np.minimum(first[:, None] + rows, last[:, None])
    every = np.concatenate([first[:, None], tick], axis=1)
    return Clusters(
        segments,
        CounterView(ticks.middle_s[every]),
        ticks.energy_j[tick] - ticks.energy_j[first][:, None],
        np.where(real, ticks.noise_j2[tick], 1.0),
        ticks.noise_j2[first],
        real,
        ticks.middle_s[first],
        ticks.middle_s[last],
        np.where(left >= 0, timeline.row[left], -1),
        np.where(right >= 0, timeline.row[right], -1),
    )


def known_ticks(ticks: Ticks, resolution_j: float, took_s: float, is_fast: bool) -> KnownTicks:
    """Ticks with their brackets; a value's variance is that of its place in the bracket, and of its resolution.

    A bracket reaches from the beginning of one read to the end of the next; the value is taken somewhere within each.
    Where each read shows a new value, the counter ticks faster than it is read. Its values then belong to the reads,
    as old as the lag says, and vary by what their age does.
    """
    first = 0 if np.isfinite(ticks.early_s[0]) else 1
    early_s, late_s, energy_j = ticks.early_s[first:], ticks.late_s[first:], ticks.energy_j[first:]
    if len(late_s) < 2:
        return KnownTicks(early_s, late_s, energy_j, late_s, np.zeros_like(late_s), np.zeros_like(late_s))
    is_sampled = bool(np.median(early_s[1:] - late_s[:-1]) <= 0.0) or is_fast
    middle_s = late_s - took_s / 2 if is_sampled else (early_s + late_s) / 2
    slope_w = np.diff(energy_j) / np.maximum(np.diff(middle_s), S_PER_NS)
    around_w = (np.append(slope_w, slope_w[-1]) + np.append(slope_w[:1], slope_w)) / 2
    between_s = np.maximum(late_s - early_s - took_s, 0.0)
    place_s2 = between_s**2 / 12 + took_s**2 / 6 + STAMP_STD_S**2
    if is_sampled:
        place_s2 = np.minimum(place_s2, _staleness_std_s(middle_s, energy_j, around_w) ** 2 + READ_STD_S**2)
    noise_j2 = around_w**2 * place_s2 + resolution_j**2 / 12
    return KnownTicks(early_s, late_s, energy_j, middle_s, place_s2, np.maximum(noise_j2, 1e-8))


def _staleness_std_s(time_s: Floats, energy_j: Floats, around_w: Floats) -> float:
    """How much the age of a counter's values differs from read to read, one sigma, from values in even power.

    A value that is older than its neighbours' lies below the line between them. Most reads lie in even power, so the
    median tells the age and not the load.
    """
    if len(time_s) < 3:
        return float("inf")
    share = (time_s[1:-1] - time_s[:-2]) / np.maximum(time_s[2:] - time_s[:-2], S_PER_NS)
    line_j = energy_j[:-2] + share * (energy_j[2:] - energy_j[:-2])
    off_s: Floats = np.abs(energy_j[1:-1] - line_j) / np.maximum(around_w[1:-1], 1e-3)
    return float(np.median(off_s) * (MAD_TO_STD / np.sqrt(1.5)))


def _body_cuts(timeline: Timeline, ticks: KnownTicks, origin_ns: int) -> tuple[_Cuts, Floats]:
    """The bodies of long segments, and their joules by row."""
    start_s, end_s = seconds_since(origin_ns, timeline.start_ns), seconds_since(origin_ns, timeline.end_ns)
    first = np.searchsorted(ticks.early_s, start_s + LARGEST_LAG_S, "left")
    last = np.searchsorted(ticks.late_s, end_s - LARGEST_LAG_S, "right") - 1
    several = last - first + 1 >= TICKS_INSIDE_LONG
    share = np.bincount(timeline.kind, several, len(timeline.kinds)) / np.maximum(timeline.instances, 1)
    segment = np.flatnonzero(several & (share[timeline.kind] >= LONG_SHARE))
    cuts = _Cuts(first[segment] + 1, last[segment] - 1, segment)
    row = timeline.row[segment]
    inside = row >= 0
    body_j = ticks.energy_j[cuts.begin] - ticks.energy_j[cuts.end]
    return cuts, np.bincount(row[inside], body_j[inside], timeline.rows).astype(np.float64)


def _between(cuts: _Cuts, ticks: int) -> tuple[Indices, Indices, Indices, Indices]:
    """First and last tick of each cluster, and the long segments on its left and right; no cluster over MOST_ROWS."""
    none = np.array([-1])
    begin = np.concatenate([[0], cuts.begin])
    length = np.concatenate([cuts.end, [ticks - 1]]) - begin
    pieces = np.maximum(-(-length // MOST_ROWS), 1)
    gap = np.repeat(np.arange(len(pieces)), pieces)
    piece = np.arange(len(gap)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = begin[gap] + length[gap] * piece // pieces[gap]
    last = begin[gap] + length[gap] * (piece + 1) // pieces[gap]
    left = np.where(piece == 0, np.concatenate([none, cuts.segment])[gap], -1)
    right = np.where(piece == pieces[gap] - 1, np.concatenate([cuts.segment, none])[gap], -1)
    some = last > first
    return first[some], last[some], left[some], right[some]

"""How much boundaries may be off, each on its own, given what their marks say of the lengths of segments."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import Blur, Chain, Clusters

SAME_LENGTH_STD_S = 20e-6
"""Segments that are alike are taken to differ in length by this much at least, one sigma."""

SMALLEST_JITTER_S = 1e-7

SHARP_STD_S = 1e-6
"""What boundaries are off by less is nothing."""

JITTERS_S = (0.0, 0.2e-3, 0.5e-3, 1e-3, 2e-3, 3.5e-3)
"""How much boundaries may be off, each on its own, where their marks do not say more of it: one sigma."""

MOST_OF_LENGTHS = 1.25
"""Lengths of segments by the marks vary by what their two ends are off, at least: so many times that is considered."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """One sigma of what each boundary is off by itself. ends_sharp: those where calls begin and end are not."""

    jitter_s: float
    ends_sharp: bool = False


SHARP = Unsure(0.0)


def places_of(chain: Chain) -> tuple[Unsure, ...]:
    """The grid of how unsure boundaries may be, the first one sharp: up to what lengths that are alike allow."""
    lengths_s2 = np.concatenate([np.ravel(own.segments.length_s2) for own in chain.clusters])
    every = lengths_s2[np.isfinite(lengths_s2)]
    if not len(every):
        return tuple(map(Unsure, JITTERS_S))
    most_s = min(max(float(np.median(every) / 2) ** 0.5, SAME_LENGTH_STD_S), JITTERS_S[-1] / MOST_OF_LENGTHS)
    all_s = *(each for each in JITTERS_S if each < most_s / MOST_OF_LENGTHS), most_s, MOST_OF_LENGTHS * most_s
    inside = () if np.all(chain.is_end) or not np.any(chain.is_end) else all_s[-2:]
    return *map(Unsure, all_s), *(Unsure(each, ends_sharp=True) for each in inside)


@dataclass(frozen=True, slots=True)
class Jitter:
    """What boundaries are off, given their marks.

    clusters: with boundaries moved to where they are expected; blur: how far from there they may be, None where they
    are sharp. boundary (B,): the columns whose starts are boundaries; root_s (J, B, B): a root of the covariance of
    what these are off. log_likelihood: of the lengths of segments by the marks.
    """

    clusters: Clusters
    blur: Blur | None
    boundary: NDArray[np.intp]
    root_s: Floats
    log_likelihood: float


def jitter_of(clusters: Clusters, unsure: Unsure) -> Jitter:
    """Segments that are alike have lengths that differ by a variance of their own, and by what their ends are off.

    So one that is longer than its like by the marks has ends that are off inwards, as far as its like do not differ.
    Where two marks have met, the second would have lain before the first.
    """
    own = clusters.segments
    boundary = np.flatnonzero(np.any(own.before >= 0, axis=0))
    real = own.before[:, boundary] >= 0
    jitter_s2 = np.full(real.shape, unsure.jitter_s**2)
    if unsure.ends_sharp:
        left_row = np.take_along_axis(own.row, np.maximum(own.before[:, boundary], 0), axis=1)
        jitter_s2[(left_row < 0) | (own.row[:, boundary] < 0)] = 0.0
    variance_s2 = np.where(real, jitter_s2 + own.boundary_std_s[:, boundary] ** 2, 0.0)
    columns = np.asarray(np.arange(own.kind.shape[1]), np.int64)
    ends: Floats = np.asarray(real[:, :, None] & (own.before[:, boundary, None] == columns), np.float64)
    starts: Floats = np.asarray((boundary[:, None] == columns) & real[:, :, None], np.float64)
    both = (np.sum(ends, axis=1) > 0) & (np.sum(starts, axis=1) > 0) & np.isfinite(own.length_s2)
    longer: Floats = np.swapaxes((ends - starts) * both[:, None, :], 1, 2)
    of_ends_s2 = np.sum(longer**2 * variance_s2[:, None, :], axis=2)
    crossed = np.minimum(of_ends_s2 / np.maximum(own.length_s2, SAME_LENGTH_STD_S**2), 1.0)
    overlap_s, overlap_s2 = crossed**0.5 * own.overlap_s, crossed * own.overlap_s2
    natural_s2 = np.maximum(np.where(both, own.length_s2 - of_ends_s2, 1.0), SAME_LENGTH_STD_S**2) + overlap_s2
    spread: Floats = longer * variance_s2[:, None, :]
    of_lengths: Floats = spread @ np.swapaxes(longer, 1, 2) + natural_s2[:, :, None] * np.eye(len(columns))
    factor = np.asarray(np.linalg.cholesky(of_lengths), np.float64)
    both_sides = np.concatenate([spread, (own.longer_s - overlap_s)[:, :, None]], axis=2)
    white = np.asarray(np.linalg.solve(factor, both_sides), np.float64)
    gain, longer_white = white[:, :, :-1], white[:, :, -1]
    pushed_s: Floats = np.asarray((ends @ overlap_s[:, :, None])[:, :, 0], np.float64)
    pushed_s2: Floats = np.asarray((ends @ overlap_s2[:, :, None])[:, :, 0], np.float64)
    covariance = (variance_s2 + pushed_s2 + SMALLEST_JITTER_S**2)[:, :, None] * np.eye(len(boundary))
    covariance = covariance - np.swapaxes(gain, 1, 2) @ gain
    of_each = np.log(np.diagonal(factor, axis1=1, axis2=2)) + 0.5 * longer_white**2
    moved_s = -np.sum(gain * longer_white[:, :, None], axis=1) - pushed_s
    moved, blur = _moved(clusters, boundary, ends, moved_s, np.diagonal(covariance, axis1=1, axis2=2))
    root_s = np.asarray(np.linalg.cholesky(covariance), np.float64)
    return Jitter(moved, blur, boundary, root_s, -float(np.sum(np.where(both, of_each, 0.0))))


def _moved(
    clusters: Clusters, boundary: NDArray[np.intp], ends: Floats, moved_s: Floats, variance_s2: Floats
) -> tuple[Clusters, Blur | None]:
    """Clusters with their boundaries moved, and how far from there these may be (uniform, of the same variance)."""
    if float(np.max(variance_s2, initial=0.0)) < SHARP_STD_S**2:
        return clusters, None
    own = clusters.segments
    start_s: Floats = np.array(own.start_s, dtype=np.float64)
    start_s[:, boundary] += moved_s
    blur_s: Floats = np.full(own.start_s.shape, SHARP_STD_S, np.float64)
    blur_s[:, boundary] = np.maximum(np.sqrt(3.0 * variance_s2), SHARP_STD_S)
    back = np.swapaxes(ends, 1, 2)
    end_s = own.end_s + (back @ moved_s[:, :, None])[:, :, 0]
    end_blur_s = np.maximum((back @ blur_s[:, boundary, None])[:, :, 0], SHARP_STD_S)
    return replace(clusters, segments=replace(own, start_s=start_s, end_s=end_s)), Blur(blur_s, end_blur_s)

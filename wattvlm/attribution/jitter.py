"""How much boundaries may be off, each on its own, given what their marks say of the lengths of segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.ticks import Floats
from wattvlm.attribution.views import Clusters

SAME_LENGTH_STD_S = 20e-6
"""Segments that are alike are taken to differ in length by this much at least, one sigma."""

SMALLEST_JITTER_S = 1e-7


@dataclass(frozen=True, slots=True)
class Jitter:
    """How much boundaries are off, given their marks: a mean (J, B) and a root of the covariance (J, B, B), in seconds.

    log_likelihood: of the lengths of segments by the marks.
    """

    mean_s: Floats
    root_s: Floats
    log_likelihood: float


def jitter_of(clusters: Clusters, boundary: NDArray[np.intp], jitter_s: float) -> Jitter:
    """Segments that are alike have lengths that differ by a variance of their own, and by what their ends are off.

    So one that is longer than its like by the marks has ends that are off inwards, as far as its like do not differ.
    """
    own = clusters.segments
    real = own.before[:, boundary] >= 0
    variance_s2 = np.where(real, jitter_s**2 + own.boundary_std_s[:, boundary] ** 2, 0.0)
    columns = np.asarray(np.arange(own.kind.shape[1]), np.int64)
    ends: Floats = np.asarray(own.before[:, boundary, None] == columns, np.float64)
    starts: Floats = np.asarray((boundary[:, None] == columns) & real[:, :, None], np.float64)
    both = (np.sum(ends, axis=1) > 0) & (np.sum(starts, axis=1) > 0) & np.isfinite(own.length_s2)
    longer: Floats = np.swapaxes((ends - starts) * both[:, None, :], 1, 2)
    natural_s2 = own.length_s2 - np.sum(longer**2 * variance_s2[:, None, :], axis=2)
    natural_s2 = np.maximum(np.where(both, natural_s2, 1.0), SAME_LENGTH_STD_S**2)
    spread: Floats = longer * variance_s2[:, None, :]
    of_lengths: Floats = spread @ np.swapaxes(longer, 1, 2) + natural_s2[:, :, None] * np.eye(len(columns))
    factor = np.asarray(np.linalg.cholesky(of_lengths), np.float64)
    white = np.asarray(np.linalg.solve(factor, np.concatenate([spread, own.longer_s[:, :, None]], axis=2)), np.float64)
    gain, longer_white = white[:, :, :-1], white[:, :, -1]
    least_s2 = SMALLEST_JITTER_S**2 * np.eye(len(boundary))
    covariance = variance_s2[:, :, None] * np.eye(len(boundary)) - np.swapaxes(gain, 1, 2) @ gain + least_s2
    of_each = np.log(np.diagonal(factor, axis1=1, axis2=2)) + 0.5 * longer_white**2
    return Jitter(
        -np.sum(gain * longer_white[:, :, None], axis=1),
        np.asarray(np.linalg.cholesky(covariance), np.float64),
        -float(np.sum(np.where(both, of_each, 0.0))),
    )

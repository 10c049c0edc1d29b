"""The power of a domain over the block, for pictures: its sensors' own steps, thinned to what a picture can show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.ticks import Floats, Times
from wattvlm.clock import WallAnchor
from wattvlm.recording import Recording
from wattvlm.report import PowerTrack
from wattvlm.trace import Block
from wattvlm.units import S_PER_NS

MOST_STEPS = 2000
"""As many as a wide screen has columns of pixels; each step keeps the least and the most of what it stands for."""

MOST_LOOKED_AT = 20 * MOST_STEPS
"""Of more ticks than this (several boards, each with its own) each so-many-th is looked at for least and most."""

_DECIMALS = 3
"""A milliwatt is what the finest of these sensors resolve (NVML); more digits only fill the file."""


def tracks_of(domains: Sequence[DomainCurves], block: Block) -> tuple[PowerTrack, ...]:
    """The power of each domain that has readings in the block."""
    tracks = (_track(found, block) for found in domains)
    return tuple(track for track in tracks if track is not None)


def _track(found: DomainCurves, block: Block) -> PowerTrack | None:
    """A domain's power between the readings that all its sensors have in the block; None where there are none."""
    start_ns = max(block.start_ns, *(curve.span_ns[0] for curve in found.curves))
    end_ns = min(block.end_ns, *(curve.span_ns[1] for curve in found.curves))
    if end_ns <= start_ns:
        return None
    steps_ns = _unique_inside(np.concatenate([curve.step_ns for curve in found.curves]), start_ns, end_ns)
    looked_at_ns = steps_ns[:: -(-len(steps_ns) // MOST_LOOKED_AT) or 1]
    edge_ns = np.concatenate([[start_ns], looked_at_ns, [end_ns]]).astype(np.int64)
    summed_j = np.sum([curve.middle_j(edge_ns) for curve in found.curves], axis=0)
    power_w = np.diff(summed_j) / (np.diff(edge_ns) * S_PER_NS)
    together = -(-len(power_w) // MOST_STEPS)
    first = np.arange(0, len(power_w), together)
    edges = np.append(first, len(power_w))
    mean_w = np.diff(summed_j[edges]) / (np.diff(edge_ns[edges]) * S_PER_NS)
    return PowerTrack(
        found.domain,
        edge_ns[edges],
        _rounded(mean_w),
        _rounded(np.minimum.reduceat(power_w, first)),
        _rounded(np.maximum.reduceat(power_w, first)),
        _ticks(found, start_ns, end_ns),
        found.method == "modelled",
    )


def anchor_of(recording: Recording, block: Block) -> WallAnchor | None:
    """The last anchor before the block, else the first; None where the wall clock was not read."""
    earlier = [anchor for anchor in recording.wall_anchors if anchor.monotonic_ns <= block.start_ns]
    return earlier[-1] if earlier else next(iter(recording.wall_anchors), None)


def _unique_inside(time_ns: Times, start_ns: int, end_ns: int) -> Times:
    """Sorted, each once. Several runs that are in order each: a stable sort merges them, which `unique` does not."""
    inside_ns = np.sort(time_ns[(time_ns > start_ns) & (time_ns < end_ns)], kind="stable")
    return inside_ns[np.diff(inside_ns, prepend=start_ns) > 0]


def _rounded(power_w: Floats) -> Floats:
    return np.round(power_w, _DECIMALS) + 0.0


def _ticks(found: DomainCurves, start_ns: int, end_ns: int) -> Times:
    """When the values of counters changed, where every change is seen and there are not too many to show."""
    window = np.array([start_ns], dtype=np.int64), np.array([end_ns], dtype=np.int64)
    seen = [curve.step_ns for curve in found.curves
            if curve.channel.method == "counter" and curve.ticks(*window) is not None]  # fmt: skip
    ticks = _unique_inside(np.concatenate([np.zeros(0, np.int64), *seen]), start_ns, end_ns)
    return ticks if len(ticks) <= MOST_STEPS else np.zeros(0, np.int64)

"""Joules of each sensor so far, for as long as it runs: what each reading adds, never less than before."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic_ns
from typing import TYPE_CHECKING

import numpy as np

from wattvlm.attribution.calibrated import calibrated
from wattvlm.attribution.domains import sources_of
from wattvlm.sampling.sampler import shared_sampler
from wattvlm.sensing import Domain
from wattvlm.trace import Block, Mark
from wattvlm.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from wattvlm.recording import Readings
    from wattvlm.sensing import ProbeSource

_SHORTEST_STEP_NS = 100 * NS_PER_MS

_SLOWEST_SENSOR_NS = 60 * NS_PER_S
"""A sensor that has given nothing for longer than this before a look has stopped."""


@dataclass(slots=True)
class LiveEnergy:
    """One sensor since it was first read: joules up to until_ns, and its mean power since the look before.

    device: the board. modelled: an estimate, not a measurement.
    """

    domain: Domain
    device: str
    modelled: bool
    until_ns: int
    energy_j: float = 0.0
    power_w: float = 0.0

    def add(self, energy_j: float, from_ns: int, until_ns: int) -> None:
        """Joules of a stretch that follows on what is counted; nothing of an empty one."""
        if until_ns > from_ns:
            self.energy_j += max(0.0, energy_j)
            self.power_w = max(0.0, energy_j) / (until_ns - from_ns) * NS_PER_S
            self.until_ns = until_ns


class LiveEnergies:
    """Counts joules while it is open, by itself: no model call is looked for, and nothing is kept but the sums.

    probes: as in `meter`. A look takes some milliseconds of this process.
    """

    def __init__(self, probes: Sequence[ProbeSource] | None = None) -> None:
        self._probes = probes
        self._lock = threading.Lock()
        self._found: dict[str, LiveEnergy] = {}
        self._block_id = 0
        self._from_ns = 0

    def __enter__(self) -> LiveEnergies:
        self._keep_readings(monotonic_ns())
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go(self._block_id)
        self._block_id = 0

    def look(self) -> Sequence[LiveEnergy]:
        """The sums up to the newest reading of each sensor; the same again within a tenth of a second."""
        with self._lock:
            now_ns = monotonic_ns()
            if self._block_id and now_ns - self._from_ns >= _SHORTEST_STEP_NS:
                self._add(now_ns)
                former = self._block_id
                self._keep_readings(now_ns)
                self._let_go(former)
            return tuple(replace(each) for each in self._found.values())

    def _add(self, now_ns: int) -> None:
        since_ns = min([self._from_ns, *(each.until_ns for each in self._found.values())])
        since_ns = max(since_ns, self._from_ns - _SLOWEST_SENSOR_NS)
        recording = calibrated(shared_sampler(self._probes).recording(since_ns, now_ns).with_calibrations()).recording
        for found in sources_of(recording, Block(0, since_ns, now_ns)).domains:
            for curve in found.curves:
                channel, (first_ns, last_ns) = curve.channel, curve.span_ns
                known = self._found.setdefault(
                    channel.name,
                    LiveEnergy(found.domain, channel.board, found.method == "modelled", max(first_ns, self._from_ns)),
                )
                from_ns = max(first_ns, known.until_ns)
                if channel.method == "counter":
                    known.add(*counted(recording.readings[channel.name], channel.wraps_at_j, from_ns))
                elif last_ns > from_ns:
                    start_j, end_j = curve.middle_j(np.array([from_ns, last_ns], dtype=np.int64)).tolist()
                    known.add(end_j - start_j, from_ns, last_ns)

    def _keep_readings(self, from_ns: int) -> None:
        """From here on readings are needed, as if a meter were open."""
        self._block_id, self._from_ns = next(_IDS), from_ns
        shared_sampler(self._probes).mark(Mark(from_ns, "block_start", self._block_id))

    def _let_go(self, block_id: int) -> None:
        sampler = shared_sampler(self._probes)
        sampler.mark(Mark(monotonic_ns(), "block_end", block_id))
        sampler.forget(block_id)


def counted(readings: Readings, wraps_at_j: float | None, from_ns: int) -> tuple[float, int, int]:
    """Joules from the first reading at or after a time to the last, by the counter's own values, and these two times.

    Not by a curve through the readings: what it says between ticks is another thing at each look.
    """
    chosen = readings.time_ns >= from_ns
    time_ns, value_j = readings.time_ns[chosen], readings.value[chosen]
    if len(time_ns) < 2:
        return 0.0, from_ns, from_ns
    steps_j = np.diff(value_j)
    after_reset_j = value_j[1:] if wraps_at_j is None else steps_j + wraps_at_j
    added_j = float(np.where(steps_j < 0, after_reset_j, steps_j).sum())
    return added_j, int(time_ns[0]), int(time_ns[-1])


_IDS = itertools.count(-1, -1)
"""Beside those of meters, which are positive."""

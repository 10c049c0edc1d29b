"""Joules of many parts at once: windows looked up on the curves of a domain's channels, and summed over channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.curve import TWO_SIDED_95, Curve
from wattvlm.attribution.ticks import Counts, Floats, Times
from wattvlm.attribution.windows import WindowColumns
from wattvlm.energy import Energy, Provenance
from wattvlm.sensing import Channel
from wattvlm.units import S_PER_NS


@dataclass(frozen=True, slots=True)
class PartJoules:
    """Middle, 95 % interval, hard bounds and ticks of numbered parts; gains_j: board -> 95 % gain joules.

    ticks: of the channel that has the fewest; None where one has none that are seen. draws_j: of a single part whose
    interval is that of joint draws.
    """

    method: Provenance
    middle_j: Floats
    low_j: Floats
    high_j: Floats
    least_j: Floats
    most_j: Floats
    ticks: Counts | None
    gains_j: Mapping[str, Floats]
    draws_j: Floats | None = None

    def with_draws(self, draws_j: Floats, gains_j: Mapping[str, float]) -> PartJoules:
        """The only part with joint draws in place of its middle and interval; what the readings allow is kept."""
        energy = Energy.from_draws(draws_j, self.method)
        return replace(
            self, middle_j=np.array([energy.middle_j]), low_j=np.array([energy.interval_j[0]]),
            high_j=np.array([energy.interval_j[1]]), draws_j=draws_j,
            gains_j={board: np.array([gain_j]) for board, gain_j in gains_j.items()},
        )  # fmt: skip

    def alone(self, index: int) -> PartJoules:
        """One part alone."""
        return replace(
            self, middle_j=self.middle_j[[index]], low_j=self.low_j[[index]], high_j=self.high_j[[index]],
            least_j=self.least_j[[index]], most_j=self.most_j[[index]],
            ticks=None if self.ticks is None else self.ticks[[index]],
            gains_j={board: gain_j[[index]] for board, gain_j in self.gains_j.items()},
        )  # fmt: skip

    def narrowed(
        self,
        index: int,
        middle_j: float,
        ends_j: tuple[float, float],
        gains_j: Mapping[str, Floats],
        instead: bool = False,
    ) -> PartJoules:
        """One part alone, its bounds cut to others that hold as well; as it was where the two share nothing."""
        least_j, most_j = self.bounds(index)
        low_j, high_j = ends_j if instead else (max(least_j, ends_j[0]), min(most_j, ends_j[1]))
        ticks = None if self.ticks is None else self.ticks[[index]]
        if low_j > high_j:
            return self.alone(index)
        low, high, middle = np.array([low_j]), np.array([high_j]), np.array([max(low_j, min(middle_j, high_j))])
        return PartJoules(self.method, middle, low, high, low, high, ticks, gains_j)

    def summed(self, groups: Sequence[Sequence[int]], divisor: float = 1.0) -> PartJoules:
        """New parts, each the sum of old ones over a divisor (ticks are not divided)."""
        owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        members = np.array([index for group in groups for index in group], dtype=np.int64)

        def added(column: Floats | Counts) -> Floats:
            return np.asarray(np.bincount(owner, column[members], len(groups)) / divisor, dtype=np.float64)

        ticks = None if self.ticks is None else np.rint(added(self.ticks) * divisor).astype(np.int64)
        return PartJoules(
            self.method, added(self.middle_j), added(self.low_j), added(self.high_j), added(self.least_j),
            added(self.most_j), ticks, {board: added(gain_j) for board, gain_j in self.gains_j.items()},
        )  # fmt: skip

    def plus(self, other: PartJoules) -> PartJoules:
        """Each part with the same part of another set added; bounds of different parts add up."""
        ticks = None if self.ticks is None or other.ticks is None else self.ticks + other.ticks
        return PartJoules(
            self.method, self.middle_j + other.middle_j, self.low_j + other.low_j, self.high_j + other.high_j,
            self.least_j + other.least_j, self.most_j + other.most_j, ticks,
            {board: gain_j + other.gains_j[board] for board, gain_j in self.gains_j.items()},
        )  # fmt: skip

    def energy(self, index: int) -> Energy:
        """One part's joules."""
        gains_j = {board: float(gain_j[index]) for board, gain_j in self.gains_j.items() if gain_j[index] != 0.0}
        if self.draws_j is not None:
            return Energy.from_draws(self.draws_j, self.method, gains_j)
        interval_j = float(self.low_j[index]), float(self.high_j[index])
        return Energy(float(self.middle_j[index]), interval_j, self.method, gains_j)

    def bounds(self, index: int) -> tuple[float, float]:
        """What the readings alone allow for one part, in joules."""
        return float(self.least_j[index]), float(self.most_j[index])

    def ticks_of(self, index: int) -> int | None:
        """Sensor updates inside one part; None where they are not seen."""
        return None if self.ticks is None else int(self.ticks[index])


def domain_joules(curves: Sequence[Curve], method: Provenance, windows: WindowColumns) -> PartJoules:
    """Joules of each part over all channels of a domain. Intervals add up: channels may err together."""
    middle_j, low_j, high_j, least_j, most_j = np.zeros((5, windows.parts), dtype=np.float64)
    ticks: Counts | None = np.full(windows.parts, np.iinfo(np.int64).max)
    gains_j: dict[str, Floats] = {}
    seconds = _by_part(windows, np.asarray((windows.end_ns - windows.start_ns) * S_PER_NS, np.float64))
    for curve in curves:
        own_j = _by_part(windows, curve.middle_j(windows.end_ns) - curve.middle_j(windows.start_ns))
        hard = _bounds(windows, curve.least_j, curve.most_j, own_j)
        is_counter = curve.channel.method == "counter"  # whose interval is what its readings allow
        likely = hard if is_counter else _bounds(windows, curve.low_j, curve.high_j, own_j)
        middle_j += own_j
        least_j, most_j = least_j + hard[0], most_j + hard[1]
        low_j, high_j = low_j + likely[0], high_j + likely[1]
        seen = curve.ticks(windows.start_ns, windows.end_ns)
        if seen is None or ticks is None:
            ticks = None
        else:
            ticks = np.minimum(ticks, np.bincount(windows.part, seen, windows.parts).astype(np.int64))
        if method == "measured":
            board = curve.channel.board
            gain_j = gain_error_j(curve.channel, own_j, seconds)
            gains_j[board] = gains_j.get(board, 0.0) + gain_j
    return PartJoules(method, middle_j, low_j, high_j, least_j, most_j, ticks, gains_j)


def gain_error_j(channel: Channel, joules: Floats, seconds: Floats) -> Floats:
    """95 % half-width of what the gain, and what a calibration left of the offset, may be off in joules, with sign."""
    fraction_j, offset_j = channel.gain_std_fraction * joules, channel.offset_std_w * seconds
    return np.asarray(TWO_SIDED_95 * np.where(joules < 0, -1.0, 1.0) * np.hypot(fraction_j, offset_j), np.float64)


def _by_part(windows: WindowColumns, joules: Floats) -> Floats:
    return np.asarray(np.bincount(windows.part, joules * windows.share, windows.parts), dtype=np.float64)


Edge = Callable[[Times, Times], Floats]


def _bounds(windows: WindowColumns, least: Edge, most: Edge, middle_j: Floats) -> tuple[Floats, Floats]:
    """Bounds of each part's sum: of its windows one by one, and, where tighter, of its hull less the holes in it."""
    low_j, high_j = _window_bounds(windows, least, most)
    holes = windows.holes()
    if len(holes.part):
        hull_low_j, hull_high_j = _window_bounds(windows.hulls(), least, most)
        hole_low_j, hole_high_j = _window_bounds(holes, least, most)
        is_shared = np.bincount(windows.part, windows.share < 1.0, windows.parts) > 0
        whole = (np.bincount(holes.part, minlength=windows.parts) > 0) & ~is_shared
        low_j = np.where(whole, np.maximum(low_j, hull_low_j - hole_high_j), low_j)
        high_j = np.where(whole, np.minimum(high_j, hull_high_j - hole_low_j), high_j)
    return np.minimum(low_j, middle_j), np.maximum(high_j, middle_j)


def _window_bounds(windows: WindowColumns, least: Edge, most: Edge) -> tuple[Floats, Floats]:
    """Sums over each part's windows, the ends moved inwards for the least and outwards for the most."""
    low_j = least(windows.start_ns + windows.start_slack_ns, windows.end_ns - windows.end_slack_ns)
    high_j = most(windows.start_ns - windows.start_slack_ns, windows.end_ns + windows.end_slack_ns)
    return _by_part(windows, low_j), _by_part(windows, high_j)

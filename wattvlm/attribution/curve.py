"""What any channel's readings say of joules over time, whatever kind of sensor it is."""

from __future__ import annotations

from math import isfinite
from typing import Protocol

from wattvlm.attribution.ticks import Counts, Floats, Times
from wattvlm.sensing import Channel

TWO_SIDED_95 = 1.96
"""Half of a normal distribution's 95 % interval, in standard deviations."""

ASSUMED_RATE = 2.0
"""Without a stated largest power, time outside all readings is given up to this many times the largest power seen."""


class Curve(Protocol):
    """One channel's knowledge of joules over time. Times are monotonic ns; windows are arrays of starts and ends."""

    @property
    def channel(self) -> Channel: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def span_ns(self) -> tuple[int, int]:
        """From the first to the last reading."""
        ...

    @property
    def step_ns(self) -> Times:
        """Times in order between which nothing more is known of the power than its mean: a counter's ticks."""
        ...

    def middle_j(self, time_ns: Times) -> Floats:
        """Joules up to each time along one curve that fits the readings; differences are a window's middle."""
        ...

    def least_j(self, start_ns: Times, end_ns: Times) -> Floats:
        """The least joules of each window that any power curve fitting the readings has."""
        ...

    def most_j(self, start_ns: Times, end_ns: Times) -> Floats:
        """The most joules of each window that any power curve fitting the readings has."""
        ...

    def low_j(self, start_ns: Times, end_ns: Times) -> Floats:
        """Lower end of each window's 95 % interval; the least, where nothing better is known."""
        ...

    def high_j(self, start_ns: Times, end_ns: Times) -> Floats:
        """Upper end of each window's 95 % interval; the most, where nothing better is known."""
        ...

    def ticks(self, start_ns: Times, end_ns: Times) -> Counts | None:
        """How many updates lie in each window; None where not every update is seen."""
        ...


def limit_of(channel: Channel) -> float | None:
    """The largest power in the sensor's own joules: the stated one, with the sensor's gain at its 95 % end."""
    if channel.max_power_w is None or not isfinite(channel.max_power_w) or channel.max_power_w <= 0:
        return None
    return channel.max_power_w * (1.0 + TWO_SIDED_95 * channel.gain_std_fraction)

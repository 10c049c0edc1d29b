"""What repeating a call does for its joules: how they scatter, and how many calls a wanted interval takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from wattvlm.errors import NotResolved

TWO_SIDED_95 = 1.96
"""Half of a normal distribution's 95 % interval, in standard deviations."""


@dataclass(frozen=True, slots=True)
class CallScatter:
    """What repeating a call does for the joules of one part: the 95 % interval of the expected call over n calls.

    mean_j: joules a call. calls_std_j: one sigma of a call's own joules around the expected call's. readings_std_j:
    one sigma of what the readings leave unknown, a call. Both fall as 1 / sqrt(n). lasting_j: the half-width that no
    number of calls removes. fewest_calls: from so many on there is such an interval at all. planned: True where
    readings_std_j is what calls like these would leave unknown, by a model; False where these calls' readings said it.
    """

    mean_j: float
    calls_std_j: float
    readings_std_j: float
    lasting_j: float
    fewest_calls: int
    planned: bool = False

    def half_width_j(self, calls: int) -> float:
        """95 % half-width in joules of the expected call over so many calls; the gain of the board is apart."""
        falling_j = TWO_SIDED_95 * sqrt((self.calls_std_j**2 + self.readings_std_j**2) / calls)
        return sqrt(falling_j**2 + self.lasting_j**2)

    def calls_for(self, half_width_j: float) -> int | None:
        """How many calls in all bring the half-width down to this; None where none do."""
        room_j2 = half_width_j**2 - self.lasting_j**2
        if room_j2 <= 0:
            return None
        needed = TWO_SIDED_95**2 * (self.calls_std_j**2 + self.readings_std_j**2) / room_j2
        return max(self.fewest_calls, ceil(needed - 1e-9))

    def plus(self, other: CallScatter) -> CallScatter:
        """Of two domains together: their calls may differ in the same way, their readings err independently."""
        return CallScatter(
            self.mean_j + other.mean_j,
            self.calls_std_j + other.calls_std_j,
            sqrt(self.readings_std_j**2 + other.readings_std_j**2),
            self.lasting_j + other.lasting_j,
            max(self.fewest_calls, other.fewest_calls),
            self.planned or other.planned,
        )


def calls_needed(part: str, scatter: CallScatter, relative: float, calls_run: int) -> int:
    """How many calls in all bring a part's half-width to `relative` of its value; NotResolved where none do."""
    calls = scatter.calls_for(relative * scatter.mean_j)
    if calls is None:
        least = scatter.lasting_j / scatter.mean_j * 100.0 if scatter.mean_j else 100.0
        raise NotResolved(
            f"no number of calls brings {part} to ±{relative * 100:.3g} %: {least:.2g} % stay, since no "
            "number of calls shows whether the marks of one kind of boundary are all off by 0.1 ms. Cure: a longer "
            "phase (more or larger images, a longer prompt)"
        )
    if scatter.planned and max(calls, scatter.fewest_calls) <= calls_run:
        raise NotResolved(
            f"{calls} calls should bring {part} to ±{relative * 100:.3g} %, and these {calls_run} did not: "
            "they came in step with the sensor's ticks, or their phases differ too much. Cure: pauses of random "
            "length between calls"
        )
    return calls

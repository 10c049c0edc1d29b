"""The comb that a sensor's ticks keep: its period and phase, and how sure brackets make them.

A tick lies in a bracket between two reads. Narrow brackets give a line through their middles. Where there are but two
reads a period, brackets are half of it wide, and their middles may lie now before and now after their ticks: then it
is a line through the brackets that is wanted, and all lines through all of them tell how unsure it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattvlm.attribution.ticks import Counts, Floats
from wattvlm.units import S_PER_NS

FEWEST_CHANGES = 6
"""Below this many changes no period is told from chance (as in `sampling.comb`)."""

LARGEST_STRAY_FRACTION = 0.1
"""Changes that stray from the comb by more than a tenth of its period (one sigma) keep none."""

STRAY_WEIGHT = 0.001
"""What a change that strays from the comb still counts."""

MOST_STRETCH = 0.02
"""A period that few wide brackets hardly show is within this fraction of its likeliest."""

STRETCHES = 101
"""Periods that are tried for what they leave of the ticks' places."""

ROUNDS = 60
"""A line is moved into its brackets in so many steps."""


@dataclass(frozen=True, slots=True)
class Comb:
    """Ticks at at_s + number * period_s, each off by jitter_s (one sigma)."""

    period_s: float
    at_s: float
    jitter_s: float

    def numbers(self, time_s: Floats) -> Counts:
        """The number of the tick that is nearest to each time."""
        return np.rint((time_s - self.at_s) / self.period_s).astype(np.int64)

    def time_s(self, number: Counts) -> Floats:
        """When ticks are expected."""
        return np.asarray(self.at_s + number * self.period_s, np.float64)


def unsure(comb: Comb, early_s: Floats, late_s: Floats) -> tuple[Comb, float, float]:
    """(the comb in the middle of all that its brackets allow, how far all ticks may be off it, and its period).

    Ticks at + n T lie within their brackets, give or take what jitter needs: for each T those leave a stretch of `at`,
    and from the least to the largest T with any, the hull of these stretches is what is allowed.
    """
    middle_s, width_s = (early_s + late_s) / 2, late_s - early_s
    numbers = comb.numbers(middle_s)
    near = np.abs(middle_s - comb.time_s(numbers)) <= width_s / 2 + 4.0 * comb.jitter_s + S_PER_NS
    if np.sum(near) < FEWEST_CHANGES:
        return comb, float(np.median(width_s)) / 2, 0.0
    numbers, early_s, late_s = numbers[near], early_s[near], late_s[near]
    centre = round(float(np.mean(numbers)))
    number = (numbers - centre).astype(np.float64)
    most = min(MOST_STRETCH, 2.0 * float(np.max(width_s)) / (max(float(np.ptp(number)), 1.0) * comb.period_s))
    periods_s = comb.period_s * (1.0 + most * np.linspace(-1.0, 1.0, STRETCHES))
    lower_s = np.array([np.max(early_s - number * period_s) for period_s in periods_s])
    upper_s = np.array([np.min(late_s - number * period_s) for period_s in periods_s])
    slack_s = max(float(np.min(lower_s - upper_s)) / 2, 0.0) * (1.0 + 1.0 / len(number)) + comb.jitter_s
    allowed = upper_s - lower_s + 2.0 * slack_s >= 0.0
    least_s, most_s = float(np.min(lower_s[allowed])) - slack_s, float(np.max(upper_s[allowed])) + slack_s
    ends_s = periods_s[allowed][[0, -1]]
    period_s = float(np.mean(ends_s))
    found = Comb(period_s, (least_s + most_s) / 2 - centre * period_s, comb.jitter_s)
    return found, (most_s - least_s) / 2, float(np.ptp(ends_s)) / 2 / period_s


def comb_through(time_s: Floats, width_s: Floats) -> Comb | None:
    """The comb of changes that were seen within brackets of some width around their times; None where they keep none.

    Changes may be missing where a value was renewed with itself.
    """
    if len(time_s) < FEWEST_CHANGES:
        return None
    distance_s = np.diff(time_s)
    short_s = distance_s[distance_s < 1.6 * float(np.quantile(distance_s, 0.3))]
    period_s = float(np.median(short_s))
    steps = np.maximum(np.rint(distance_s / period_s), 1.0)
    numbers = np.concatenate([[0.0], np.cumsum(steps)])
    at_s = float(time_s[0])
    for _ in range(4):
        period_s, at_s = _line(numbers, time_s, width_s)
        if period_s <= 0.0:
            return None
        numbers = np.rint((time_s - at_s) / period_s)
    stray_s = time_s - at_s - numbers * period_s
    std_s = float(np.sqrt(np.sum(stray_s**2) / max(len(stray_s) - 2, 1)))
    usual_s = 1.4826 * float(np.median(np.abs(stray_s - np.median(stray_s))))
    if min(std_s, max(usual_s, float(np.mean(width_s)) / 12**0.5)) > LARGEST_STRAY_FRACTION * period_s:
        return None
    jitter_s = max(usual_s**2 - float(np.mean(width_s**2)) / 12, 0.0) ** 0.5
    return Comb(period_s, at_s, jitter_s)


def _line(numbers: Floats, time_s: Floats, width_s: Floats) -> tuple[float, float]:
    """(slope, time of number 0) of the weighted least-squares line, changes far off it left out."""
    weight = 1.0 / (width_s**2 / 12 + (float(np.mean(width_s)) / 4) ** 2 + 1e-8)
    slope = middle = middle_s = 0.0
    for _ in range(2):
        total = float(np.sum(weight))
        middle, middle_s = float(numbers @ weight) / total, float(time_s @ weight) / total
        spread = float(((numbers - middle) ** 2) @ weight)
        if spread <= 0.0:
            return 0.0, 0.0
        slope = float(((numbers - middle) * (time_s - middle_s)) @ weight) / spread
        stray_s = np.abs(time_s - middle_s - slope * (numbers - middle))
        weight = np.where(stray_s > 4.0 * float(np.median(stray_s)) + 1e-4, weight * STRAY_WEIGHT, weight)
    return slope, middle_s - slope * middle


def comb_in_brackets(narrow: Comb | None, read: Counts, early_s: Floats, late_s: Floats) -> Comb | None:
    """The comb whose ticks leave their brackets least; None where all stray too far. narrow: the one through middles.

    read: the number of the read that showed each change first. With two reads a period, one read and the one before or
    after it are a tick's.
    """
    if len(read) < FEWEST_CHANGES:
        return None
    middle_s = (early_s + late_s) / 2
    numbered = [(read + odd) // 2 for odd in (0, 1)]
    numbered = [numbers for numbers in numbered if np.all(np.diff(numbers) > 0)]
    if narrow is not None:
        numbered.append(narrow.numbers(middle_s))
    found = [_moved_into(numbers - numbers[0], early_s, late_s) for numbers in numbered]
    if not found:
        return None
    steady = [comb for comb in found if comb.jitter_s <= LARGEST_STRAY_FRACTION * comb.period_s]
    # Of a comb's every second tooth only, another comb of half its period seems to be as good.
    slowest_s = max((comb.period_s for comb in steady), default=0.0)
    slow = [comb for comb in steady if comb.period_s > 0.75 * slowest_s]
    return min(slow, key=lambda each: each.jitter_s, default=None)


def _moved_into(numbers: Counts, early_s: Floats, late_s: Floats) -> Comb:
    """The line through brackets; its jitter is by how much ticks leave these (one sigma, twice for those unseen)."""
    number = numbers.astype(np.float64)
    line_s = tick_s = (early_s + late_s) / 2
    centre = float(np.mean(number))
    spread = float(np.sum((number - centre) ** 2))
    period_s = at_s = 0.0
    for _ in range(ROUNDS):
        period_s = float((number - centre) @ tick_s) / spread
        at_s = float(np.mean(tick_s)) - centre * period_s
        line_s = at_s + number * period_s
        tick_s = np.minimum(np.maximum(line_s, early_s), late_s)
    stray_s = line_s - tick_s
    return Comb(period_s, at_s, 2.0**0.5 * float(np.sqrt(np.mean(stray_s**2))))

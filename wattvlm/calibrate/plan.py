"""The load that tells a sensor's period, window, lag, gain and offset: square waves out of step, then stairs.

Square waves of {1/2, 2/3, 3/4, 4/5, 6/5, 5/4, 4/3} of the update period alias with it in ways that depend on the window
(arXiv 2312.02741); delays of k/8 of a period between them move the wave through all places of a tick. Waves of three
quarters of a second tell a window of a second, which the fast ones leave flat. Stairs are for gain and offset: levels
that last long enough for any window and any meter, each reached from both sides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from wattvlm.units import NS_PER_MS, NS_PER_S

RATIOS = (1 / 2, 2 / 3, 3 / 4, 4 / 5, 6 / 5, 5 / 4, 4 / 3)
DELAYS = 8
ROUNDS = 2
SLOW_SHARE = 0.3
SLOW_HALF_NS = 370 * NS_PER_MS
SLOW_DITHER_NS = 75 * NS_PER_MS

STAIRS = (0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0)
QUIET_NS = 1_500 * NS_PER_MS

LONGEST_WAVES_NS = 20 * NS_PER_S
"""More edges than these 20 seconds have tell nothing new."""

WAVES_SHARE = 0.4
SHORTEST_S, SHORTEST_WITH_STAIRS_S = 10.0, 35.0

Section = Literal["quiet", "square", "stairs"]


@dataclass(frozen=True, slots=True)
class Step:
    """Some time at one level of load: the fraction of it that the device is busy."""

    section: Section
    duration_ns: int
    busy_fraction: float


def plan_of(period_ns: int, seconds: float, *, stairs: bool, seed: int = 0) -> tuple[Step, ...]:
    """The steps of at most `seconds` for a sensor that is renewed each `period_ns`; stairs only where a reference is.

    Without stairs it is never longer than LONGEST_WAVES_NS and the quiet. ValueError for fewer seconds than tell
    anything.
    """
    shortest_s = SHORTEST_WITH_STAIRS_S if stairs else SHORTEST_S
    if seconds < shortest_s:
        what = "a gain" if stairs else "a sensor's window"
        raise ValueError(f"{seconds:g} s are too short to tell {what}: give at least {shortest_s:g} s")
    total_ns = round(seconds * NS_PER_S) - 2 * QUIET_NS
    waves_ns = min(round(WAVES_SHARE * total_ns) if stairs else total_ns, LONGEST_WAVES_NS)
    quiet = Step("quiet", QUIET_NS, 0.0)
    level_ns = (total_ns - waves_ns) // len(STAIRS)
    levels = [Step("stairs", level_ns, busy_fraction) for busy_fraction in STAIRS] if stairs else []
    return (quiet, *_square_waves(period_ns, waves_ns, random.Random(seed)), *levels, quiet)


def _square_waves(period_ns: int, total_ns: int, chance: random.Random) -> Iterator[Step]:
    slow_ns = round(SLOW_SHARE * total_ns / ROUNDS)
    each_ns = (total_ns / ROUNDS - slow_ns) / len(RATIOS)
    for _ in range(ROUNDS):
        for ratio in RATIOS:
            yield from _wave(ratio * period_ns / 2, period_ns, each_ns, chance)
        yield from _wave(float(SLOW_HALF_NS), SLOW_DITHER_NS * DELAYS, float(slow_ns), chance)


def _wave(half_ns: float, delay_ns: int, total_ns: float, chance: random.Random) -> Iterator[Step]:
    """Busy and idle in turn for about total_ns; each idle is longer by some k/8 of the delay, a little dithered."""
    groups = max(1, round(total_ns / (DELAYS * 2 * half_ns)))
    used_ns, delay, cycle = 0, 0, 0
    while used_ns + half_ns < total_ns:
        busy_ns = round(half_ns * chance.uniform(1.0, 1.1))
        idle_ns = round(half_ns * chance.uniform(1.0, 1.1))
        cycle += 1
        if cycle % max(groups // DELAYS, 1) == 0:
            delay = delay % DELAYS + 1
            idle_ns += delay * delay_ns // DELAYS // (1 if half_ns < delay_ns else DELAYS)
        yield Step("square", busy_ns, 1.0)
        yield Step("square", idle_ns, 0.0)
        used_ns += busy_ns + idle_ns

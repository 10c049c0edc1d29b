"""What a comparison of two runs is made of: one difference a metric, with its interval and a verdict. All nouns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "worse", "cannot tell", "same", "changed"]
"""better, worse, cannot tell: of joules and times, by the interval. same, changed: of counts, which are exact."""

Kind = Literal["energy", "time", "rate", "count"]


@dataclass(frozen=True, slots=True)
class Expected:
    """One metric of one run: its value for the expected call, and the 95 % interval of that.

    Wider than the interval of the calls that ran: how much calls differ from each other is in it. is_bounds: the ends
    are bounds that hold for any power curve, and not an interval of 95 %. gain_fractions: per board, the 95 %
    half-width of its unknown gain as a fraction of the value; not in low and high.
    """

    value: float
    low: float
    high: float
    is_bounds: bool = False
    gain_fractions: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """How one metric differs between two runs.

    metric: its one name ("joules_per_request"), or "<phase>_joules". unit: J, s, 1/s or "" for counts. before, after:
    None where a run does not have it. change_fraction: after / before - 1, with its 95 % interval. why: the reason
    where nothing can be said.
    """

    metric: str
    kind: Kind
    unit: str
    before: Expected | None
    after: Expected | None
    change_fraction: float | None
    interval_fraction: tuple[float, float] | None
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What joules are of, as far as it decides whether they can be held against another run's.

    provenance: "measured of the gpu", "modelled of the cpu", or "absent". devices, sensors: of the accelerator, in
    words. driver: its version, "" where it is not known. power_limits: of its boards in watts as the driver gives them.
    """

    provenance: str
    devices: tuple[str, ...]
    sensors: tuple[str, ...]
    driver: str
    power_limits: tuple[str, ...]
    virtual: bool = False


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why joules of two runs are not of one kind: what differs, what that does to a comparison, and the cure.

    kind: the name under which a user allows it all the same: "provenance", "device", "driver", "power_limit" or
    "virtual".
    """

    kind: str
    what: str
    effect: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, metric by metric. obstacles: those that the user allowed. notes: what a reader must know of it."""

    before: str
    after: str
    differences: tuple[Difference, ...]
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, metric: str) -> Difference:
        """The difference of one metric; KeyError names those there are."""
        for difference in self.differences:
            if difference.metric == metric:
                return difference
        raise KeyError(f"no metric {metric!r}; there are {[each.metric for each in self.differences]}")

"""What comparisons are made of: differences of two runs with verdicts, and the standings of several. All nouns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
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
    """Two runs, metric by metric. before, after: their names.

    obstacles: those that the user allowed. notes: what a reader must know of it. identities, calls: what the joules of
    the run before and of the run after are of, and of how many calls.
    """

    before: str
    after: str
    differences: tuple[Difference, ...]
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()
    calls: tuple[int, ...] = ()

    @property
    def is_modelled(self) -> bool:
        """True where the joules of a run are a model's: then no verdict is given on them."""
        return any(each.provenance.startswith("modelled") for each in self.identities)

    def of(self, metric: str) -> Difference:
        """The difference of one metric; KeyError names those there are."""
        for difference in self.differences:
            if difference.metric == metric:
                return difference
        raise KeyError(f"no metric {metric!r}; there are {[each.metric for each in self.differences]}")


@dataclass(frozen=True, slots=True)
class Score:
    """How many of the questions of a benchmark a model answered right.

    chance_fraction: what guessing gets right; None where it is not known.
    """

    benchmark: str
    right: float
    asked: int
    chance_fraction: float | None = None

    @property
    def fraction(self) -> float:
        """The part that is right, 0 to 1."""
        return self.right / self.asked

    @property
    def interval_fraction(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the part that would be right of more questions of the kind."""
        z2 = 1.96**2
        share, n = self.fraction, self.asked
        middle = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = 1.96 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    @property
    def above_chance_fraction(self) -> float | None:
        """(a - c) / (1 - c): 0 for guessing, 1 for all right; None without a chance."""
        chance = self.chance_fraction
        return None if chance is None or chance >= 1.0 else (self.fraction - chance) / (1.0 - chance)


@dataclass(frozen=True, slots=True)
class Standing:
    """One run among several: its model, its counts a request, its metrics for the expected call, and its score.

    metrics: by their one name ("joules_per_request", "ttft_s"); a metric that is not known is not there.
    """

    name: str
    identity: Identity
    calls: int
    parameters: int | None = None
    active_parameters: int | None = None
    visual_tokens: float | None = None
    output_tokens: float | None = None
    metrics: Mapping[str, Expected] = field(default_factory=dict[str, Expected])
    score: Score | None = None

    @property
    def is_modelled(self) -> bool:
        """True where its joules are a model's."""
        return self.identity.provenance.startswith("modelled")

    def per_kilojoule(self, fraction: float | None) -> float | None:
        """A part of the questions over the kilojoules of one request; None where either is not known."""
        request = self.metrics.get("joules_per_request")
        return None if fraction is None or request is None or request.value <= 0 else fraction / request.value * 1e3


@dataclass(frozen=True, slots=True)
class Standings:
    """Several runs side by side. obstacles: those that the user allowed. notes: what a reader must know of them."""

    runs: tuple[Standing, ...]
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()

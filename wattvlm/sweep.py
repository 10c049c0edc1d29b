"""What a sweep over power limits or clocks is made of: settings, what each did to joules and times, and the best.

All nouns, no arithmetic over reports; `wattvlm.studies.sweep` makes a Sweep of reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wattvlm.comparison import Expected, Identity
from wattvlm.units import HZ_PER_MHZ

Meets = Literal["yes", "no", "cannot tell"]
"""Whether a setting keeps the bounds on times: by the whole interval, or it cannot be told."""

SLOWER_FRACTION = 0.02
"""A phase that takes longer by no more than this is not slower."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a device is told: the most watts it may draw, and the clock that its cores are locked to; None: as it is."""

    power_limit_w: float | None = None
    core_clock_hz: float | None = None

    def __bool__(self) -> bool:
        return self.power_limit_w is not None or self.core_clock_hz is not None

    def __str__(self) -> str:
        limit = "" if self.power_limit_w is None else f"{self.power_limit_w:g} W"
        clock = "" if self.core_clock_hz is None else f"{self.core_clock_hz / HZ_PER_MHZ:g} MHz"
        return ", ".join(filter(None, (limit, clock))) or "as it is"


@dataclass(frozen=True, slots=True)
class PhaseAt:
    """A phase (or "call") at one setting: joules and seconds of the expected call; None where not known."""

    name: str
    joules: Expected | None
    seconds: Expected | None


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a sweep, what it did, and whether it keeps the bounds.

    metrics: by their one name, "joules_per_request", "ttft_s", "tpot_s" and "latency_s"; what is not known is not
    there.
    """

    setting: Setting
    calls: int
    phases: tuple[PhaseAt, ...]
    metrics: Mapping[str, Expected]
    meets: Meets = "yes"

    def phase(self, name: str) -> PhaseAt:
        """The phase of that name; KeyError where it was not seen at this setting."""
        for each in self.phases:
            if each.name == name:
                return each
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Knee:
    """Below which setting a phase is slower than at the highest one, by SLOWER_FRACTION: the interval that holds it.

    above: the highest setting at which it surely is slower; None where it is at none, so that the knee is below all.
    below: the lowest setting from which on it surely is not; the highest one where that is known of no other.
    """

    part: str
    above: Setting | None
    below: Setting


@dataclass(frozen=True, slots=True)
class Sweep:
    """One model and input at several settings, the lowest first.

    ttft_under_s, tpot_under_s: the bounds asked for, on the means; None where none was. best: the place of the setting
    with the least joules a request of those that surely keep the bounds; None where there is none. candidates: places
    of the settings that may be the best one, that one included, with 95 % for all together. between: settings that the
    least joules lie between if they fall and then rise, None where an end of the sweep is one of them (and both are
    None where more than one axis was swept). knees: by phase; of one axis.
    """

    label: str
    identity: Identity
    points: tuple[Point, ...]
    ttft_under_s: float | None = None
    tpot_under_s: float | None = None
    best: int | None = None
    candidates: tuple[int, ...] = ()
    between: tuple[Setting | None, Setting | None] = (None, None)
    knees: tuple[Knee, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def is_modelled(self) -> bool:
        """True where the joules are a model's, which knows nothing of limits: then no setting is the best."""
        return self.identity.provenance.startswith("modelled")

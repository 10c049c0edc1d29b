"""How far each phase of a run is from the precision asked for, and how many calls bring it there."""

from __future__ import annotations

from dataclasses import dataclass

from wattvlm.errors import NotResolved
from wattvlm.report import Report
from wattvlm.studies.expected import expected_part
from wattvlm.trace import MODEL_PHASES


@dataclass(frozen=True, slots=True)
class Reach:
    """One part: its half-width as a part of its value (None where it has none), how many calls it needs in all, or why
    no number of calls brings it there. A part that is within has neither."""

    part: str
    half_width_fraction: float | None
    calls: int | None = None
    why_not: str = ""

    @property
    def is_within(self) -> bool:
        """True where it is as precise as was asked for."""
        return self.calls is None and not self.why_not

    def __str__(self) -> str:
        known = "" if self.half_width_fraction is None else f" ±{self.half_width_fraction * 100:.2g} %"
        return f"{self.part.replace('_', ' ')}{known}"


def reaches(report: Report, until_fraction: float) -> tuple[Reach, ...]:
    """Each phase and the call. Nothing where joules are modelled or absent: no repeating makes a model surer."""
    domain = report.accelerator
    if domain is None or report.is_modelled(domain) or report.total is None:
        return ()
    parts = [part.name for part in report.phases if part.name in MODEL_PHASES and not part.unseen]
    return tuple(_reach(report, part, until_fraction) for part in (*parts, "call"))


def _reach(report: Report, part: str, until_fraction: float) -> Reach:
    half_fraction = None
    try:
        found = expected_part(report, part)
        if found.value > 0:
            half_fraction = (found.high - found.low) / 2 / found.value
        if half_fraction is not None and half_fraction <= until_fraction:
            return Reach(part, half_fraction)
    except NotResolved:
        pass  # calls_needed says below whether more calls resolve it
    try:
        return Reach(part, half_fraction, calls=max(report.calls_needed(part, until_fraction), len(report.calls) + 1))
    except NotResolved as error:
        return Reach(part, half_fraction, why_not=str(error))

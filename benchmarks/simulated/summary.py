"""Outcomes of a cell made into the numbers of its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median

from benchmarks.simulated.cells import HARDSHIPS, SENSORS, Cell
from benchmarks.simulated.outcomes import Outcome

FAR_OFF = 3.0
"""An error beyond this many half-widths is confidently wrong."""

HEADER = (
    "sensor", "prefill", "calls", "sessions", "bias %", "RMS %", "p95 %", "covered %", "half-width % (median)",
    "half-width / RMS", "absolute: RMS %", "covered %", "refused %", "worst error / half-width", "beyond 3",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """A cell's outcomes in numbers; errors and half-widths are fractions of the truth."""

    cell: Cell
    found: tuple[Outcome, ...]

    @property
    def bias(self) -> float:
        return fmean(each.error for each in self.found)

    @property
    def rms(self) -> float:
        return rms(self.found)

    @property
    def p95(self) -> float:
        errors = sorted(abs(each.error) for each in self.found)
        return errors[min(int(0.95 * len(errors)), len(errors) - 1)]

    @property
    def covered(self) -> float:
        return share(self.found, lambda each: each.covers)

    @property
    def covered_absolutely(self) -> float:
        return share(self.found, lambda each: each.absolute_covers)

    @property
    def half_width(self) -> float:
        return median(each.half_width for each in self.found)

    @property
    def half_width_per_rms(self) -> float:
        return self.half_width / self.rms if self.rms else 0.0

    @property
    def refused(self) -> float:
        return share(self.found, lambda each: each.refused)

    @property
    def worst(self) -> float:
        return max(half_widths_off(each) for each in self.found)

    @property
    def far_off(self) -> int:
        return sum(half_widths_off(each) > FAR_OFF for each in self.found)

    def row(self) -> tuple[str, ...]:
        """The cell's row, in the order of HEADER."""
        absolute_rms = sqrt(fmean(each.absolute_error**2 for each in self.found))
        words = SENSORS[self.cell.sensor].words
        hardship = HARDSHIPS[self.cell.hardship]
        return (
            f"{words}; {hardship}" if hardship else words,
            f"{self.cell.prefill_ms} ms", str(self.cell.calls), str(len(self.found)), f"{100 * self.bias:+.2f}",
            f"{100 * self.rms:.2f}", f"{100 * self.p95:.2f}", f"{100 * self.covered:.1f}",
            f"{100 * self.half_width:.2f}", f"{self.half_width_per_rms:.1f}", f"{100 * absolute_rms:.1f}",
            f"{100 * self.covered_absolutely:.1f}", f"{100 * self.refused:.0f}", f"{self.worst:.1f}",
            str(self.far_off),
        )  # fmt: skip


def summaries(cells: Sequence[Cell], found: Sequence[Outcome]) -> list[Summary]:
    """One summary a cell that has outcomes, in the order of the cells."""
    own: dict[str, list[Outcome]] = {}
    for each in found:
        own.setdefault(each.cell, []).append(each)
    return [Summary(cell, tuple(own[cell.key])) for cell in cells if cell.key in own]


def half_widths_off(found: Outcome) -> float:
    """The error in half-widths (infinite for a wrong figure that claims to be exact)."""
    if found.half_width > 0.0:
        return abs(found.error) / found.half_width
    return float("inf") if found.error else 0.0


def rms(found: Sequence[Outcome]) -> float:
    """Root mean square of the errors, as a fraction of the truth."""
    return sqrt(fmean(each.error**2 for each in found))


def share(found: Sequence[Outcome], is_so: Callable[[Outcome], bool]) -> float:
    """The part of the outcomes of which something is so; nan for none."""
    return sum(map(is_so, found)) / len(found) if found else float("nan")

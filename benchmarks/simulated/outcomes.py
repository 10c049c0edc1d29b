"""What the engine says of one session, beside what really happened."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.simulated.cells import Cell
from benchmarks.simulated.drawn import session
from wattvlm.attribution import analyze
from wattvlm.energy import Energy
from wattvlm.report import PartEnergy
from wattvlm.trace import PREFILL
from wattvlm.units import NS_PER_MS, NS_PER_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """One session's prefill. Errors and half-widths are over the truth.

    error, half_width, covers: against what an exact reader of this very board would say (its gain known).
    absolute_*: against an ideal meter. pooled: given by joint draws, not by bounds. refused: not resolved alone; the
    middle of its bounds stands for it. of_the_possible: width of the interval over that of [0, largest power].
    marks_error, marks_cover: as error and covers, against the joules between the marks, which are others where power
    follows its work late.
    """

    cell: str
    seed: int
    variation: float
    error: float
    half_width: float
    covers: bool
    absolute_error: float
    absolute_half_width: float
    absolute_covers: bool
    pooled: bool
    refused: bool
    of_the_possible: float
    marks_error: float = 0.0
    marks_cover: bool = True


def outcome(cell: Cell, seed: int) -> Outcome:
    """One session, metered and compared."""
    drawn = session(cell, seed)
    found = analyze(drawn.recording).phase(PREFILL).energies["gpu"]
    claim = _claim(found)
    middle_j = claim.middle_j
    low_j, high_j = claim.interval_j
    least_j, most_j = claim.absolute_interval_j
    shown_j, marks_j = drawn.truth_j * drawn.gain, drawn.between_marks_j * drawn.gain
    possible_j = drawn.limit_w * cell.prefill_ms * NS_PER_MS / NS_PER_S
    return Outcome(
        cell.key,
        seed,
        drawn.variation,
        middle_j / shown_j - 1.0,
        max(high_j - middle_j, middle_j - low_j) / shown_j,
        low_j <= shown_j <= high_j,
        middle_j / drawn.truth_j - 1.0,
        max(most_j - middle_j, middle_j - least_j) / drawn.truth_j,
        least_j <= drawn.truth_j <= most_j,
        not claim.is_bounds,
        not found.stands_alone,
        (high_j - low_j) / possible_j,
        middle_j / marks_j - 1.0,
        low_j <= marks_j <= high_j,
    )


def _claim(found: PartEnergy) -> Energy:
    """What is said of the prefill alone: its energy, or where it is refused its bounds with the same board's gain."""
    if found.stands_alone:
        return found.energy
    middle_j = sum(found.bounds_j) / 2
    fraction = middle_j / found.energy.middle_j if found.energy.middle_j else 0.0
    gains_j = {board: gain_j * fraction for board, gain_j in found.energy.gains_j.items()}
    return Energy(None, found.bounds_j, found.energy.method, gains_j)

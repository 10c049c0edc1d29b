"""The accuracy goals of the project, each with the number that was found and whether it was met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import ceil, comb

from benchmarks.simulated.cells import HARDSHIPS, RISES_NS, Cell
from benchmarks.simulated.outcomes import Outcome
from benchmarks.simulated.summary import FAR_OFF, Summary, half_widths_off, rms, share

HEADER = ("goal", "found", "met")

RMS_GOALS = (
    (Cell("counter-100ms", 45, 20), 0.03, 0.013),
    (Cell("counter-100ms", 15, 20), 0.03, 0.05),
    (Cell("counter-100ms", 45, 20), 0.0, 0.006),
    (Cell("counter-100ms", 15, 20), 0.0, 0.04),
    (Cell("mean-1s", 45, 1), None, 0.03),
)
"""(cell, variation or None for all of them together, largest RMS error)."""

STATED = 0.95
LEAST_COVERED = 0.90
LEAST_COVERED_BY_BOUNDS = 0.95
POOLED_COVERED = 0.93, 0.98
WIDEST_PER_RMS = 2.5
MOST_FAR_OFF = 0.001

Goal = tuple[str, str, str]


EXTRAS = frozenset({"slopes", *RISES_NS})
"""Hardships that the goals do not name: what the model has to stand as well, told apart."""


def judged(cells: Sequence[Summary]) -> list[Goal]:
    """All goals that these cells can speak for. Each boundary moved on its own has a goal for coverage only.

    Of several calls, power that ramps or slopes inside phases is in no cell that goals name; it has its own rows.
    """
    named = [each for each in cells if each.cell.hardship not in EXTRAS]
    extras = [each for each in cells if each.cell.hardship in EXTRAS]
    coverage = _coverage(named) if named else ()
    return [*_rms_goals(cells), *coverage, *_widths(named), *_beside(extras), *_single_calls(cells)]


def _beside(extras: Sequence[Summary]) -> Iterator[Goal]:
    """Coverage and confident errors of what no goal names."""
    for name in dict.fromkeys(each.cell.hardship for each in extras):
        cells = [each for each in extras if each.cell.hardship == name]
        worst = min(cells, key=_covered)
        far, sessions = sum(each.far_off for each in cells), sum(len(each.found) for each in cells)
        found = f"worst {_covered(worst):.1%} ({worst.cell.key}); {far} of {sessions} off by more than 3 half-widths"
        yield f"beside the goals: coverage where {HARDSHIPS[name]}", found, "no goal"


def _rms_goals(cells: Sequence[Summary]) -> Iterator[Goal]:
    by_cell = {each.cell: each.found for each in cells}
    for cell, variation, most in RMS_GOALS:
        found = [each for each in by_cell.get(cell, ()) if variation is None or each.variation == variation]
        if found:
            words = "" if variation is None else f", {variation:.0%} variation"
            value = rms(found)
            yield _goal(f"RMS of {cell.key}{words}: at most {most:.1%}", f"{value:.2%}", value <= most)


def _coverage(cells: Sequence[Summary]) -> Iterator[Goal]:
    for name, of_cell in (("of the sensor", _covered), ("absolute", _covered_absolutely)):
        low = [each for each in cells if of_cell(each) < LEAST_COVERED]
        worst = min(cells, key=of_cell)
        below = f"; below in {len(low)} of {len(cells)}, by chance in {_by_chance(cells):.1f}" if low else ""
        yield _goal(
            f"coverage {name}: at least {LEAST_COVERED:.0%} in each cell",
            f"worst {of_cell(worst):.1%} ({worst.cell.key}){below}",
            not low,
        )
    plain = _outcomes(each for each in cells if not each.cell.hardship)
    pooled = [each for each in plain if each.pooled]
    for name, own in (("95 % intervals", pooled), ("all figures", plain)):
        if own:
            value, absolute = share(own, lambda each: each.covers), share(own, lambda each: each.absolute_covers)
            yield _goal(
                f"coverage over all cells, {name}: {POOLED_COVERED[0]:.0%} to {POOLED_COVERED[1]:.0%}",
                f"{value:.1%} of {len(own)} (absolute {absolute:.1%})",
                POOLED_COVERED[0] <= value <= POOLED_COVERED[1],
            )


def _by_chance(cells: Sequence[Summary]) -> float:
    """How many of these cells are below LEAST_COVERED on average where each interval covers with its stated chance."""
    return sum(_chance_below(len(each.found)) for each in cells)


def _chance_below(sessions: int) -> float:
    """The chance that fewer than LEAST_COVERED of the sessions are covered by intervals that cover STATED of them."""
    fewest = ceil(LEAST_COVERED * sessions)
    return sum(
        comb(sessions, covered) * STATED**covered * (1.0 - STATED) ** (sessions - covered) for covered in range(fewest)
    )


def _widths(cells: Sequence[Summary]) -> Iterator[Goal]:
    several = [each for each in cells if each.cell.calls >= 20 and not each.cell.hardship]
    if several:
        wide = [each for each in several if each.half_width_per_rms > WIDEST_PER_RMS]
        widest = max(several, key=lambda each: each.half_width_per_rms)
        beyond = f"; wider in {len(wide)} of {len(several)}" if wide else ""
        yield _goal(
            f"20 calls and more: median half-width at most {WIDEST_PER_RMS} x RMS",
            f"widest {widest.half_width_per_rms:.1f} ({widest.cell.key}){beyond}",
            not wide,
        )
    own = _outcomes(each for each in cells if each.cell.hardship != "marks")
    if own:
        far = sum(half_widths_off(each) > FAR_OFF for each in own)
        yield _goal(
            f"off by more than {FAR_OFF:.0f} half-widths, unstated boundary errors left out: at most 1 of 1,000",
            f"{far} of {len(own)}",
            far <= MOST_FAR_OFF * len(own),
        )


def _single_calls(cells: Sequence[Summary]) -> Iterator[Goal]:
    single = [each for each in cells if each.cell.calls == 1 and each.cell.hardship != "marks"]
    if not single:
        return
    worst = min(single, key=_covered)
    low = [each for each in single if each.covered < LEAST_COVERED_BY_BOUNDS]
    yield _goal(
        f"one call: at least {LEAST_COVERED_BY_BOUNDS:.0%} covered in each cell",
        f"worst {worst.covered:.1%} ({worst.cell.key}){f'; below in {len(low)} of {len(single)}' if low else ''}",
        not low,
    )
    wide = share(_outcomes(single), lambda each: each.of_the_possible >= 1.0)
    yield _goal("one call: narrower than [0, largest power]", f"{1 - wide:.1%} of the sessions", wide == 0.0)


def _covered(cell: Summary) -> float:
    return cell.covered


def _covered_absolutely(cell: Summary) -> float:
    return cell.covered_absolutely


def _outcomes(cells: Iterable[Summary]) -> list[Outcome]:
    return list(chain.from_iterable(each.found for each in cells))


def _goal(words: str, found: str, met: bool) -> Goal:
    return words, found, "yes" if met else "**no**"

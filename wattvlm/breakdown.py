"""The joules of a block in parts that add up to it, each once: for formats that sum what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wattvlm.report import WAITING, Report
from wattvlm.sensing import Domain


@dataclass(frozen=True, slots=True)
class Share:
    """Joules of some phases of all calls together, or of what lies outside of calls.

    phases: more than one where the readings do not tell them apart. energy_j: the middle of interval_j.
    """

    phases: tuple[str, ...]
    energy_j: float
    interval_j: tuple[float, float]


def shares_of_block(report: Report, domain: Domain) -> Iterator[Share]:
    """The parts of a domain's block; nothing where it has no joules.

    Outside of calls is what the block has more than its calls: the middle of what the readings allow there, taken by
    itself, would not add up.
    """
    if domain not in report.block.energies:
        return
    told: set[tuple[str, ...]] = set()
    inside_j, calls = 0.0, len(report.calls)
    for part in [*report.phases, *([] if report.between is None else [report.between])]:
        found = part.energies.get(domain)
        if found is not None and found.covers not in told:
            told.add(found.covers)
            low_j, high_j = found.energy.interval_j
            inside_j += found.energy.middle_j * calls
            yield Share(found.covers, found.energy.middle_j * calls, (low_j * calls, high_j * calls))
    for part in report.own_phases:
        found = part.energies.get(domain) if part.name == WAITING else None
        if found is not None:
            inside_j += found.energy.middle_j
            yield Share((WAITING,), found.energy.middle_j, found.energy.interval_j)
    outside = report.outside.energies.get(domain)
    if outside is not None:
        left_j = max(0.0, report.block.energies[domain].energy.middle_j - inside_j)
        yield Share((report.outside.name,), left_j, outside.energy.interval_j)


def boards_of(report: Report, domain: Domain) -> tuple[str, ...]:
    """The devices whose joules are a domain's, as channels name them."""
    used = (use.channel.board for use in report.channels if use.in_totals and use.channel.domain == domain)
    return tuple(dict.fromkeys(used))

"""Tidy rows for pandas, R or a spreadsheet: one row a call, phase and domain."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from wattvlm.renderers._text import legible
from wattvlm.report import CallReport, Part, PartEnergy, Report
from wattvlm.sensing import Domain
from wattvlm.trace import COUNTED
from wattvlm.units import NS_PER_S

FORMAT = "csv"
FILE_EXTENSION = ".csv"
IS_BINARY = False

COLUMNS = (
    "call", "label", "runtime", "model", "ended", "start_s", "phase", "duration_s", "domain", "method", "energy_j",
    "low_j", "high_j", "gain_half_width_j", "one_sum_of", "ticks", "batch_size", "images", "decode_steps",
    *(f"{name}_tokens" for name in COUNTED),
)  # fmt: skip
"""start_s: seconds after the block's start. energy_j: empty where the readings do not tell this phase's joules apart
(low_j and high_j then bound it). one_sum_of: the phases that they tell only the sum of."""

_FORMULA = ("=", "+", "-", "@")

Value = str | int | float | None


def render(report: Report) -> str:
    """The rows as CSV with a heading; the phase "call" is the whole call, so sum either it or the others.

    A domain that has no joules has no row; a call without any has rows with an empty domain.
    """
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(COLUMNS)
    origin_ns = _origin_ns(report)
    for call in report.calls:
        writer.writerows(_rows(call, origin_ns))
    return page.getvalue()


def _origin_ns(report: Report) -> int:
    """The block's start; of a report that does not say it, the first call's."""
    spans_ns = report.block.spans_ns
    return spans_ns[0][0] if spans_ns else min((call.start_ns for call in report.calls), default=0)


def _rows(call: CallReport, origin_ns: int) -> Iterator[list[Value]]:
    parts = [*call.phases, call.between, call.total]
    names = [_text(text) for text in (call.label, call.runtime, call.model.name or call.model.class_name, call.ended)]
    counts: list[Value] = [call.batch_size, call.images, call.decode_steps]
    counts += [getattr(call.tokens, name) for name in COUNTED]
    for part in parts:
        start_ns = part.spans_ns[0][0] if part.spans_ns else call.start_ns if part is call.total else None
        start_s = None if start_ns is None else (start_ns - origin_ns) / NS_PER_S
        duration_s = None if part.duration_ns is None else part.duration_ns / NS_PER_S
        for joules in _joules(part):
            yield [call.call_id, *names, start_s, _text(part.name), duration_s, *joules, *counts]


def _joules(part: Part) -> Iterator[list[Value]]:
    """The columns domain to ticks, a row for each domain."""
    for domain, found in part.energies.items():
        yield _of_domain(part, domain, found)
    if not part.energies:
        yield [None] * 8


def _of_domain(part: Part, domain: Domain, found: PartEnergy) -> list[Value]:
    energy = found.energy
    low_j, high_j = energy.interval_j if found.stands_alone else found.bounds_j
    together = " + ".join(map(_text, found.covers)) if len(found.covers) > 1 else None
    middle_j = energy.middle_j if found.stands_alone else None
    return [domain, energy.method, middle_j, low_j, high_j, energy.gain_j or None, together, found.ticks]


def _text(text: str) -> str:
    """Text that no spreadsheet takes for a formula and no terminal obeys."""
    shown = legible(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown

"""Quotients of what runs take: shares of a call, savings, and whether a stated range holds."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, isfinite

import numpy as np

from wattvlm.answers import Claim
from wattvlm.comparison import Expected
from wattvlm.energy import total
from wattvlm.errors import NotResolved
from wattvlm.report import Report
from wattvlm.studies.compare import change_interval


def share(report: Report, parts: Sequence[str], of: str = "call") -> Expected:
    """The part of a call's joules that some of its phases take, 0 to 1, with its 95 % interval; NotResolved without.

    Of the calls that ran: phases of one call are anti-correlated, so the quotient is formed draw by draw.
    """
    numerator = total(report.joules(part) for part in parts)
    whole = report.joules(of)
    if numerator is None or whole.middle_j <= 0:
        raise NotResolved(f"{' and '.join(parts)}: no share of {whole}. Cure: more calls, or longer ones")
    value = numerator.middle_j / whole.middle_j
    if whole.is_modelled:
        return Expected(value, value, value)
    if numerator.draws_j is not None and whole.draws_j is not None:
        low, high = (float(end) for end in np.percentile(numerator.draws_j / whole.draws_j, (2.5, 97.5)))
        return Expected(value, low, high)
    low, high = numerator.interval_j[0] / whole.interval_j[1], numerator.interval_j[1] / max(whole.interval_j[0], 1e-12)
    return Expected(value, max(low, 0.0), min(high, 1.0), is_bounds=True)


def quotient(above: Expected, below: Expected) -> Expected | None:
    """One run's value over another's, with its 95 % interval; None where an interval reaches zero."""
    interval = change_interval(below, above)
    if interval is None:
        return None
    low, high = interval
    return Expected(above.value / below.value, 1.0 + low, 1.0 + high, above.is_bounds or below.is_bounds)


def saving(before: Expected, after: Expected) -> Expected | None:
    """The part of a run's value that another one saves: 0.45 for 45 % less, below 0 where it takes more."""
    found = quotient(after, before)
    return None if found is None else Expected(1 - found.value, 1 - found.high, 1 - found.low, found.is_bounds)


def difference(larger: Expected, smaller: Expected) -> Expected | None:
    """One run's value less another's, with its 95 % interval; None where an end is not known."""
    ends = (larger.low, larger.high, smaller.low, smaller.high)
    if not all(isfinite(end) for end in ends):
        return None
    value, is_bounds = larger.value - smaller.value, larger.is_bounds or smaller.is_bounds
    if is_bounds:
        return Expected(value, larger.low - smaller.high, larger.high - smaller.low, True)
    down = hypot(larger.value - larger.low, smaller.high - smaller.value)
    up = hypot(larger.high - larger.value, smaller.value - smaller.low)
    return Expected(value, value - down, value + up)


def scaled(found: Expected, factor: float) -> Expected:
    """A value times a plain positive number, such as one over a count."""
    return Expected(
        found.value * factor, found.low * factor, found.high * factor, found.is_bounds, found.gain_fractions
    )


def verdict(found: Expected | None, least: float, most: float, *, is_modelled: bool = False) -> Claim:
    """Whether a value lies in a stated range: by the whole interval, and never of a model's joules."""
    if found is None or is_modelled:
        return "cannot tell"
    if least <= found.low and found.high <= most:
        return "holds"
    return "does not hold" if found.high < least or found.low > most else "cannot tell"

"""What more calls would do for a report's phases, in words: the number of calls, and how sure they would make it."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.errors import NotResolved
from wattvlm.renderers._phases import listed
from wattvlm.renderers._text import glue
from wattvlm.report import Report
from wattvlm.sensing import Domain

_FINER = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
"""Half-widths that are worth aiming at, as fractions of the value."""

_WORTH_AIMING_BELOW = 0.8
"""The next aim is at most this part of what was reached."""

_MOST_TIMES = 20
"""Nobody repeats a run for so many times its calls."""

_COARSE = (0.02, 0.05, 0.1)
_FEW_CALLS = 50


def more_calls(report: Report) -> str:
    """'40 more calls: prefill ±1 % for the expected call', of the least sure phase; '' where it would not help."""
    accelerator, calls = report.accelerator, len(report.calls)
    reached: list[tuple[float, str]] = []
    for part in report.phases:
        found = part.energies.get(accelerator) if accelerator else None
        if found is None or found.scatter is None or not found.stands_alone or found.scatter.planned:
            continue
        if found.scatter.mean_j > 0:
            reached.append((found.scatter.half_width_j(calls) / found.scatter.mean_j, part.name))
    if not reached:
        return ""
    fraction, name = max(reached, key=lambda each: each[0])
    aim = next((each for each in _FINER if each <= _WORTH_AIMING_BELOW * fraction), None)
    needed = None if aim is None else _needed(report, [name], aim, accelerator)
    if aim is None or needed is None or not calls < needed <= _MOST_TIMES * calls:
        return ""
    more = glue(f"{needed - calls:,} more call{'' if needed - calls == 1 else 's'}")
    return f"{more}: {listed([name], 'and')} {_to(aim)} for the expected call"


def calls_that_tell(report: Report, sums: Sequence[Sequence[str]], alone: Sequence[str], domain: Domain) -> str:
    """'20 calls tell vision encode and prefill apart (to ±2 %)' for phases that one or few calls do not resolve."""
    names = [*(name for names in sums for name in names), *alone]
    for aim in _COARSE:
        needed = _needed(report, names, aim, domain)
        if needed is not None and (needed <= _FEW_CALLS or aim == _COARSE[-1]):
            told = [f"tell {listed(names, 'and')} apart" for names in sums]
            told += [f"resolve {listed(alone, 'and')}"] if alone else []
            return f"{glue(f'{needed:,} calls')} {' and '.join(told)} ({glue(f'to {_to(aim)}')})."
    return ""


def _needed(report: Report, names: Sequence[str], relative: float, domain: Domain | None) -> int | None:
    """Calls in all for the phase that needs the most; None where any of them cannot be had."""
    if not names or domain is None:
        return None
    try:
        return max(report.calls_needed(name, relative, (domain,)) for name in names)
    except NotResolved:
        return None


def _to(aim: float) -> str:
    return glue(f"±{aim * 100:g} %")

"""What could not be told apart or resolved, in words: on how many ticks, and with the cure."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.renderers._joules import DOMAIN_TITLES, merged
from wattvlm.renderers._phases import all_rows, listed, phase_title
from wattvlm.renderers._repeating import calls_that_tell
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.report import Part, Report
from wattvlm.sensing import Domain

_CURE = "Cure: more calls, a longer phase, or a faster sensor."


def resolution(report: Report) -> Line:
    """A sentence a domain in which parts are one sum or not resolved, and the cure; empty where all stand alone."""
    said = [(words, cure) for domain in report.domains for words, cure in [_words(report, domain)] if words]
    if not said:
        return ()
    sentences = [f"{words} {cure}".strip() for words, cure in said]
    return (Span(" ".join(sentences if all(cure for _, cure in said) else [*sentences, _CURE])),)


def _words(report: Report, domain: Domain) -> tuple[str, str]:
    """(what is not resolved in a domain, how many calls would resolve it where that is known)."""
    parts, total = all_rows(report), report.total or report.block
    sums = list(dict.fromkeys(names for part in parts if (names := tuple(merged(parts, part, domain)))))
    alone = [
        part.name
        for part in (*parts, total)
        if (found := part.energies.get(domain)) and not found.resolved and not merged(parts, part, domain)
    ]
    said = [f"{' + '.join(map(phase_title, names))} are one sum" for names in sums]
    if alone:
        said.append(f"{listed(alone, 'and')} {'is' if len(alone) == 1 else 'are'} not resolved beyond the range")
    if not said:
        return "", ""
    ticks = _tick_words(parts, total, domain, [*(name for names in sums for name in names), *alone])
    phases = [part.name for part in report.phases if part.name in alone]
    return f"{DOMAIN_TITLES[domain]}: {'; '.join(said)}{ticks}.", calls_that_tell(report, sums, phases, domain)


def _tick_words(parts: Sequence[Part], total: Part, domain: Domain, names: Sequence[str]) -> str:
    """' (25 ticks, none inside prefill)': how often the sensor spoke, where it matters."""
    found = total.energies.get(domain)
    if found is None or found.ticks is None:
        return ""
    own = {part.name: energy.ticks for part in parts if (energy := part.energies.get(domain)) is not None}
    empty = [name for name in names if own.get(name) == 0]
    inside = f", none inside {listed(empty, 'or')}" if empty else ""
    return f" ({glue(f'{found.ticks:,} tick' + ('' if found.ticks == 1 else 's'))}{inside})"

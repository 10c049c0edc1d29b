"""The list of sensors: what each is, how often it ticked, how sure it is; and what is absent, with the cure."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.renderers._heading import DOMAIN_TITLES
from wattvlm.renderers._text import Line, Role, Span, glue
from wattvlm.report import ChannelUse, Report
from wattvlm.sensing import DOMAINS, Absence
from wattvlm.units import format_ns

INDENT = 18
"""Columns before the words of an entry: mark, domain, and what kind of number it is."""

_CURE_INDENT = 8
_TWO_SIDED_95 = 1.96


def sensor_lines(report: Report) -> list[Line]:
    """One entry a kind of sensor, those in totals first, then what is absent; each may be longer than a line."""
    groups: dict[tuple[object, ...], list[ChannelUse]] = {}
    for use in sorted(report.channels, key=lambda use: (DOMAINS.index(use.channel.domain), not use.in_totals)):
        channel = use.channel
        groups.setdefault((channel.domain, channel.sensor, channel.method, use.in_totals), []).append(use)
    lines = [_sensor(report, uses) for uses in groups.values()]
    for absence in report.absent:
        lines.extend(_absence(absence))
    return lines


def _entry(mark: str, role: Role, domain: str, state: str, words: str) -> Line:
    return (Span(mark, role), Span(glue(f"  {domain:<5}")), Span(glue(f"{state:<8}"), role), Span(glue("  ") + words))


def _sensor(report: Report, uses: Sequence[ChannelUse]) -> Line:
    channel = uses[0].channel
    domain = DOMAIN_TITLES[channel.domain]
    many = f"{len(uses)} x " if len(uses) > 1 else ""
    if channel.method == "model":
        return _entry("◐", "model", domain, "modelled", many + "; ".join([channel.sensor, *_model_facts(report, uses)]))
    words = f"{many}{channel.sensor}, {_rhythm(uses)}" if _rhythm(uses) else many + channel.sensor
    said = "; ".join([words, *_reading_facts(uses)])
    return _entry("●", "measured", domain, "virtual" if report.virtual else "measured", said)


def _model_facts(report: Report, uses: Sequence[ChannelUse]) -> list[str]:
    found = report.block.energies.get(uses[0].channel.domain)
    facts: list[str] = []
    if found is not None and found.energy.middle_j > 0 and found.energy.half_width_j > 0:
        facts.append(glue(f"±{_percent(found.energy.half_width_j / found.energy.middle_j)}"))
    if any(not report.is_modelled(domain) for domain in report.domains):
        facts.append("never added to a total" if uses[0].in_totals else "beside the total")
    return facts


def _rhythm(uses: Sequence[ChannelUse]) -> str:
    """'a tick each 100 ms' for a counter, 'a value each 100 ms, averaged over 1.00 s' for a power."""
    channel = uses[0].channel
    periods = [use.observed_period_ns or use.channel.update_period_ns for use in uses]
    known = [period for period in periods if period]
    if not known:
        return ""
    shortest, longest = format_ns(min(known)), format_ns(max(known))
    each = glue(shortest if shortest == longest else f"{shortest} to {longest}")
    if channel.method == "counter":
        return f"a tick each {each}"
    window = f", averaged over {glue(format_ns(channel.window_ns))}" if channel.window_ns else ""
    return f"a value each {each}{window}"


def _reading_facts(uses: Sequence[ChannelUse]) -> list[str]:
    facts: list[str] = []
    ticks = [use.ticks for use in uses if use.ticks is not None]
    if ticks:
        facts.append(glue(f"{sum(ticks):,} ticks caught"))
    gaps = sum(use.gaps for use in uses)
    if gaps:
        facts.append(glue(f"{gaps:,} gap{'' if gaps == 1 else 's'}") + " in the readings")
    gain = uses[0].channel.gain_std_fraction
    if gain:
        facts.append("gain " + glue(f"±{_percent(gain * _TWO_SIDED_95)}"))
    if not uses[0].in_totals:
        inside = uses[0].channel.contained_in
        facts.append(f"already in {inside}, not added" if inside else "not in the totals")
    return facts


def _percent(fraction: float) -> str:
    return f"{fraction * 100.0:.2g} %"


def _absence(absence: Absence) -> list[Line]:
    said = "; ".join(part for part in (absence.what, absence.effect) if part)
    lines: list[Line] = [_entry("○", "absent", DOMAIN_TITLES[absence.domain], "absent", said)]
    if absence.remedy:
        lines.append((Span(glue(" " * _CURE_INDENT + "cure      "), "dim"), Span(absence.remedy)))
    return lines

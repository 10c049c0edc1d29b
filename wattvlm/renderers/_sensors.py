"""The list of sensors: what each is, how often it ticked, how sure it is; and what is absent, with the cure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattvlm.errors import NotResolved
from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._numbers import write_period
from wattvlm.renderers._text import Line, Role, Span, glue
from wattvlm.report import ChannelUse, Report
from wattvlm.sensing import DOMAINS, Absence, Channel
from wattvlm.shares import share_of_cpu_time

INDENT = 18
"""Columns before an entry's words: mark, domain, and what kind of number it is."""

_TWO_SIDED_95 = 1.96


@dataclass(frozen=True, slots=True)
class Entry:
    """One sensor, or one that is absent: its mark, domain, state in one word, what it is; and the cure."""

    mark: str
    role: Role
    domain: str
    state: str
    words: str
    cure: str = ""


def sensor_entries(report: Report, wide: bool = True) -> list[Entry]:
    """One entry a kind of sensor, those in totals first, then what is absent. wide: there is room for who else ran."""
    groups: dict[tuple[object, ...], list[ChannelUse]] = {}
    for use in sorted(report.channels, key=lambda use: (DOMAINS.index(use.channel.domain), not use.in_totals)):
        channel = use.channel
        groups.setdefault((channel.domain, channel.sensor, channel.method, use.in_totals), []).append(use)
    return [*(_sensor(report, uses, wide) for uses in groups.values()), *map(_absence, report.absent)]


def entry_lines(entry: Entry) -> list[Line]:
    """An entry as lines of text, the cure on one of its own; each may need wrapping."""
    padded = Span(glue(f"{entry.state:<10}"), entry.role)
    lines: list[Line] = [(Span(entry.mark, entry.role), Span(glue(f"  {entry.domain:<5}")), padded, Span(entry.words))]
    if entry.cure:
        lines.append((Span(glue(" " * 8)), Span(glue(f"{'cure':<10}"), "dim"), Span(entry.cure)))
    return lines


def _sensor(report: Report, uses: Sequence[ChannelUse], wide: bool) -> Entry:
    channel = uses[0].channel
    domain = DOMAIN_TITLES[channel.domain]
    named = (f"{len(uses)} x " if len(uses) > 1 else "") + channel.sensor
    if channel.method == "model":
        return Entry("◐", "model", domain, "modelled", "; ".join([named, *_model_facts(report, uses)]))
    rhythm = _rhythm(uses)
    facts = [*_reading_facts(uses), *(_others(report, channel) if wide else ())]
    words = "; ".join([f"{named}, {rhythm}" if rhythm else named, *facts])
    if report.virtual:
        return Entry("●", "unresolved", domain, "virtual", words)
    return Entry("●", "measured", domain, "measured", words)


def _model_facts(report: Report, uses: Sequence[ChannelUse]) -> list[str]:
    found = report.block.energies.get(uses[0].channel.domain)
    facts: list[str] = []
    if found is not None and found.energy.middle_j > 0 and found.energy.half_width_j > 0:
        facts.append(glue(f"±{_percent(found.energy.half_width_j / found.energy.middle_j)}"))
    if any(not report.is_modelled(domain) for domain in report.domains):
        facts.append("never added to a total" if uses[0].in_totals else "beside the total")
    return facts


def _rhythm(uses: Sequence[ChannelUse]) -> str:
    """'519 ticks, one each 100 ms' for a counter, 'a value each 100 ms, averaged over 1 s' for a power."""
    channel = uses[0].channel
    periods = [use.observed_period_ns or use.channel.update_period_ns for use in uses]
    known = [period for period in periods if period]
    ticks = [use.ticks for use in uses if use.ticks is not None]
    counted = glue(f"{sum(ticks):,} tick{'' if sum(ticks) == 1 else 's'}") if ticks else ""
    if not known:
        return counted
    shortest, longest = write_period(min(known)), write_period(max(known))
    each = shortest if shortest == longest else glue(f"{shortest} to {longest}")
    if channel.method == "counter":
        return f"{counted}, one each {each}" if counted else f"a tick each {each}"
    window = f", averaged over {write_period(channel.window_ns)}" if channel.window_ns else ""
    return f"a value each {each}{window}"


def _reading_facts(uses: Sequence[ChannelUse]) -> list[str]:
    facts: list[str] = []
    gaps = sum(use.gaps for use in uses)
    if gaps:
        facts.append(glue(f"{gaps:,} gap{'' if gaps == 1 else 's'}") + " in the readings")
    facts += _gain(uses)
    if not uses[0].in_totals:
        inside = uses[0].channel.contained_in
        facts.append(f"already in {inside}, not added" if inside else "not in the totals")
    return facts


def _others(report: Report, channel: Channel) -> list[str]:
    """'whole package (others used 3 % of its CPU time)', where that was seen."""
    if channel.domain != "cpu" or not channel.name.endswith("/package"):
        return []
    try:
        least, most = share_of_cpu_time(report.conditions)
    except NotResolved:
        return []
    return [f"whole package (others used {glue(_percent(1.0 - (least + most) / 2))} of its CPU time)"]


def _gain(uses: Sequence[ChannelUse]) -> list[str]:
    """'gain ±9 % (uncalibrated)', or 'gain calibrated ±0.5 %' (and the widest where boards differ)."""
    widest = max(use.channel.gain_std_fraction for use in uses)
    calibrated = [use for use in uses if use.channel.source.get("gain_std_fraction", "").startswith("calibration of")]
    if not widest and not calibrated:
        return []
    shown = glue(f"±{_percent(widest * _TWO_SIDED_95)}")
    if len(calibrated) == len(uses):
        return [f"{glue('gain calibrated')} {shown}"]
    some = f" ({len(calibrated)} of {len(uses)} calibrated)" if calibrated else ""
    return [f"{glue('gain')} {shown}{some}"]


def _percent(fraction: float) -> str:
    percent = fraction * 100.0
    return f"{percent:.0f} %" if percent >= 1.95 else f"{percent:.1f} %"


def _absence(absence: Absence) -> Entry:
    said = "; ".join(part for part in (absence.what, absence.effect) if part)
    return Entry("○", "absent", DOMAIN_TITLES[absence.domain], "absent", said, absence.remedy)

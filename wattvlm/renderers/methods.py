"""Sentences to paste under "Measurement": what was read, how often, how sure it is, and with which versions."""

from __future__ import annotations

from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._sensors import sensor_entries
from wattvlm.renderers._text import GLUE, legible
from wattvlm.report import Report
from wattvlm.units import NS_PER_S, format_ns, format_w

FORMAT = "methods"
FILE_EXTENSION = ".txt"
IS_BINARY = False


def render(report: Report) -> str:
    """The measurement in plain sentences, in one paragraph without a newline."""
    said = [_what(report), *_sensors(report), *_intervals(report), *_idle(report), _versions(report)]
    return " ".join(legible(sentence).replace(GLUE, " ") for sentence in said if sentence)


def _what(report: Report) -> str:
    version = report.host.versions.get("wattvlm", "")
    of = f" of {report.model.name}" if report.model.name else ""
    how = ", ".join(fact for fact in (report.model.dtype, report.model.quantisation) if fact)
    calls = f"{len(report.calls):,} call{'' if len(report.calls) == 1 else 's'}{of}{f' ({how})' if how else ''}"
    ran = calls if report.calls else "one block without a model call"
    virtual = "; its sensors were virtual, so no hardware was measured" if report.virtual else ""
    return f"Energy is that of {ran}, by wattvlm{f' {version}' if version else ''}{virtual}."


def _sensors(report: Report) -> list[str]:
    """A sentence a domain that is in the totals; one for those that are absent."""
    said: list[str] = []
    for domain in report.domains:
        uses = [use for use in report.channels if use.channel.domain == domain and use.in_totals]
        shown = _words_of(report, domain)
        devices = " and ".join(dict.fromkeys(use.channel.device for use in uses if use.channel.device))
        verb = "modelled, not measured, from" if report.is_modelled(domain) else "read from"
        of = f" ({devices})" if devices and not report.is_modelled(domain) else ""
        if shown:
            said.append(f"{DOMAIN_TITLES[domain]} joules{of} were {verb} {shown}.")
    absent = list(dict.fromkeys(DOMAIN_TITLES[absence.domain] for absence in report.absent))
    missing = [domain for domain in absent if domain not in {DOMAIN_TITLES[found] for found in report.domains}]
    return [*said, f"{' and '.join(missing)} joules are absent."] if missing else said


def _words_of(report: Report, domain: str) -> str:
    """The words of a domain's sensors in the summary, those in no total left out."""
    entries = sensor_entries(report)
    title = next(title for name, title in DOMAIN_TITLES.items() if name == domain)
    return " and ".join(
        entry.words
        for entry in entries
        if entry.domain == title and entry.state != "absent" and "not added" not in entry.words
        and "not in the totals" not in entry.words and "beside the total" not in entry.words
    )  # fmt: skip


def _intervals(report: Report) -> list[str]:
    found = [energy for part in (*report.phases, report.block) for energy in part.energies.values()]
    measured = [each.energy for each in found if not each.energy.is_modelled]
    if not measured:
        return []
    kinds = {"bounds that hold for any power curve" if each.is_bounds else "95 % over the calls that ran"
             for each in measured}  # fmt: skip
    return [f"Intervals are {' or '.join(sorted(kinds))}; the unknown gain of the sensor is given apart."]


def _idle(report: Report) -> list[str]:
    if not report.idle:
        return ["Idle power was not seen; joules are gross."]
    seen = ", ".join(
        f"{DOMAIN_TITLES[domain]} {format_w(idle.power_w)}{' (modelled)' if idle.modelled else ''} "
        f"over {format_ns(idle.seen_ns)}"
        for domain, idle in report.idle.items()
    )
    return [f"Joules are gross; idle power was {seen}."]


def _versions(report: Report) -> str:
    host = report.host
    facts = [host.cpu, host.system, f"Python {host.python}" if host.python else ""]
    facts += [f"driver {host.facts['driver']}"] if "driver" in host.facts else []
    facts += [f"{name} {version}" for name, version in host.versions.items() if name != "wattvlm"]
    block_ns = report.block.duration_ns
    took = f" The block took {block_ns / NS_PER_S:.3g} s." if block_ns is not None else ""
    named = ", ".join(fact for fact in facts if fact)
    return (f"Machine: {named}." if named else "") + took

"""The top of a summary: what ran, on what, the few numbers that most people came for, and what to know first."""

from __future__ import annotations

from collections.abc import Iterable

from wattvlm.errors import NotResolved
from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._numbers import Amount, Parts, amount_of, spans, write, write_count, write_duration, write_middle
from wattvlm.renderers._table import UNICODE
from wattvlm.renderers._text import GLUE, Line, Span, glue
from wattvlm.report import CallReport, Idle, Report
from wattvlm.sensing import Channel, Domain
from wattvlm.units import HZ_PER_MHZ, NS_PER_S


def title(report: Report) -> Line:
    """'wattvlm  Qwen2.5-VL-3B-Instruct  20 calls, 1 image each, batch 1, bfloat16'."""
    model = report.model
    named = report.label or model.name or model.class_name
    facts = [_count_words(len(report.calls), "call"), *_call_facts(report.calls)] if report.calls else []
    if report.label and model.name and model.name != report.label:
        facts.insert(0, model.name)
    facts += [fact for fact in (model.dtype, model.quantisation) if fact]
    if model.device and not _on_gpu(report):
        facts.append(model.device)
    virtual = (Span(glue(" ")), Span("VIRTUAL", "unresolved")) if report.virtual else ()
    name = (Span(glue("  ")), Span(named, "strong")) if named else ()
    listed = (Span(glue("  ") + ", ".join(map(glue, facts))),) if facts else ()
    return (Span("wattvlm", "strong"), *virtual, *name, *listed)


def title_text(report: Report) -> str:
    """The title as one line of plain text."""
    words = "".join(span.text for span in UNICODE.line(title(report)))
    return " ".join(words.replace(GLUE, " ").split())


def _call_facts(calls: Iterable[CallReport]) -> list[str]:
    calls = list(calls)
    images = [call.images for call in calls if call.images is not None]
    facts: list[str] = []
    if len(images) == len(calls):
        each = " each" if len(calls) > 1 else ""
        facts.append("text only" if not any(images) else _spread_words(images, "image") + each)
    facts.append("batch " + _spread(call.batch_size for call in calls))
    return facts


def _count_words(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _spread_words(counts: list[int], noun: str) -> str:
    return _count_words(counts[0], noun) if len(set(counts)) == 1 else f"{_spread(counts)} {noun}s"


def _spread(counts: Iterable[int]) -> str:
    few, many = min(counts := list(counts)), max(counts)
    return f"{few:,}" if few == many else f"{few:,} to {many:,}"


def _on_gpu(report: Report) -> bool:
    return report.accelerator in ("gpu", "soc")


def devices(report: Report, wide: bool) -> list[Line]:
    """The accelerator with its power limit and idle power; where there is room the CPU and the versions too."""
    others: tuple[Domain, ...] = ("cpu", "soc") if wide else ()
    shown: list[Domain] = [domain for domain in report.domains if domain == report.accelerator or domain in others]
    lines = [_device(report, domain, wide) for domain in shown]
    facts = [f"driver {report.host.facts['driver']}"] if "driver" in report.host.facts else []
    versions = report.host.versions
    facts += [f"{name} {versions[name]}" for name in ("transformers", "torch") if name in versions]
    if wide and facts:
        lines.append((Span(", ".join(map(glue, facts))),))
    return [line for line in lines if line]


def _device(report: Report, domain: Domain, wide: bool) -> Line:
    channels = [use.channel for use in report.channels if use.channel.domain == domain and use.in_totals]
    boards = {channel.board: channel.device for channel in channels}
    names = [_short(name) for name in dict.fromkeys(boards.values()) if name]
    if domain == "cpu" and not any(channel.method != "model" for channel in channels):
        names = [_short(report.host.cpu)] if report.host.cpu else names
    many = len(boards) > 1
    words = [f"{len(boards)} x {names[0]}" if many and len(names) == 1 else " + ".join(names)] if names else []
    words += _limits(report, channels, many)
    line: Line = (Span(", ".join([*words[:1], *map(glue, words[1:])])),) if words else ()
    if domain in report.idle:
        comma = ", " if words else f"{DOMAIN_TITLES[domain]} "
        line += (Span(comma + glue("idle ")), *_idle(report.idle[domain]))
        clock_hz = report.idle[domain].clock_hz
        line += (Span(glue(f" at {clock_hz / HZ_PER_MHZ:,.0f} MHz")),) if wide and clock_hz is not None else ()
        line += (Span(glue(" together")),) if many else ()
    return line


def _limits(report: Report, channels: list[Channel], many: bool) -> list[str]:
    facts = report.host.facts
    found = {facts.get(f"{name} limit_w", "") for channel in channels for name in (channel.board, channel.name)} - {""}
    return [f"limit {' / '.join(sorted(found))} W{' each' if many else ''}"] if found else []


def _idle(idle: Idle) -> Line:
    low_w, high_w = idle.interval_w
    half_w = None if idle.modelled else max(high_w - idle.power_w, idle.power_w - low_w)
    return spans(write(Amount(idle.power_w, half_w, idle.modelled, "W")))


def _short(device: str) -> str:
    return " ".join(device.replace("(R)", "").replace("(TM)", "").replace("(tm)", "").split())


def headline(report: Report, wide: bool) -> list[Line]:
    """'503.5 J per request', 'per visual token: not resolved', ...: ratios of the accelerator, which ends the last."""
    domain = report.accelerator
    if domain is None or not report.calls:
        return []
    items: list[Line] = []
    unresolved: list[Line] = []
    for what in ("request", "visual_token", "output_token"):
        ratio = report.ratio(what)
        if ratio.energy is not None:
            items.append((*write_middle(ratio.energy, strong=True), Span(f" per {ratio.label}")))
        elif ratio.count:
            unresolved.append((Span(glue(f"per {ratio.label}: ")), Span(glue("not resolved"), "unresolved")))
    items += [*(_watt_hours(report) if wide else []), *unresolved]
    if items:
        items[-1] = (*items[-1], Span(glue("  ") + f"({DOMAIN_TITLES[domain]})", "dim"))
    return items


def _watt_hours(report: Report) -> list[Line]:
    try:
        energy = report.wh_per_1000_requests
    except NotResolved:
        return []
    parts = write(amount_of(energy))
    value = Parts(parts.whole, parts.fraction, unit="Wh", modelled=parts.modelled)
    return [(*spans(value, strong=True), Span(" per 1,000 requests"))]


def warnings(report: Report) -> list[Line]:
    """What a reader must know before any number: an unfinished run, models only, no joules, another device."""
    said: list[str] = []
    if report.virtual:
        said.append("VIRTUAL: formulas seen through models of sensors; no hardware was read.")
    if report.interrupted:
        said.append(f"interrupted: {report.interrupted}")
    domains = report.domains
    if not domains:
        said.append("No joules here: no sensor could be read and nothing was modelled.")
    elif all(report.is_modelled(domain) for domain in domains):
        said.append("No power sensor here: every joule below is a model, not a measurement.")
    if report.model.device.startswith(("cuda", "xpu")) and domains and not _on_gpu(report):
        said.append(f"The model ran on {report.model.device}, whose joules were not read: none below are its.")
    if not report.calls:
        said.append("No model call was seen in the block: its joules are those of all that ran in it.")
    return [(Span(words, "unresolved"),) for words in said]


def exact(report: Report) -> Line:
    """What is exact where no joules were measured: '16 visual, 29 prompt, 3 output tokens; TTFT 6.5 ms'."""
    measured = any(not report.is_modelled(domain) for domain in report.domains)
    if measured or not report.calls:
        return ()
    tokens, calls = report.tokens, len(report.calls)
    counts = {"visual": tokens.visual_input, "prompt": tokens.prompt, "output": tokens.output}
    words = ", ".join(
        glue(f"{count.whole}{count.fraction} {name}")
        for name, count in ((name, write_count(total / calls)) for name, total in counts.items() if total is not None)
    )
    ttft = [f"TTFT {write_duration(report.ttft_s * NS_PER_S)}"] if report.ttft_s is not None else []
    each = " a call" if calls > 1 else ""
    said = "; ".join([*([f"{words} tokens{each}"] if words else []), *map(glue, ttft)])
    computed = any("computed from" in how for how in tokens.how.values())
    claim = "Times are exact, visual tokens are computed" if computed else "Counts and times are exact"
    return (Span(f"{claim}: {said}."),) if said else ()

"""One page that is whole in itself: power over time with phases, the joules of a call, every call, how it was measured.

Bokeh draws it; its script is taken from where it is installed, so the page needs no network. Every name in it is
escaped text. Needs the extra wattvlm[html].
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from wattvlm.renderers import _heading, methods, notebook
from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._phases import phase_title
from wattvlm.renderers._plots import (
    DOMAIN_COLOURS,
    OTHER_COLOUR,
    PHASE_COLOURS,
    bars,
    power_figure,
    shades,
    waterfall_figure,
)
from wattvlm.renderers._text import legible
from wattvlm.renderers._webpage import embedded, plotted, require_bokeh, section, webpage
from wattvlm.report import CallReport, PowerTrack, Report
from wattvlm.sensing import Domain
from wattvlm.units import NS_PER_MS

FORMAT = "html"
FILE_EXTENSION = ".html"
IS_BINARY = False


def render(report: Report) -> str:
    """The page as text. WattvlmError names the cure where Bokeh is not installed."""
    require_bokeh()
    plots: list[Any] = []
    sections = [_power(report, plots), _waterfall(report, plots), _summary(report), _calls(report), _method(report)]
    missed = "Without scripts the power curve and the list of calls are not drawn; the tables below hold all means."
    return webpage(_heading.title_text(report), sections, plots, missed)


def _power(report: Report, plots: list[Any]) -> str:
    if not report.power:
        why = (
            "no sensor and no model gave any"
            if not report.domains
            else "readings are too few, or the file is of before it was kept"
        )
        return section("no-power", "Power over time", f"<p>There is no power curve: {why}.</p>")
    drawn, left_out = shades(report)
    plots.append(plotted(power_figure(report, drawn), "power-plot"))
    lines = "".join(
        f'<li><i class="line" style="background:{DOMAIN_COLOURS[track.domain]}"></i>{DOMAIN_TITLES[track.domain]} '
        f"{'modelled' if track.modelled else 'VIRTUAL' if report.virtual else 'measured'}, "
        f"{_watts(track)}</li>"
        for track in report.power
    )
    for name in dict.fromkeys(shade.name for shade in drawn):
        colour = PHASE_COLOURS.get(name, OTHER_COLOUR)
        lines += f'<li><i style="background:{colour}"></i>{escape(legible(phase_title(name)))}</li>'
    missing = f" The {left_out:,} shortest phases are not shaded." if left_out else ""
    buttons = "".join(
        f'<button type="button" data-zoom="{way}">{words}</button>'
        for way, words in (("in", "Zoom in"), ("out", "Zoom out"), ("left", "Earlier"), ("right", "Later"),
                           ("whole", "Whole block"))
    )  # fmt: skip
    caption = (
        "Mean watts between the sensors' updates, whose times are the marks under the curve; a pale band spans the "
        f"least and the most where steps are drawn together.{missing} Drag to move, or take the tools at the right."
    )
    return section(
        "power", "Power over time",
        f'<figure><figcaption>{caption}</figcaption><ul class="legend">{lines}</ul><div class="controls">{buttons}'
        '</div><div id="power-plot" class="plot" role="img" aria-label="Power of each domain over time; '
        'the table of phases below has its means."></div></figure>',
    )  # fmt: skip


def _watts(track: PowerTrack) -> str:
    least, most = (f"{float(power_w):.0f}" for power_w in (track.least_w.min(), track.most_w.max()))
    return f"{least} W" if least == most else f"{least} to {most} W"


def _waterfall(report: Report, plots: list[Any]) -> str:
    domain = report.accelerator
    made, unit, unresolved = bars(report, domain) if domain is not None else ([], "J", [])
    if domain is None or not made:
        return ""
    plots.append(plotted(waterfall_figure(report, domain), "waterfall-plot"))
    kind = "modelled" if report.is_modelled(domain) else "VIRTUAL" if report.virtual else "measured"
    missing = f" Not resolved, and so not drawn: {', '.join(map(escape, unresolved))}." if unresolved else ""
    described = "; ".join(f"{bar.title} {bar.end - bar.start:.4g} {unit}" for bar in made)
    return section(
        "waterfall", "Where the joules of a call go",
        f"<figure><figcaption>{DOMAIN_TITLES[domain]}, {kind}, mean of {len(report.calls):,} "
        f"call{'' if len(report.calls) == 1 else 's'}; thin lines are the intervals.{missing}</figcaption>"
        f'<div id="waterfall-plot" class="plot" role="img" aria-label="{escape(described)}"></div></figure>',
    )  # fmt: skip


def _summary(report: Report) -> str:
    return section("summary", "Joules by phase and by token", f'<div class="scroll">{notebook.render(report)}</div>')


def _method(report: Report) -> str:
    said = escape(str(methods.render(report)))
    return section("method", "How it was measured", f"<p>{said}</p>")


@dataclass(frozen=True, slots=True)
class _Field:
    """A column of the table of calls, and how many decimals its numbers have (None: as they are)."""

    title: str
    digits: int | None = None


def _calls(report: Report) -> str:
    if not report.calls:
        return ""
    domain = report.accelerator
    joules = DOMAIN_TITLES[domain] if domain is not None else ""
    fields = [_Field("call"), _Field("label"), _Field("images"), _Field("visual tokens"), _Field("prompt tokens"),
              _Field("output tokens"), _Field("time ms", 1), _Field("TTFT ms", 1)]  # fmt: skip
    fields += [_Field(f"{joules} J", 3), _Field("least J", 3), _Field("most J", 3)] if domain is not None else []
    fields.append(_Field("ended"))
    rows = [_call_row(call, domain) for call in report.calls]
    data = embedded({"columns": [{"digits": field.digits} for field in fields], "rows": rows})
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{field.title}</button></th>' for field in fields
    )
    about = " Joules of a single call are bounds, so they are given with the least and the most." if domain else ""
    return section(
        "each-call", "Every call",
        f"<p>A column's title sorts by it.{about}</p><div class='controls'>"
        '<button type="button" id="earlier">Previous</button><button type="button" id="later">Next</button>'
        '<span id="shown" role="status"></span></div><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Every call"><table id="calls"><thead><tr>{heads}</tr></thead><tbody></tbody></table></div>'
        f'<script type="application/json" id="rows">{data}</script>',
    )  # fmt: skip


def _call_row(call: CallReport, domain: Domain | None) -> list[Any]:
    tokens = call.tokens
    ttft_ms = None if call.ttft_ns is None else call.ttft_ns / NS_PER_MS
    row: list[Any] = [call.call_id, legible(call.label), call.images, tokens.visual_input, tokens.prompt]
    row += [tokens.output, call.duration_ns / NS_PER_MS, ttft_ms]
    if domain is not None:
        found = call.total.energies.get(domain)
        row += [None] * 3 if found is None else [found.energy.middle_j if found.resolved else None, *found.bounds_j]
    return [*row, legible(call.ended)]

"""The pictures of the HTML report as Bokeh figures: power over time with phases, and the energy of a call by phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._phases import all_rows, listed, phase_title
from wattvlm.renderers._text import legible
from wattvlm.report import Part, PowerTrack, Report
from wattvlm.sensing import Domain
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, PROJECTOR, VISION_ENCODE
from wattvlm.units import NS_PER_S, energy_scale

MOST_SPANS = 6000
"""Shaded stretches that a browser draws at once without a pause; the longest ones are kept."""

PHASE_COLOURS = {PREPROCESS: "#8a8f98", VISION_ENCODE: "#8e6bd1", PROJECTOR: "#d16ba5", PREFILL: "#e08a1e",
                 DECODE: "#2f9e77"}  # fmt: skip
OTHER_COLOUR = "#6f7f93"
DOMAIN_COLOURS: dict[Domain, str] = {"gpu": "#2f86e0", "cpu": "#d9534f", "ram": "#a58a3c", "soc": "#2f86e0",
                                     "node": "#7a6ad8"}  # fmt: skip
_HEIGHT_PX = 340


@dataclass(frozen=True, slots=True)
class Shade:
    """A stretch of time that one phase took: seconds after the origin, and whose it was."""

    start_s: float
    end_s: float
    name: str
    call: str


def origin_ns(report: Report) -> int:
    """The block's start; of a report that does not say it, the first reading."""
    spans_ns = report.block.spans_ns
    return spans_ns[0][0] if spans_ns else min((int(track.edge_ns[0]) for track in report.power), default=0)


def shades(report: Report) -> tuple[list[Shade], int]:
    """(the phases of all calls and the user's own, in order of time; how many shorter ones were left out)."""
    found = [*_call_shades(report), *_own_shades(report)]
    kept = sorted(found, key=lambda shade: shade.start_s - shade.end_s)[:MOST_SPANS]
    return sorted(kept, key=lambda shade: shade.start_s), len(found) - len(kept)


def _call_shades(report: Report) -> Iterator[Shade]:
    zero_ns = origin_ns(report)
    for call in report.calls:
        for part in call.phases:
            yield from _shades_of(part, zero_ns, f"call {call.call_id}")


def _own_shades(report: Report) -> Iterator[Shade]:
    for part in report.own_phases:
        yield from _shades_of(part, origin_ns(report), "your phase")


def _shades_of(part: Part, zero_ns: int, call: str) -> Iterator[Shade]:
    for start_ns, end_ns in part.spans_ns:
        yield Shade((start_ns - zero_ns) / NS_PER_S, (end_ns - zero_ns) / NS_PER_S, part.name, call)


def power_figure(report: Report, drawn: Sequence[Shade]) -> Any:
    """Watts of each domain over the block in steps, phases shaded, sensor ticks along the bottom."""
    models: Any = import_module("bokeh.models")
    zero_ns = origin_ns(report)
    last_ns = max(int(track.edge_ns[-1]) for track in report.power)
    top_w = max(float(np.max(track.most_w)) for track in report.power) * 1.06 or 1.0
    figure = plain_figure(
        x_range=models.Range1d(0.0, (last_ns - zero_ns) / NS_PER_S), y_range=models.Range1d(-0.05 * top_w, top_w),
        x_axis_label="seconds in the block", y_axis_label="W",
    )  # fmt: skip
    wheel = models.WheelZoomTool(dimensions="width")
    figure.add_tools(
        models.PanTool(dimensions="width"), wheel, models.BoxZoomTool(dimensions="width"), models.ResetTool()
    )
    figure.toolbar.active_scroll = None
    shaded = figure.quad(
        "left", "right", "top", "bottom", fill_color="colour", fill_alpha=0.2, line_color=None,
        source=plot_source(
            left=[shade.start_s for shade in drawn], right=[shade.end_s for shade in drawn],
            top=[top_w] * len(drawn), bottom=[0.0] * len(drawn),
            colour=[PHASE_COLOURS.get(shade.name, OTHER_COLOUR) for shade in drawn],
            words=[f"{legible(phase_title(shade.name))}, {shade.call}: {(shade.end_s - shade.start_s) * 1e3:.1f} ms"
                   for shade in drawn],
        ),
    )  # fmt: skip
    figure.add_tools(models.HoverTool(renderers=[shaded], tooltips=[("", "@words")]))
    for track in report.power:
        _draw(figure, track, zero_ns, top_w)
    return figure


def _draw(figure: Any, track: PowerTrack, zero_ns: int, top_w: float) -> None:
    colour = DOMAIN_COLOURS[track.domain]
    edges_s = (track.edge_ns - zero_ns) / NS_PER_S
    if not np.array_equal(track.least_w, track.most_w):
        figure.quad(left=edges_s[:-1].tolist(), right=edges_s[1:].tolist(), bottom=track.least_w.tolist(),
                    top=track.most_w.tolist(), fill_color=colour, fill_alpha=0.25, line_color=None)  # fmt: skip
    watts = np.append(track.power_w, track.power_w[-1])
    dash = "dashed" if track.modelled else "solid"
    figure.step(edges_s.tolist(), watts.tolist(), mode="after", line_color=colour, line_width=1.8, line_dash=dash)
    if len(track.tick_ns):
        at_s = ((track.tick_ns - zero_ns) / NS_PER_S).tolist()
        low, high = [-0.035 * top_w] * len(at_s), [-0.01 * top_w] * len(at_s)
        figure.segment(x0=at_s, x1=at_s, y0=low, y1=high, line_color=colour, line_width=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a call's joules: its title, from where to where, its interval, and its colour."""

    title: str
    start: float
    end: float
    low: float
    high: float
    colour: str


def bars(report: Report, domain: Domain) -> tuple[list[Bar], str, list[str]]:
    """(bars one after the other and the whole call, their unit, the phases that are not resolved)."""
    rows = all_rows(report)
    total = report.total.energies.get(domain) if report.total is not None else None
    if total is None:
        return [], "J", []
    factor, unit = energy_scale(total.energy.middle_j)
    made: list[Bar] = []
    at, seen, unresolved = 0.0, set[tuple[str, ...]](), list[str]()
    for part in rows:
        found = part.energies.get(domain)
        if found is None or found.covers in seen:
            continue
        seen.add(found.covers)
        if not found.resolved:
            unresolved.append(legible(phase_title(part.name)))
            continue
        middle, (low, high) = found.energy.middle_j * factor, found.energy.interval_j
        title = legible(listed(found.covers, "+") if len(found.covers) > 1 else phase_title(part.name))
        end = at + middle
        made.append(Bar(title, at, end, at + low * factor, at + high * factor,
                        PHASE_COLOURS.get(part.name, OTHER_COLOUR)))  # fmt: skip
        at = end
    low, high = total.energy.interval_j
    made.append(Bar("whole call", 0.0, total.energy.middle_j * factor, low * factor, high * factor,
                    DOMAIN_COLOURS[domain]))  # fmt: skip
    return made, unit, unresolved


def waterfall_figure(report: Report, domain: Domain) -> Any:
    """Joules of a call by phase, one after the other, each with its interval."""
    made, unit, _ = bars(report, domain)
    numbered = [f"{index + 1}. " for index in range(len(made) - 1)]  # two phases of one name need two rows
    mark = "~" if report.is_modelled(domain) else ""
    rows = [
        f"{number}{bar.title}  {mark}{bar.end - bar.start:.4g} {unit}" for number, bar in zip([*numbered, ""], made)
    ]
    figure = plain_figure(
        y_range=rows[::-1], x_axis_label=f"{unit} of the {DOMAIN_TITLES[domain]} a call",
        height=90 + 34 * len(made), toolbar_location=None,
    )  # fmt: skip
    figure.hbar(y=rows, left=[bar.start for bar in made], right=[bar.end for bar in made], height=0.62,
                fill_color=[bar.colour for bar in made], fill_alpha=0.8, line_color=None)  # fmt: skip
    figure.segment(x0=[bar.low for bar in made], x1=[bar.high for bar in made], y0=rows, y1=rows, line_width=2,
                   line_color="#888888", name="ink")  # fmt: skip
    figure.x_range.range_padding = 0.04
    figure.x_range.start = 0.0
    figure.ygrid.grid_line_color = None
    return figure


def plain_figure(**options: Any) -> Any:
    """A figure without colours of its own, which the page paints for light and dark."""
    plotting: Any = import_module("bokeh.plotting")  # its types take a wall of keywords and know none of ours
    made = plotting.figure(**{"height": _HEIGHT_PX, "sizing_mode": "stretch_width", "tools": "", **options})
    made.background_fill_color = made.border_fill_color = made.outline_line_color = None
    made.toolbar.logo = None
    made.toolbar.autohide = False
    for axis in made.axis:
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "13px"
    return made


def plot_source(**columns: Any) -> Any:
    """Columns as Bokeh takes them."""
    models: Any = import_module("bokeh.models")
    return models.ColumnDataSource(data=columns)

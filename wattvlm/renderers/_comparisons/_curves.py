"""The pictures of a sweep as Bokeh figures: joules, and seconds, of each phase over the power limit or the clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wattvlm.comparison import Expected
from wattvlm.renderers._phases import phase_title
from wattvlm.renderers._plots import OTHER_COLOUR, PHASE_COLOURS, plain_figure
from wattvlm.renderers._text import legible
from wattvlm.sweep import Point, Setting, Sweep
from wattvlm.units import HZ_PER_MHZ

UNITS = {"joules": "J", "seconds": "s"}
"""What is drawn, and its unit."""

_CLOCK_COLOURS = ("#2f86e0", "#d9534f", "#2f9e77", "#e08a1e", "#8e6bd1", "#6f7f93")


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: its name, its colour, and where it goes; ends: of the interval at each place."""

    name: str
    colour: str
    x: tuple[float, ...]
    values: tuple[float, ...]
    ends: tuple[tuple[float, float], ...]


def curves(sweep: Sweep, what: str) -> list[Curve]:
    """A line for each phase; where limits and clocks both were swept, one of the whole call for each clock."""
    clocks = list(dict.fromkeys(point.setting.core_clock_hz for point in sweep.points))
    if len(clocks) > 1 and sweep.points[0].setting.power_limit_w is not None:
        named = [
            (f"call at {Setting(core_clock_hz=clock_hz)}", colour,
             [point for point in sweep.points if point.setting.core_clock_hz == clock_hz], "call")
            for clock_hz, colour in zip(clocks, _CLOCK_COLOURS * len(clocks))
        ]  # fmt: skip
    else:
        names = [phase.name for phase in sweep.points[-1].phases]
        named = [(phase_title(name), PHASE_COLOURS.get(name, OTHER_COLOUR), list(sweep.points), name) for name in names]
    return [found for entry in named if (found := _curve(*entry, what)) is not None]


def _curve(name: str, colour: str, points: Sequence[Point], phase: str, what: str) -> Curve | None:
    known = list(_known(points, phase, what))
    if not known:
        return None
    places, values = [x for x, _ in known], [each for _, each in known]
    ends = tuple((each.low, each.high) if each.high < float("inf") else (each.value, each.value) for each in values)
    return Curve(legible(name), colour, tuple(places), tuple(each.value for each in values), ends)


def _known(points: Sequence[Point], phase: str, what: str) -> Iterator[tuple[float, Expected]]:
    for point in points:
        found = next((each for each in point.phases if each.name == phase), None)
        value = None if found is None else (found.joules if what == "joules" else found.seconds)
        if value is not None:
            yield axis(point.setting), value


def axis(setting: Setting) -> float:
    """Where a setting stands: at its limit in watts, else at its clock in MHz."""
    if setting.power_limit_w is not None:
        return setting.power_limit_w
    return (setting.core_clock_hz or 0.0) / HZ_PER_MHZ


def curves_figure(sweep: Sweep, what: str, drawn: Sequence[Curve]) -> Any:
    """The lines with their intervals, and the best setting as a dashed line."""
    models: Any = import_module("bokeh.models")
    of_limits = sweep.points[0].setting.power_limit_w is not None
    figure = plain_figure(
        x_axis_label="power limit in W" if of_limits else "core clock in MHz",
        y_axis_label=f"{UNITS[what]} a call", toolbar_location=None,
    )  # fmt: skip
    for curve in drawn:
        figure.line(list(curve.x), list(curve.values), line_width=2, line_color=curve.colour, legend_label=curve.name)
        dots = figure.scatter(list(curve.x), list(curve.values), size=7, color=curve.colour)
        figure.segment(x0=list(curve.x), x1=list(curve.x), y0=[low for low, _ in curve.ends],
                       y1=[high for _, high in curve.ends], line_width=2, line_color=curve.colour)  # fmt: skip
        figure.add_tools(
            models.HoverTool(renderers=[dots], tooltips=[(curve.name, f"@y{{0.0000}} {UNITS[what]} at @x")])
        )
    if sweep.best is not None:
        best = axis(sweep.points[sweep.best].setting)
        figure.add_layout(models.Span(location=best, dimension="height", line_color="#888888", line_dash="dashed"))
    figure.y_range.start = 0.0
    figure.add_layout(figure.legend[0], "right")
    return figure

"""The pictures of a comparison as Bokeh figures: changes with their intervals, and joules of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from wattvlm.comparison import Comparison, Difference, Expected, Standings
from wattvlm.renderers._comparisons._differences import title_of
from wattvlm.renderers._plots import DOMAIN_COLOURS, plain_figure, plot_source
from wattvlm.renderers._text import legible
from wattvlm.units import energy_scale

COLOURS = {"worse": "#d9534f", "better": "#2f9e77", "cannot tell": "#8a8f98"}
"""The verdict's word stands beside each mark, so that no one has to tell the colours apart."""

_ROW_PX = 30
FURTHEST = 1.0
"""A change of more than 100 % is not drawn further out, so that the others can still be told apart."""


def drawn_differences(comparison: Comparison) -> list[Difference]:
    """Those that have a change with an interval; the same joules under two names once."""
    found: list[Difference] = []
    seen = set[tuple[object, ...]]()
    for each in comparison.differences:
        key = (each.metric if each.kind != "energy" else "", each.change_fraction, each.interval_fraction)
        if each.interval_fraction is not None and key not in seen:
            seen.add(key)
            found.append(each)
    return found


def changes_figure(shown: Sequence[Difference]) -> Any:
    """Each metric's change in percent with its 95 % interval, and a line at no change."""
    models: Any = import_module("bokeh.models")
    rows = _told_apart([f"{legible(title_of(each.metric))}: {each.verdict}" for each in shown])
    ends = [each.interval_fraction or (0.0, 0.0) for each in shown]
    source = plot_source(
        row=rows,
        change=[_inside(each.change_fraction or 0.0) * 100 for each in shown],
        low=[_inside(low) * 100 for low, _ in ends],
        high=[_inside(high) * 100 for _, high in ends],
        colour=[COLOURS.get(each.verdict, COLOURS["cannot tell"]) for each in shown],
        words=[f"{(each.change_fraction or 0.0) * 100:+.2f} % ({low * 100:+.2f} to {high * 100:+.2f} %)"
               for each, (low, high) in zip(shown, ends)],
    )  # fmt: skip
    figure = plain_figure(
        y_range=rows[::-1], x_axis_label="change in %, with its 95 % interval", height=80 + _ROW_PX * len(rows),
        toolbar_location=None,
    )  # fmt: skip
    figure.add_layout(models.Span(location=0, dimension="height", line_color="#888888", line_dash="dashed"))
    marks = figure.segment("low", "row", "high", "row", line_width=3, line_color="colour", source=source)
    dots = figure.scatter("change", "row", size=9, color="colour", source=source)
    figure.add_tools(models.HoverTool(renderers=[marks, dots], tooltips=[("@row", "@words")]))
    figure.ygrid.grid_line_color = None
    return figure


def _told_apart(rows: list[str]) -> list[str]:
    """The rows, those of one name numbered: an axis needs each name once."""
    return [f"{place + 1}. {row}" if rows.count(row) > 1 else row for place, row in enumerate(rows)]


def _inside(fraction: float) -> float:
    return min(FURTHEST, max(-FURTHEST, fraction))


def joules_figure(standings: Standings, metric: str, label: str) -> Any:
    """Bars of one metric of each run, each with its interval."""
    known = [(run, found) for run in standings.runs if (found := run.metrics.get(metric)) is not None]
    factor, unit = energy_scale(max(found.value for _, found in known))
    tildes = ["~" if run.is_modelled else "" for run, _ in known]
    rows = _told_apart(
        [f"{legible(run.name)}  {tilde}{found.value * factor:.4g} {unit}" for (run, found), tilde in zip(known, tildes)]
    )
    figure = plain_figure(
        y_range=rows[::-1], x_axis_label=f"{unit} per {label}", height=80 + _ROW_PX * len(rows), toolbar_location=None
    )
    values = [found.value * factor for _, found in known]
    figure.hbar(y=rows, left=0, right=values, height=0.6, fill_color=DOMAIN_COLOURS["gpu"], fill_alpha=0.75,
                line_color=None)  # fmt: skip
    ends = [_ends(found) for _, found in known]
    figure.segment(x0=[low * factor for low, _ in ends], x1=[high * factor for _, high in ends], y0=rows, y1=rows,
                   line_width=2, line_color="#888888", name="ink")  # fmt: skip
    figure.x_range.start = 0.0
    figure.ygrid.grid_line_color = None
    return figure


def _ends(found: Expected) -> tuple[float, float]:
    is_finite = found.high < float("inf") and found.low > float("-inf")
    return (found.low, found.high) if is_finite else (found.value, found.value)

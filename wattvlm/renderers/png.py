"""A picture for a slide or a paper: power over time with the phases, and the joules of a call, drawn by matplotlib.

Needs the extra wattvlm[png]. The reader's own matplotlib settings, figures and backend are neither used nor changed.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from importlib import import_module, util
from typing import Any, Literal

import numpy as np

from wattvlm.errors import WattvlmError
from wattvlm.renderers import _heading
from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._phases import phase_title
from wattvlm.renderers._plots import DOMAIN_COLOURS, OTHER_COLOUR, PHASE_COLOURS, bars, origin_ns, shades
from wattvlm.renderers._text import legible
from wattvlm.report import PowerTrack, Report
from wattvlm.sensing import Domain
from wattvlm.units import NS_PER_S

FORMAT = "png"
FILE_EXTENSION = ".png"
IS_BINARY = True

Theme = Literal["light", "dark"]

_PAGES: dict[Theme, tuple[str, str, str]] = {
    "light": ("#ffffff", "#1b2027", "#d6dbe1"),
    "dark": ("#14171c", "#dfe3e8", "#333a44"),
}
"""Colours of the page, of text and lines on it, and of its grid: those of the HTML page."""

_CURVE_INCHES, _LEGEND_INCHES, _BAR_INCHES, _FRAME_INCHES = 3.0, 0.45, 0.3, 1.1
_TITLE_COLUMNS_PER_INCH = 11
_LONGEST_NAME, _MOST_NAMES = 40, 10
"""A name in the legend or beside a bar is cut after so many letters, and so many phases are named: there may be any
number of any length."""

_NOTHING = "There is nothing to draw: no call with joules that can be told, and no power over time."


def render(report: Report, theme: Theme = "light", width_inches: float = 9.0, dpi: int = 150) -> bytes:
    """The picture as PNG bytes, the same each time. theme: "light" or "dark"; width_inches: at least 5.

    WattvlmError names the cure where matplotlib is not installed; ValueError for another theme.
    """
    if theme not in _PAGES:
        raise ValueError(f"no theme {theme!r}; there are {', '.join(_PAGES)}")
    require_matplotlib()
    style: Any = import_module("matplotlib.style")
    with warnings.catch_warnings(), style.context("default"):
        warnings.simplefilter("ignore")  # a name may have letters that the font lacks; they are drawn as boxes
        return _draw(report, theme, max(5.0, width_inches), dpi)


def require_matplotlib() -> None:
    """WattvlmError where matplotlib is not installed."""
    if util.find_spec("matplotlib") is None:
        raise WattvlmError(
            "the PNG picture is drawn by matplotlib, which is not installed. Cure: pip install 'wattvlm[png]'"
        )


def _draw(report: Report, theme: Theme, width_inches: float, dpi: int) -> bytes:
    figures: Any = import_module("matplotlib.figure")
    page, ink, grid = _PAGES[theme]
    title = textwrap.wrap(_cut(_heading.title_text(report), 240), int(width_inches * _TITLE_COLUMNS_PER_INCH))
    domain = report.accelerator
    made = bars(report, domain)[0] if domain is not None else []
    heights = [_CURVE_INCHES + _LEGEND_INCHES] * bool(report.power) + [_FRAME_INCHES + _BAR_INCHES * len(made)] * bool(
        made
    )
    figure = figures.Figure(
        figsize=(width_inches, 0.3 + 0.22 * len(title) + sum(heights, 0.0) + 0.5 * (not heights)), dpi=dpi,
        facecolor=page, layout="constrained",
    )  # fmt: skip
    figure.suptitle("\n".join(title), x=0.01, ha="left", fontsize=11, color=ink, parse_math=False)
    if not heights:
        figure.text(0.01, 0.1, _NOTHING, color=ink)
    else:
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel in panels:
            dress(panel, page, ink, grid)
        if report.power:
            _power(panels[0], report, ink)
        if domain is not None and made:
            _waterfall(panels[-1], report, domain, ink)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=page, metadata={"Software": None})
    return file.getvalue()


def dress(panel: Any, page: str, ink: str, grid: str) -> None:
    """The panel in the theme's colours, with a grid behind."""
    panel.set_facecolor(page)
    panel.tick_params(colors=ink, labelsize=9)
    panel.grid(color=grid, linewidth=0.6)
    panel.set_axisbelow(True)
    for side, line in panel.spines.items():
        line.set_color(grid)
        line.set_visible(side in ("left", "bottom"))


def _power(panel: Any, report: Report, ink: str) -> None:
    """Watts of each domain in steps, phases shaded, sensor ticks along the bottom."""
    zero_ns = origin_ns(report)
    top_w = max(float(np.max(track.most_w)) for track in report.power) * 1.06 or 1.0
    drawn, _ = shades(report)
    stretches: dict[str, list[tuple[float, float]]] = {}
    for shade in drawn:
        stretches.setdefault(shade.name, []).append((shade.start_s, shade.end_s - shade.start_s))
    for number, (name, taken) in enumerate(stretches.items()):
        title = _name(phase_title(name)) if number < _MOST_NAMES else None
        colour = PHASE_COLOURS.get(name, OTHER_COLOUR)
        panel.broken_barh(taken, (0.0, top_w), facecolors=colour, alpha=0.22, linewidth=0, label=title)
    for track in report.power:
        _curve(panel, track, zero_ns, top_w, _kind(report, track.domain))
    last_ns = max(int(track.edge_ns[-1]) for track in report.power)
    panel.set_xlim(0.0, max((last_ns - zero_ns) / NS_PER_S, 1e-9))
    panel.set_ylim(-0.05 * top_w, top_w)
    panel.set_xlabel("seconds in the block", color=ink, fontsize=9)
    panel.set_ylabel("W", color=ink, fontsize=9)
    legend = panel.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, fontsize=8,
                          labelcolor=ink, borderaxespad=0.1, columnspacing=1.4)  # fmt: skip
    for text, handle in zip(legend.get_texts(), legend.legend_handles):
        text.set_parse_math(False)
        if hasattr(handle, "set_facecolor"):
            handle.set_alpha(0.5)  # a small patch as pale as the shading is unseen


def _curve(panel: Any, track: PowerTrack, zero_ns: int, top_w: float, kind: str) -> None:
    colour = DOMAIN_COLOURS[track.domain]
    edges_s = (track.edge_ns - zero_ns) / NS_PER_S
    panel.stairs(track.power_w, edges_s, color=colour, linewidth=1.2, baseline=None,
                 linestyle="--" if track.modelled else "-", label=f"{DOMAIN_TITLES[track.domain]} {kind}")  # fmt: skip
    if not np.array_equal(track.least_w, track.most_w):
        panel.stairs(track.most_w, edges_s, baseline=track.least_w, fill=True, color=colour, alpha=0.25, linewidth=0)
    if len(track.tick_ns):
        panel.vlines((track.tick_ns - zero_ns) / NS_PER_S, -0.035 * top_w, -0.01 * top_w, color=colour, linewidth=0.6)


def _waterfall(panel: Any, report: Report, domain: Domain, ink: str) -> None:
    """Joules of a call by phase, one after the other, each with its interval."""
    made, unit, unresolved = bars(report, domain)
    mark = "~" if report.is_modelled(domain) else ""
    rows = range(len(made))
    panel.barh(rows, [bar.end - bar.start for bar in made], left=[bar.start for bar in made], height=0.62,
               color=[bar.colour for bar in made], alpha=0.8)  # fmt: skip
    panel.hlines(rows, [bar.low for bar in made], [bar.high for bar in made], color="#888888", linewidth=1.5)
    names = [_name(f"{bar.title}  {mark}{bar.end - bar.start:.4g} {unit}") for bar in made]
    panel.set_yticks(rows, names, fontsize=9, parse_math=False)
    panel.invert_yaxis()
    panel.grid(visible=False, axis="y")
    panel.set_xlim(left=0.0)
    calls = f"mean of {len(report.calls):,} call{'' if len(report.calls) == 1 else 's'}, {_kind(report, domain)}"
    missing = f"; not resolved, and so not drawn: {_cut(', '.join(unresolved), 60)}" if unresolved else ""
    panel.set_xlabel(f"{unit} of the {DOMAIN_TITLES[domain]} a call, {calls}{missing}", color=ink, fontsize=9,
                     parse_math=False)  # fmt: skip


def _kind(report: Report, domain: Domain) -> str:
    return "modelled" if report.is_modelled(domain) else "VIRTUAL" if report.virtual else "measured"


def _name(text: str) -> str:
    """A name that the legend shows: one that begins with _ would be left out of it."""
    return _cut(legible(text), _LONGEST_NAME).lstrip("_") or "?"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"

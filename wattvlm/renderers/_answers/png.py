"""The picture of a study, drawn by matplotlib: points with their intervals, or bars.

Needs the extra wattvlm[png]. The reader's own matplotlib settings, figures and backend are neither used nor changed.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from math import isfinite
from typing import Any

from wattvlm.answers import Answer, Picture, Series
from wattvlm.comparison import Expected
from wattvlm.errors import WattvlmError
from wattvlm.renderers._text import legible
from wattvlm.renderers.png import dress, require_matplotlib

FORMAT = "png"
FILE_EXTENSION = ".png"

_PAGE, _INK, _GRID = "#ffffff", "#1b2027", "#d6dbe1"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#666666", "#8c564b")
"""Okabe and Ito (2008), told apart by most who see few colours."""

_MARKS = "osD^vP*X"
_HATCHES = ("", "//", "..")
"""Of bars once all colours are taken, and once more."""

_DODGE = 0.012
"""Series with points at one place stand beside each other, by this part of the axis."""

_HEIGHT_INCHES = 4.2


def render(answer: Answer, width_inches: float = 8.0, dpi: int = 150) -> bytes:
    """All pictures of the study, one below the other, as PNG bytes; WattvlmError where it has none."""
    require_matplotlib()
    if not any(series.points for picture in answer.pictures for series in picture.series):
        raise WattvlmError(f"{answer.study}: nothing was resolved that could be drawn. Cure: more calls (--calls)")
    style: Any = import_module("matplotlib.style")
    figures: Any = import_module("matplotlib.figure")
    drawn = [picture for picture in answer.pictures if any(series.points for series in picture.series)]
    with warnings.catch_warnings(), style.context("default"):
        warnings.simplefilter("ignore")  # a name may have letters that the font lacks; they are drawn as boxes
        size = (max(5.0, width_inches), _HEIGHT_INCHES * len(drawn))
        figure = figures.Figure(figsize=size, dpi=dpi, facecolor=_PAGE, layout="constrained")
        places = _places(drawn)
        for panel, picture in zip(figure.subplots(len(drawn), 1, squeeze=False)[:, 0], drawn):
            _draw(panel, picture, answer, places)
        file = io.BytesIO()
        figure.savefig(file, format="png", facecolor=_PAGE, metadata={"Software": None})
    return file.getvalue()


def _places(pictures: Sequence[Picture]) -> dict[str, int]:
    """A number for each series' name, so that it looks the same in all pictures."""
    names = dict.fromkeys(series.name for picture in pictures for series in picture.series if series.points)
    return {name: place for place, name in enumerate(names)}


def _draw(panel: Any, picture: Picture, answer: Answer, places: Mapping[str, int]) -> None:
    dress(panel, _PAGE, _INK, _GRID)
    kind = " (modelled)" if answer.is_modelled else " (VIRTUAL)" if answer.virtual else ""
    title = "\n".join(textwrap.wrap(legible(picture.title + kind), 80))
    panel.set_title(title, loc="left", fontsize=11, color=_INK, parse_math=False)
    if picture.names:
        _bars(panel, picture, places)
    else:
        for series, apart in zip(picture.series, _apart(picture)):
            _line(panel, series, apart, places.get(series.name, 0))
    panel.set_xlabel(picture.x, color=_INK, fontsize=9, parse_math=False)
    panel.set_ylabel(picture.y, color=_INK, fontsize=9, parse_math=False)
    panel.set_ylim(bottom=0.0)
    if len(picture.series) > 1:
        legend = panel.legend(
            frameon=False, fontsize=8, labelcolor=_INK, loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def _apart(picture: Picture) -> list[list[float]]:
    """Where each point of each series stands along x: beside those of other series that have the same place."""
    places = [[x for x, _ in series.points] for series in picture.series]
    every = [x for each in places for x in each]
    step = _DODGE * (max(every) - min(every)) if every else 0.0
    there = Counter(every)
    before: Counter[float] = Counter()
    found: list[list[float]] = []
    for each in places:
        found.append([x + (before[x] - (there[x] - 1) / 2) * step for x in each])
        before.update(each)
    return found


def _line(panel: Any, series: Series, places: Sequence[float], number: int) -> None:
    colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[(number + number // len(_COLOURS)) % len(_MARKS)]
    points = sorted(zip(places, (found for _, found in series.points)), key=lambda point: point[0])
    if points:
        found = [each for _, each in points]
        panel.errorbar(
            [x for x, _ in points], [each.value for each in found], yerr=_errors(found),
            fmt=mark if series.fitted else f"{mark}-", color=colour, markersize=5, linewidth=1.2, capsize=3,
            label=_name(series.name),
        )  # fmt: skip
    if series.fitted:
        x, y = [x for x, _ in series.fitted], [y for _, y in series.fitted]
        if points:
            panel.plot(x, y, color=colour, linewidth=1.0)
        else:
            panel.plot(x, y, "--", color=_INK, linewidth=1.0, label=_name(series.name))


def _bars(panel: Any, picture: Picture, numbers: Mapping[str, int]) -> None:
    """Bars at named places, of several series beside each other or on each other."""
    count = 1 if picture.stacked else max(len(picture.series), 1)
    width = 0.8 / count
    below = [0.0] * len(picture.names)
    for place, series in enumerate(picture.series):
        number = numbers.get(series.name, 0)
        places = [int(x) for x, _ in series.points]
        values = [found.value for _, found in series.points]
        shift = 0.0 if picture.stacked else (place - (count - 1) / 2) * width
        panel.bar(
            [x + shift for x in places], values, width, bottom=[below[x] for x in places],
            color=_COLOURS[number % len(_COLOURS)], alpha=0.85, label=_name(series.name),
            hatch=_HATCHES[number // len(_COLOURS) % len(_HATCHES)], edgecolor=_PAGE, linewidth=0.0,
            yerr=None if picture.stacked else _errors([found for _, found in series.points]),
            error_kw={"ecolor": "#555555", "capsize": 3, "linewidth": 1.0},
        )  # fmt: skip
        if picture.stacked:
            for x, value in zip(places, values):
                below[x] += value
    turned = sum(map(len, picture.names)) > 70
    panel.set_xticks(range(len(picture.names)), [_name(name) for name in picture.names], fontsize=8,
                     rotation=25 if turned else 0, ha="right" if turned else "center", parse_math=False)  # fmt: skip


def _errors(found: Sequence[Expected]) -> list[list[float]]:
    """How far intervals reach below and above; none where an end is not known."""
    below = [each.value - each.low if isfinite(each.low) else 0.0 for each in found]
    above = [each.high - each.value if isfinite(each.high) else 0.0 for each in found]
    return [[max(each, 0.0) for each in below], [max(each, 0.0) for each in above]]


def _name(text: str) -> str:
    return (legible(text)[:40]).lstrip("_") or "?"

"""The PNG picture: it shows power and joules in the colours of the page, and leaves the reader's matplotlib alone."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import pytest

from tests.renderers.sample_reports import twenty_calls, with_curves, without_calls
from wattvlm.errors import WattvlmError
from wattvlm.renderers import render
from wattvlm.renderers._plots import DOMAIN_COLOURS, PHASE_COLOURS

matplotlib = pytest.importorskip("matplotlib", reason="the PNG picture needs the extra wattvlm[png]")


def pixels(picture: str | bytes) -> Any:
    """Height x width x 3, 0 to 255."""
    from matplotlib.image import imread

    assert isinstance(picture, bytes)
    return (imread(io.BytesIO(picture), format="png")[..., :3] * 255).round().astype(int)


def blended(colour: str, alpha: float, page: int) -> list[int]:
    return [round(alpha * int(colour[at : at + 2], 16) + (1 - alpha) * page) for at in (1, 3, 5)]


def share(image: Any, colour: list[int]) -> float:
    """The part of the picture that has a colour, to the rounding of its blending."""
    return float((abs(image - colour).max(axis=2) <= 2).mean())


def test_decode_covers_as_much_of_its_bar_as_it_has_of_the_calls_joules():
    image = pixels(render(twenty_calls(), "png"))
    decode = share(image, blended(PHASE_COLOURS["decode"], 0.8, 255))
    whole = share(image, blended(DOMAIN_COLOURS["gpu"], 0.8, 255))
    assert decode / whole == pytest.approx(458.0 / 503.5, abs=0.03)


def test_the_power_curve_makes_the_picture_higher_and_shades_its_phases():
    with_power, without = pixels(render(with_curves(), "png")), pixels(render(twenty_calls(), "png"))
    assert len(with_power) > len(without) + 300
    shade = blended(PHASE_COLOURS["decode"], 0.22, 255)
    assert share(with_power, shade) > 0.05
    assert share(without, shade) == 0.0


def test_a_report_without_calls_and_power_says_that_there_is_nothing_to_draw():
    image = pixels(render(without_calls(), "png"))
    assert (image.min(axis=2) < 100).any(), "words are on the page"
    assert share(image, [255, 255, 255]) > 0.9


def test_the_dark_picture_is_dark_and_another_theme_is_refused():
    assert share(pixels(render(twenty_calls(), "png", theme="dark")), [0x14, 0x17, 0x1C]) > 0.5
    with pytest.raises(ValueError, match="no theme 'pink'; there are light, dark"):
        render(twenty_calls(), "png", theme="pink")


def test_width_and_resolution_are_as_asked():
    assert pixels(render(twenty_calls(), "png", width_inches=6.0, dpi=100)).shape[1] == 600


def test_the_readers_own_settings_neither_change_the_picture_nor_are_changed():
    usual = render(with_curves(), "png")
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "red", "figure.dpi": 31}):
        before = dict(matplotlib.rcParams)
        assert render(with_curves(), "png") == usual
        assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_name_is_drawn_as_it_is_and_never_as_a_formula():
    report = with_curves()
    formula = r"_$\frac{1}{$"
    phases = (replace(report.phases[0], name=formula), *report.phases[1:])
    calls = tuple(
        replace(call, phases=(replace(call.phases[0], name=formula), *call.phases[1:])) for call in report.calls
    )
    assert render(replace(report, phases=phases, calls=calls, label=formula), "png")


def test_without_matplotlib_the_cure_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(WattvlmError, match=r"pip install 'wattvlm\[png\]'"):
        render(twenty_calls(), "png")

"""A sweep in every format: its table, the best setting in words, and a page with a line for each phase."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.cells import cell_len

from wattvlm import render
from wattvlm.comparison import Expected, Identity
from wattvlm.sweep import Knee, PhaseAt, Point, Setting, Sweep

WATTS = (200.0, 250.0, 300.0)


def exactly(value: float) -> Expected:
    return Expected(value, 0.99 * value, 1.01 * value)


def point(setting: Setting, joules: float, seconds: float) -> Point:
    phases = [
        PhaseAt(name, exactly(share * joules), exactly(share * seconds))
        for name, share in (("vision_encode", 0.1), ("prefill", 0.2), ("decode", 0.7), ("call", 1.0))
    ]
    times = {"ttft_s": 0.3 * seconds, "tpot_s": 0.02 * seconds, "latency_s": seconds}
    metrics = {"joules_per_request": joules, **times}
    return Point(setting, 20, tuple(phases), {name: exactly(value) for name, value in metrics.items()})


def limits() -> Sweep:
    settings = [Setting(power_limit_w=watts) for watts in WATTS]
    points = [
        point(setting, joules, seconds)
        for setting, joules, seconds in zip(settings, (210.0, 200.0, 240.0), (1.4, 1.1, 1.0))
    ]
    identity = Identity("measured of the gpu", ("NVIDIA H100 PCIe",), ("counter",), "570.86", ())
    knees = (Knee("prefill", settings[1], settings[2]),)
    return Sweep(
        "qwen2-vl-2b", identity, tuple(points), best=1, candidates=(0, 1), between=(None, settings[2]), knees=knees
    )


def bound() -> Sweep:
    slow, best, other = limits().points
    points = replace(slow, meets="no"), best, replace(other, meets="cannot tell")
    return replace(limits(), points=points, ttft_under_s=0.4, candidates=(1,))


def grid() -> Sweep:
    settings = [Setting(watts, mhz * 1e6) for watts in WATTS[:2] for mhz in (900, 1500)]
    points = [point(setting, 200.0 + place, 1.0) for place, setting in enumerate(settings)]
    return replace(limits(), points=tuple(points), knees=(), between=(None, None), best=0, candidates=(0,))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_sweep_is_wider_than_the_terminal(width: int):
    for noun in (limits(), bound(), grid()):
        assert max(cell_len(line) for line in str(render(noun, width=width)).splitlines()) <= width


def test_each_setting_is_a_row_with_its_joules_times_and_verdict():
    shown = str(render(limits(), width=120)).splitlines()
    rows = [line.split() for line in shown if line.split()[1:2] == ["W"]]
    assert [row[0] for row in rows] == ["200", "250", "300"]
    assert rows[1][2:7] == ["best", "200.0", "±2.0", "330.0", "±3.3"]
    assert (rows[0][2:4], rows[2][2]) == (["as", "good"], "240.0")


def test_the_best_setting_its_interval_and_the_knees_are_told_in_words():
    words = " ".join(str(render(limits(), width=120)).split())
    assert "Least joules a request: 250 W, 200.0 J ±2.0 J. 200 W cannot be told from it." in words
    assert "the least of all lies below 300 W" in words
    assert "slower by more than 2 % than at 300 W: prefill below a limit between 250 W and 300 W" in words


def test_bounds_are_in_the_title_and_what_breaks_them_in_the_rows():
    words = " ".join(str(render(bound(), width=120)).split())
    assert "3 power limits, mean TTFT under 400 ms" in words
    assert "200 W too slow 210.0" in words
    assert "300 W may be too slow 240.0" in words
    none = replace(bound(), best=None, candidates=(2,), between=(None, None))
    assert "No setting surely keeps the bounds; of 300 W it cannot be told. Cure: more calls." in " ".join(
        str(render(none, width=120)).split()
    )


def test_modelled_joules_have_no_best_setting():
    modelled = replace(
        limits(), identity=replace(limits().identity, provenance="modelled of the gpu"), best=None, candidates=()
    )
    assert "No setting is called the best: that takes joules from a sensor." in " ".join(str(render(modelled)).split())


@pytest.mark.parametrize("noun", [limits(), grid()], ids=["limits", "grid"])
def test_a_page_draws_joules_and_seconds_over_the_settings(noun: Sweep):
    pytest.importorskip("bokeh", reason="needs the extra wattvlm[html]")
    page = str(render(noun, "html"))
    assert page.count('class="plot"') == 2
    assert "power limit in W" in page
    assert ("call at 900 MHz" if noun.knees == () else "vision encode: 21 J at 200, 20 J at 250") in page
    assert "The dashed line is the best setting" in page


def test_programs_read_a_sweep_as_json_and_papers_as_latex():
    told = json.loads(str(render(bound(), "json")))
    assert (told["kind"], told["best"], told["points"][0]["meets"]) == ("wattvlm sweep", 1, "no")
    assert r"250 W & best & 200.0 $\pm$2.0" in str(render(limits(), "latex"))
    assert "| 250 W | best | 200.0 ±2.0 |" in str(render(limits(), "markdown"))

"""The worked example of docs/definitions.md: a call of these joules and tokens has these ratios."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wattvlm import analyze
from wattvlm.report import Report
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import TokenCounts
from wattvlm.units import NS_PER_MS, NS_PER_S

PAGE = (Path(__file__).parents[2] / "docs/definitions.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([\d.]+) (?:J|Wh) \|$", re.MULTILINE)

PHASES_J = {"vision_encode": 16.8, "prefill": 23.4, "decode": 458.0}
CALL_J = 503.5
GAPS = len(PHASES_J) + 1


@pytest.fixture(scope="module")
def report() -> Report:
    """The example's call, one second a phase, under a counter that ticks each millisecond and rounds nothing."""
    between_w = (CALL_J - sum(PHASES_J.values())) / GAPS
    script = Script(
        tuple(ScriptedPhase(name, NS_PER_S, {"gpu": joules}) for name, joules in PHASES_J.items()),
        between_w={"gpu": between_w},
        gap_ns=NS_PER_S,
        tokens=TokenCounts(text_input=38, visual_input=391, output=96),
        images=1,
        decode_steps=95,
    )
    sensor = VirtualSensor("gpu-0/board", "gpu", period_ns=NS_PER_MS, max_power_w=600.0)
    return analyze(simulate(script, [sensor]).recording)


def example() -> dict[str, tuple[str, float]]:
    """Metric -> (the arithmetic, the figure) of the page's table."""
    return {name: (by_hand, float(figure)) for name, by_hand, figure in ROW.findall(PAGE)}


def test_the_example_has_every_ratio():
    of_joules = {name for name in dir(Report) if "joules_per" in name or name.startswith("wh_per")}
    assert set(example()) == of_joules


@pytest.mark.parametrize("name", example())
def test_the_arithmetic_on_the_page_gives_its_figure(name):
    by_hand, figure = example()[name]
    assert re.fullmatch(r"[\d. +/x()]+", by_hand)
    assert eval(by_hand.replace("x", "*")) == pytest.approx(figure, rel=1e-3)


@pytest.mark.parametrize("name", example())
def test_the_report_of_that_call_gives_the_figure_of_the_page(report, name):
    assert report.metrics()[name] == pytest.approx(example()[name][1], rel=1e-2)

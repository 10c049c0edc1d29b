"""The worked example of docs/definitions.md: a call of these joules and tokens has these ratios."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wattvlm import analyze
from wattvlm.flops import Attending, BlockShape, work_of
from wattvlm.report import Report
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import PrefillWork, TokenCounts
from wattvlm.units import NS_PER_MS, NS_PER_S

PAGE = (Path(__file__).parents[2] / "docs/definitions.md").read_text()
SHARES = re.compile(
    r"^\| (?:(\d[\d,]*) text, (?:then )?)?(\d+) visual(?:, (?:then )?([\d,]+) text)? \| ([\d.]+) % \| ([\d.]+) % \|$",
    re.MULTILINE,
)
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([\d.]+) (?:J|Wh) \|$", re.MULTILINE)

PHASES_J = {"vision_encode": 16.8, "prefill": 23.4, "decode": 458.0}
CALL_J = 503.5
LLAMA_7B = BlockShape(2 * 32 * (4 * 4096**2 + 3 * 4096 * 11008), (Attending(32 * 2 * (4096 + 4096)),))
GAPS = len(PHASES_J) + 1


@pytest.fixture(scope="module")
def report() -> Report:
    """The example's call, one second a phase, under a counter that ticks each millisecond and rounds nothing."""
    between_w = (CALL_J - sum(PHASES_J.values())) / GAPS
    script = Script(
        tuple(ScriptedPhase(name, NS_PER_S, {"gpu": joules}) for name, joules in PHASES_J.items()),
        between_w={"gpu": between_w},
        gap_ns=NS_PER_S,
        tokens=TokenCounts(text_input=38, visual_input=391, output=96, reasoning_output=60),
        images=1,
        decode_steps=95,
        work=PrefillWork(*work_of(LLAMA_7B, [(429, [(15, 406)])])),
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


def test_the_shares_on_the_page_are_those_of_its_prompts():
    found = SHARES.findall(PAGE)
    assert len(found) == 3
    for before, visual, after, by_tokens, by_flops in found:
        start, image, rest = (int(count.replace(",", "") or 0) for count in (before, visual, after))
        whole, own = work_of(LLAMA_7B, [(start + image + rest, [(start, start + image)])])
        assert float(by_tokens) == pytest.approx(100 * image / (start + image + rest), abs=0.005)
        assert float(by_flops) == pytest.approx(100 * own / whole, abs=0.005)


def test_the_operations_on_the_page_are_those_of_its_first_prompt():
    whole, own = work_of(LLAMA_7B, [(429, [(15, 406)])])
    assert f"{whole / 1e12:.3f}e12 operations, {own / 1e12:.3f}e12 of them for visual tokens" in " ".join(PAGE.split())

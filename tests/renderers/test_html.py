"""The HTML page: whole in itself, its names are text, and in a real Chromium it draws, zooms and sorts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.renderers._comparisons.test_every_format import pair, several
from tests.renderers.sample_reports import SAMPLES, hostile, one_unresolved_call, twenty_calls, with_curves
from wattvlm.comparison import Comparison, Standings
from wattvlm.renderers import render
from wattvlm.report import Report

pytest.importorskip("bokeh", reason="the HTML report needs the extra wattvlm[html]")

ATTACK = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
FETCHERS = {"src", "href", "srcset", "action", "data", "poster"}


class Page(HTMLParser):
    """The elements of a page, and the text outside its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.words.append(data)


def attacked() -> Report:
    """Markup in every text that a report has."""
    report = with_curves()
    model = replace(report.model, name=ATTACK, dtype=ATTACK, quantisation=ATTACK)
    calls = tuple(
        replace(call, label=ATTACK, ended=ATTACK, runtime=ATTACK, model=model,
                phases=(replace(call.phases[0], name=ATTACK), *call.phases[1:]))
        for call in report.calls
    )  # fmt: skip
    channels = tuple(
        replace(use, channel=replace(use.channel, sensor=ATTACK, device=ATTACK)) for use in report.channels
    )
    own = replace(report.phases[0], name=ATTACK, spans_ns=((5, 10**9),))
    host = replace(report.host, cpu=ATTACK, system=ATTACK, versions={ATTACK: ATTACK}, facts={"driver": ATTACK})
    return replace(report, calls=calls, label=ATTACK, notes=(ATTACK,), interrupted=ATTACK, host=host, channels=channels,
                   own_phases=(own,), absent=hostile().absent, phases=(own, *report.phases[1:]))  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_page_names_no_address_that_a_browser_would_fetch(sample: str):
    page = Page(str(render(SAMPLES[sample](), "html")))
    for _, attributes in page.elements:
        assert [
            value for name, value in attributes.items() if name in FETCHERS and not (value or "").startswith("#")
        ] == []
    assert [tag for tag, _ in page.elements if tag in ("link", "img", "iframe", "object")] == []


def test_markup_in_any_text_of_a_report_is_text_of_the_page():
    usual = [tag for tag, _ in Page(str(render(with_curves(), "html"))).elements]
    page = Page(str(render(attacked(), "html")))
    assert [tag for tag, _ in page.elements].count("script") == usual.count("script")
    assert "img" not in {tag for tag, _ in page.elements}
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert any(ATTACK in words for words in page.words)


def test_a_report_is_always_the_same_page():
    assert render(with_curves(), "html") == render(with_curves(), "html")


def test_without_a_curve_the_page_says_so_and_has_the_tables():
    text = str(render(twenty_calls(), "html"))
    assert "There is no power curve: readings are too few, or the file is of before it was kept." in text
    assert "per call" in text


def test_what_is_not_resolved_is_named_and_not_drawn_as_nothing():
    text = str(render(one_unresolved_call(), "html"))
    assert "Not resolved, and so not drawn: between phases." in text
    assert "vision encode + prefill" in text


def test_a_comparison_has_a_table_that_needs_no_script_and_markup_in_names_is_text():
    plain, attacked_pair = pair(), replace(pair(), before=ATTACK, notes=(ATTACK,))
    page = Page(str(render(attacked_pair, "html")))
    usual = [tag for tag, _ in Page(str(render(plain, "html"))).elements]
    assert [tag for tag, _ in page.elements].count("script") == usual.count("script")
    assert "img" not in {tag for tag, _ in page.elements}
    assert "table" in usual
    assert "503.5 ±4.8 J" in page.words
    assert "worse" in page.words


def test_every_section_has_a_title_and_every_picture_a_description():
    page = Page(str(render(with_curves(), "html")))
    ids = {attributes.get("id") for _, attributes in page.elements}
    sections = [attributes for tag, attributes in page.elements if tag == "section"]
    assert len(sections) == 5
    assert all(attributes["aria-labelledby"] in ids for attributes in sections)
    assert all(attributes.get("aria-label") for _, attributes in page.elements if attributes.get("role") == "img")


CHROMIUM = next(
    (found for name in ("chromium", "google-chrome", "chromium-browser") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine's PATH: the page was not looked at in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    quiet = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync")  # fmt: skip
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=list(quiet))
        yield launched
        launched.close()


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Shows a report; at the end: nothing was fetched but the file, and nothing complained."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    complaints: list[str] = []
    fetched: list[str] = []

    def show(report: Report | Comparison | Standings) -> Any:
        path = tmp_path / "report.html"
        path.write_text(str(render(report, "html")), encoding="utf-8")
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=true]", state="attached", timeout=20_000)
        return page

    yield show
    context.close()
    assert complaints == []
    assert [address for address in fetched if not re.match(r"file:|data:|blob:", address)] == []


def test_in_a_browser_the_curve_is_drawn_and_zooms_by_buttons(shown: Any):
    page = shown(with_curves())
    assert page.locator("#power-plot canvas").count() > 0 or page.locator("#power-plot .bk-Figure").count() > 0
    reach = "(() => { const r = Bokeh.documents[0].roots()[0].x_range; return r.end - r.start; })()"
    whole = page.evaluate(reach)
    page.get_by_role("button", name="Zoom in").press("Enter")
    assert page.evaluate(reach) == pytest.approx(whole / 2)
    page.get_by_role("button", name="Whole block").click()
    assert page.evaluate(reach) == pytest.approx(whole)


def test_in_a_browser_a_title_sorts_the_calls_and_says_so(shown: Any):
    report = with_curves()
    calls = tuple(
        replace(call, duration_ns=call.duration_ns + (7 * call.call_id % 20) * 10**6) for call in report.calls
    )
    page = shown(replace(report, calls=calls))
    page.get_by_role("button", name="time ms").press("Enter")
    times = [float(text) for text in page.locator("#calls tbody tr td:nth-child(7)").all_inner_texts()]
    assert times == sorted(times)
    page.get_by_role("button", name="time ms").click()
    assert page.locator("#calls th[aria-sort=descending]").inner_text() == "time ms"
    times = [float(text) for text in page.locator("#calls tbody tr td:nth-child(7)").all_inner_texts()]
    assert times == sorted(times, reverse=True)


def test_in_a_browser_hostile_names_run_nothing(shown: Any):
    page = shown(attacked())
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert ATTACK in page.locator("#calls").inner_text()


@pytest.mark.parametrize(("noun", "plots"), [(pair(), 1), (several(), 2)], ids=["two runs", "several runs"])
def test_in_a_browser_a_comparison_is_drawn_without_a_complaint(shown: Any, noun: Any, plots: int):
    page = shown(noun)
    assert page.locator(".plot canvas").count() >= plots or page.locator(".plot .bk-Figure").count() == plots
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator(".scroll").focus()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "The table"


@pytest.mark.parametrize("sample", SAMPLES)
def test_in_a_browser_every_report_is_drawn_without_a_complaint(shown: Any, sample: str):
    assert shown(SAMPLES[sample]()).locator("h1").inner_text().startswith("wattvlm")

"""The notebook's table: small, whole in itself, and every name in it is text."""

from html.parser import HTMLParser

import pytest

from tests.renderers.sample_reports import SAMPLES, hostile, one_unresolved_call, twenty_calls
from wattvlm.renderers import render


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


KNOWN = {"div", "style", "p", "br", "span", "table", "thead", "tbody", "tr", "th", "td", "i", "code"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_table_is_plain_html_that_fetches_and_runs_nothing(sample: str):
    html = str(render(SAMPLES[sample](), "notebook"))
    page = page_of(html)
    assert set(page.elements) <= KNOWN
    assert page.attributes <= {"class", "style"}
    assert "http" not in html
    assert "url(" not in html
    assert len(html) < 20_000
    html.encode()


def test_a_hostile_name_is_text_in_the_table():
    page = page_of(str(render(hostile(), "notebook")))
    assert "script" not in page.elements
    assert "[red]x[/] <script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_the_table_shows_value_and_interval_in_one_cell_and_marks_models():
    page = page_of(str(render(twenty_calls(), "notebook")))
    assert "503.5 ±4.8" in page.text
    assert "~33.7" in page.text
    assert "measured" in page.text
    assert "modelled" in page.text
    assert "absent" in page.text


def test_the_table_says_what_is_not_resolved():
    page = page_of(str(render(one_unresolved_call(), "notebook")))
    assert "not resolved apart" in page.text
    assert "before the block" in page.text

"""The SVG picture: the console summary, whole in itself."""

from xml.etree import ElementTree

import pytest

from tests.renderers.sample_reports import SAMPLES, hostile, twenty_calls
from wattvlm.renderers import render

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_picture_is_well_formed_and_fetches_nothing(sample: str, theme: str):
    picture = str(render(SAMPLES[sample](), "svg", theme=theme))
    ElementTree.fromstring(picture)
    assert picture.count("http") == 1, "the name of the SVG format is the only address"
    for fetcher in ("@font-face", "@import", "href", "<image", "<script", "<foreignObject"):
        assert fetcher not in picture
    assert all(address.startswith("url(#") for address in _addresses(picture))


def _addresses(picture: str) -> list[str]:
    return [f"url({rest[:1]}" for rest in picture.split("url(")[1:]]


def test_the_picture_says_what_the_console_says():
    shown = "".join(ElementTree.fromstring(str(render(twenty_calls(), "svg", width=80))).itertext())
    console = str(render(twenty_calls(), "console", width=80, colour=False, unicode=True))
    words = [word for line in console.splitlines() for word in line.split()]
    assert [word for word in words if word not in shown] == []


def test_a_hostile_name_stays_text_in_the_picture():
    root = ElementTree.fromstring(str(render(hostile(), "svg")))
    assert root.findall(f".//{SVG}script") == []
    assert any("<script>alert(1)</script>" in (text.text or "") for text in root.iter(f"{SVG}text"))


def test_the_same_report_gives_the_same_picture():
    assert render(twenty_calls(), "svg") == render(twenty_calls(), "svg")

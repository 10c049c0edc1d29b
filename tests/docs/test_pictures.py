"""The pictures of README and docs are made by the code, and say what it says today."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from docs.pictures import DRAWN, FOLDER, PAGE, drawn
from tests.docs.pages import PAGES

NUMBER = re.compile(r"\d+(?:\.\d+)?")
HALF_WIDTH = re.compile(r"± ?[\d.#]+")
"""Intervals come from draws, so a finer analysis moves their digits; values and words stay."""

OLD = "the pictures are old: run python -m docs.pictures"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def today() -> dict[str, bytes]:
    pytest.importorskip("matplotlib", reason="the PNG picture needs the extra wattvlm[png]")
    return drawn()


@pytest.mark.parametrize("name", [name for name in DRAWN if name.endswith(".svg")])
def test_the_picture_of_the_summary_says_what_the_report_says_today(name: str, today: dict[str, bytes]) -> None:
    kept, now = (" ".join(texts(picture)) for picture in ((FOLDER / name).read_bytes(), today[name]))
    assert HALF_WIDTH.split(NUMBER.sub("#", kept)) == HALF_WIDTH.split(NUMBER.sub("#", now)), OLD
    values = [[float(found) for found in NUMBER.findall(HALF_WIDTH.sub("", words))] for words in (kept, now)]
    assert values[0] == pytest.approx(values[1], rel=0.03, abs=0.3), OLD
    assert "prefill" in kept


def texts(svg: bytes) -> list[str]:
    """The words of a picture; how they are drawn differs between versions of rich."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [word for each in found for word in (each.text or "").replace("\xa0", " ").split()]


def test_pictures_of_pixels_are_pictures_and_small(today: dict[str, bytes]) -> None:
    for name in (PAGE, "curve.png"):
        kept = (FOLDER / name).read_bytes()
        assert kept.startswith(PNG)
        assert len(kept) < 250_000
    assert today["curve.png"].startswith(PNG)


def test_every_picture_is_shown_on_a_page_with_words_for_those_who_do_not_see_it() -> None:
    shown = [found for path in PAGES.values() for found in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", path.read_text())]
    assert all(len(alternative) > 15 for alternative, _ in shown)
    named = {address.rpartition("/")[2] for _, address in shown}
    assert {"summary.svg", "curve.png", PAGE} <= named

"""Links of the pages lead somewhere: to files of the repository, to headings, or to addresses that are well-formed."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import PAGES, anchors, prose

LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
LINKS = {name: LINK.findall(prose(path.read_text())) for name, path in PAGES.items()}
WITH_LINKS = [name for name, found in LINKS.items() if found]


def inside(page: str) -> list[str]:
    return [link for link in LINKS[page] if not urlsplit(link).scheme]


@pytest.mark.parametrize("page", WITH_LINKS)
def test_every_link_inside_the_repository_leads_to_a_file_and_a_heading_of_it(page: str) -> None:
    lost: list[str] = []
    for link in inside(page):
        file, _, anchor = link.partition("#")
        target = (PAGES[page].parent / file).resolve() if file else PAGES[page]
        exists = target.exists() and (not anchor or anchor in anchors(target.read_text()))
        lost += [] if exists else [link]
    assert lost == []


@pytest.mark.parametrize("page", WITH_LINKS)
def test_every_link_to_outside_is_a_well_formed_address(page: str) -> None:
    outside = [urlsplit(link) for link in LINKS[page] if urlsplit(link).scheme]
    assert [each.geturl() for each in outside if each.scheme != "https" or "." not in each.netloc] == []


def test_links_are_found_at_all() -> None:
    assert sum(len(inside(page)) for page in WITH_LINKS) > 30
    assert Path(PAGES["README.md"]).name == "README.md"


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("## Power fields", "power-fields"),
        ("# Wh per 1,000 requests?", "wh-per-1000-requests"),
        ("## `meter()`", "meter"),
    ],
)
def test_a_heading_is_linked_by_its_words_in_small_letters(heading: str, anchor: str) -> None:
    assert anchor in anchors(f"text\n\n{heading}\n")

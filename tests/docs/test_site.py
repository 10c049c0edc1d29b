"""The site: built strictly from the pages, complete, and whole in itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import wattvlm
from docs.site import BESIDE, SECTIONS, fitted, navigation, pages
from tests.docs.pages import PAGES, ROOT

for package in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(package, reason="the site needs the extra wattvlm[docs]")


class Sources(HTMLParser):
    """What a browser would fetch for a page: scripts, style sheets, pictures, frames and fonts named in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.fetched.append(given.get("src") or given.get("srcset") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning is an error there."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_no_page_names_a_source_outside_of_the_site(site: Path) -> None:
    built = {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}
    assert {page.removesuffix(".md") + ".html" for page in pages()} <= set(built)
    outside = {
        (page, source) for page, text in built.items() for source in Sources(text).fetched
        if re.match(r"(https?:)?//", source)
    }  # fmt: skip
    assert outside == set()


def test_no_style_sheet_fetches_a_font_or_a_picture_from_outside(site: Path) -> None:
    sheets = [path.read_text() for path in site.rglob("*.css")]
    assert sheets
    assert [found for sheet in sheets for found in re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet)] == []


def test_the_reference_has_the_docstring_of_every_public_name(site: Path) -> None:
    text = (site / "reference/api.html").read_text()
    assert "A meter for the joules of whatever model calls happen inside it" in text
    assert [name for name in wattvlm.__all__ if f"wattvlm.{name}" not in text] == []
    assert ":::" not in re.sub(r"<[^>]+>", "", text)


def test_the_reference_has_the_help_of_every_command(site: Path) -> None:
    text = unescape((site / "reference/commands.html").read_text())
    for command in ("report", "doctor", "demo", "recover", "calibrate"):
        assert f"Usage: wattvlm {command} [OPTIONS]" in text


def test_every_page_of_the_repository_is_on_the_site_and_in_the_navigation_once() -> None:
    shown = {path.relative_to(ROOT).as_posix() for path in pages().values()}
    assert {name for name in PAGES if not name.startswith("examples/")} <= shown
    listed = [page for section in navigation(pages()) for found in section.values() for page in found]
    assert sorted(listed) == sorted(pages())


def test_a_page_that_nobody_named_is_taken_into_the_navigation() -> None:
    sections = navigation({"index.md": Path("README.md"), "of-tomorrow.md": Path("docs/of-tomorrow.md")})
    assert {"How to": ["of-tomorrow.md"]} in sections
    assert list(SECTIONS) == [title for section in sections for title in section]


def test_links_of_a_page_fit_the_site_and_those_to_outside_stay() -> None:
    words = "[a](docs/how-sure.md#limits) [b](CONTRIBUTING.md) [c](examples/own_sensor.py) [d](https://x.org) [e](#f)"
    assert fitted(words, BESIDE["README.md"]) == (
        "[a](how-sure.md#limits) [b](contributing.md) [c](examples/own_sensor.py.md) [d](https://x.org) [e](#f)"
    )
    assert fitted("[a](../../README.md)", "reference/api.md") == "[a](../index.md)"

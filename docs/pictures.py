"""`python -m docs.pictures`: make the pictures of README and docs anew, from the recording that ships.

With --page also that of the HTML page, which a Chromium on the PATH draws (playwright). The others are the same bytes
each time with the same versions of rich and matplotlib.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import wattvlm
from wattvlm.demo import replay_path

FOLDER = Path(__file__).parent / "pictures"
DRAWN: dict[str, dict[str, Any]] = {
    "summary.svg": {"width": 120, "theme": "dark"},
    "summary_80.svg": {"width": 80, "theme": "light"},
    "curve.png": {"width_inches": 9.0, "dpi": 100},
}
PAGE = "page.png"
WIDTH_PX, HEIGHT_PX = 1100, 1060
BROWSERS = ("chromium", "google-chrome", "chromium-browser")


def drawn() -> dict[str, bytes]:
    """The pictures that renderers draw, by file name."""
    report = wattvlm.analyze(wattvlm.Recording.load(replay_path()))
    made = {name: wattvlm.render(report, name.rpartition(".")[2], **options) for name, options in DRAWN.items()}
    return {name: picture if isinstance(picture, bytes) else picture.encode() for name, picture in made.items()}


def page() -> bytes:
    """The HTML page as a browser shows it, its upper part; SystemExit where there is no browser."""
    from playwright.sync_api import sync_playwright

    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        raise SystemExit(f"no browser on the PATH ({', '.join(BROWSERS)}), so no picture of the page was made")
    html = str(wattvlm.render(wattvlm.analyze(wattvlm.Recording.load(replay_path())), "html"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        path = Path(folder) / "report.html"
        path.write_text(html, encoding="utf-8")
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX}, color_scheme="light")
        shown.goto(path.as_uri())
        shown.wait_for_selector("html[data-drawn=true]", state="attached")
        shown.wait_for_timeout(500)  # Bokeh paints after it has laid out
        picture = shown.screenshot()
        browser.close()
    return picture


def main(arguments: list[str]) -> None:
    """Write each picture."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in drawn().items():
        (FOLDER / name).write_bytes(picture)
    if "--page" in arguments:
        (FOLDER / PAGE).write_bytes(page())


if __name__ == "__main__":
    main(sys.argv[1:])

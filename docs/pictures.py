"""`python -m docs.pictures`: make the pictures of README and docs anew, from the recording that ships."""

from __future__ import annotations

from pathlib import Path

import wattvlm
from wattvlm.demo import replay_path

FOLDER = Path(__file__).parent / "pictures"
PICTURES = {"summary.svg": {"width": 120, "theme": "dark"}, "summary_80.svg": {"width": 80, "theme": "light"}}


def main() -> None:
    """Write each picture; the same bytes each time."""
    report = wattvlm.analyze(wattvlm.Recording.load(replay_path()))
    FOLDER.mkdir(exist_ok=True)
    for name, options in PICTURES.items():
        (FOLDER / name).write_text(str(wattvlm.render(report, "svg", **options)), encoding="utf-8")


if __name__ == "__main__":
    main()

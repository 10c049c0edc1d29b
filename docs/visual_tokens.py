"""`docs/visual-tokens.md`: visual tokens of one image, by model and image size, from configurations alone.

python -m docs.visual_tokens            # writes docs/visual-tokens.md
python -m docs.visual_tokens --check    # exit code 1 where the file says something else
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wattvlm.native_resolution import Size
from wattvlm.visual_tokens import visual_tokens

CONFIGS = Path(__file__).with_name("visual_tokens.json")
PAGE = Path(__file__).with_name("visual-tokens.md")

SIZES: tuple[Size, ...] = (
    (224, 224), (336, 336), (448, 448), (640, 480), (672, 672), (896, 896), (1024, 1024), (1280, 720), (1920, 1080),
)  # fmt: skip
PHOTO: Size = (640, 480)

HEAD = """\
# Visual tokens of one image

Made by `python -m docs.visual_tokens` with `wattvlm.visual_tokens`, from the entries of each model's published
configuration that decide it (`docs/visual_tokens.json`). No weights, no image. Columns are width x height in pixels.
The rules are held against transformers' own processors (`tests/test_visual_tokens.py`). Kimi-VL's and
InternVL-Chat's are not part of it: Kimi-VL's is held against its processor's steps on real images, InternVL-Chat's
against the library's InternVL.
"""


def configs() -> list[Mapping[str, Any]]:
    """The models of the table: name, rule in words, and the entries of their configuration files."""
    found: list[Mapping[str, Any]] = json.loads(CONFIGS.read_text())
    return found


def tokens(model: Mapping[str, Any], size: Size) -> int:
    """Visual tokens of one image for a model of the table; KeyError where they cannot be computed."""
    found = visual_tokens(model["config"], model.get("processor"), size)
    if found is None:
        raise KeyError(f"{model['name']} has no known number of tokens at {size}")
    return found


def page() -> str:
    """The page that the configurations make today."""
    models = configs()
    heads = " | ".join(f"{width} x {height}" for width, height in SIZES)
    lines = [HEAD, f"| model | {heads} | rule |", "|---|" + "--:|" * len(SIZES) + "---|"]
    for model in models:
        cells = " | ".join(f"{tokens(model, size):,}" for size in SIZES)
        lines.append(f"| {model['name']} | {cells} | {model['rule']} |")
    photo = [tokens(model, PHOTO) for model in models]
    lines += [
        "",
        f"One photo of {PHOTO[0]} x {PHOTO[1]} is {min(photo)} to {max(photo):,} tokens: joules per visual token",
        "compare runs of one model, not models ([definitions](definitions.md)).",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Writes the page, or says whether it is what the configurations say; gives the exit code."""
    if "--check" in arguments:
        return int(PAGE.read_text() != page())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Visual tokens of one picture by its size, of any models, from their configurations alone: a table without a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Value
from wattvlm.bench.subjects import config_of
from wattvlm.errors import ReportFormatError
from wattvlm.visual_tokens import visual_tokens

SIZES = (
    (224, 224), (336, 336), (448, 448), (640, 480), (672, 672), (896, 896), (1024, 1024), (1280, 720), (1920, 1080),
)  # fmt: skip
QUESTION = "How many visual tokens does one picture become?"
OF_PICTURES = "preprocessor_config.json"
OF_ALL = "processor_config.json"

Settings = Mapping[str, Any]


def counted(names: Sequence[str], sizes: Sequence[tuple[int, int]] = SIZES) -> Answer:
    """The table of visual tokens. names: published models of `bench.configs`, config.json files, or folders with them.

    WattvlmError for what is no configuration. A number that these files do not settle is absent, with a line for it.
    """
    rows: list[tuple[Value, ...]] = []
    findings: list[Finding] = []
    for name in names:
        config, processor = config_of(name), processor_of(Path(name))
        row = [visual_tokens(config, processor, size) for size in sizes]
        short = name.rstrip("/").removesuffix("/config.json").rsplit("/", 1)[-1]
        rows.append((short, str(config["model_type"]), *row))
        findings.append(_finding(short, [each for each in row if each is not None], len(row), bool(processor)))
    headings = (Heading("family"), *(Heading(f"{width} x {height}") for width, height in sizes))
    return Answer(
        "visual-tokens", QUESTION, ("counted from configurations alone: no weights, no picture, nothing measured",),
        tuple(findings), (AnswerTable("Visual tokens of one picture, by its pixels", "model", headings, tuple(rows)),),
        limits=("tokens that only frame a picture, its begin and end, are text",),
    )  # fmt: skip


def _finding(name: str, known: Sequence[int], asked: int, has_processor: bool) -> Finding:
    if not known:
        missing = "the family's rule is not known here" if has_processor else f"its rule may need {OF_PICTURES} too"
        return Finding(name, f"the number is not settled by these files: {missing}. Cure: a folder with both files")
    if min(known) == max(known):
        return Finding(name, f"{known[0]:,} visual tokens whatever the size")
    left_out = f"; {asked - len(known)} sizes are not settled by these files" if len(known) < asked else ""
    return Finding(name, f"{min(known):,} to {max(known):,} visual tokens by size{left_out}")


def processor_of(path: Path) -> Settings:
    """What a folder's files say of how pictures are prepared; empty where there are none."""
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        return {}
    for file in (folder / OF_PICTURES, folder / OF_ALL):
        if file.is_file():
            try:
                found: object = json.loads(file.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise ReportFormatError(f"{file} is not readable JSON: {str(error)[:100]}") from error
            entries = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
            return cast("Settings", entries.get("image_processor", entries))
    return {}

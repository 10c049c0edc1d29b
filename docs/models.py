"""`docs/models.md`: every family of the transformers library under the meter, made from the suite in tests/families.

python -m docs.models            # runs all families on the installed transformers, keeps the rows, writes the page
python -m docs.models --check    # exit code 1 where the page is not what the kept rows say

Rows are kept by version in docs/models.json: run it with the interpreter of another environment for another column.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PAGE = Path(__file__).with_name("models.md")
ROWS = Path(__file__).with_name("models.json")

Row = Mapping[str, str]

HEAD = """# Models

Made by `python -m docs.models`. Every family of the `transformers` library that takes images or video, found by walking
the library's own registry, built at tiny size with random weights on the CPU, and asked with and without the meter.

A family is **right** where the output is the same with and without the meter; phases are in order, with one prefill and
as many decode steps as new tokens less one; text, visual and output tokens are those of the truth; no hook is left and
the model is not held. The truth is *the model's own check* where one placeholder more and one less are both refused,
else arithmetic on the configuration. What this does not show: real weights, real sizes, a GPU.

No family is known to the meter by name. `tests/families/needs.py` has what single families need to be *built* tiny.

Rows of `fast_vlm`, `gemma3n` and `perception_lm` are of an environment with timm and torchvision. The test suite skips
them where timm is absent, as in CI: timm brings torchvision, and the one of another build than torch's (CPU, CUDA)
does not load beside it. An older transformers is not part of CI either; in an environment that has it,
`python -m docs.models` adds its rows and `python -m pytest tests/families tests/runtimes` runs the tests (of
tests/runtimes on 4.57.6: 601 passed, 20 skipped, each with its reason, none failed).
"""


def measured() -> list[Row]:
    """One row a family of the installed library."""
    from tests.families.checking import check
    from tests.families.registry import families

    rows: list[Row] = []
    for family in families():
        outcome = check(family)
        row = {"family": family.model_type, "class": family.class_name}
        if outcome.untried:
            rows.append({**row, "result": "not run", "why": outcome.untried})
            continue
        call, question = outcome.call, outcome.question
        result = "WRONG: " + "; ".join(outcome.faults) if outcome.faults else "right"
        if call is not None and question is not None:
            tokens = call.tokens
            counts = (tokens.visual_encoded, tokens.visual_input, tokens.text_input, tokens.output)
            row |= {
                "counts": " / ".join("–" if each is None else str(each) for each in counts),
                "truth": question.truth if family.answers else "does not write",
                "how": tokens.how.get("visual_input", ""),
                "fusion": call.model.fusion,
            }
        rows.append({**row, "result": result})
    return rows


def page(kept: Mapping[str, Sequence[Row]]) -> str:
    """The page that the kept rows make, newest version first."""
    parts = [HEAD]
    for version in sorted(kept, key=lambda text: [int(each) for each in text.split(".")[:2]], reverse=True):
        rows = kept[version]
        ran = [row for row in rows if row["result"] != "not run"]
        right = sum(row["result"] == "right" for row in ran)
        parts.append(f"\n## transformers {version}: {len(rows)} families, {len(ran)} run, {right} right\n")
        parts.append(
            "Visual tokens encoded / entering the language model / text tokens / output tokens; – is not known.\n"
        )
        parts.append(
            "| family | class | result | encoded / visual / text / output | truth | how the meter counted | fusion |"
        )
        parts.append("|---|---|---|---|---|---|---|")
        cells = ("family", "class", "result", "counts", "truth", "how", "fusion")
        parts += ["| " + " | ".join(_cell(row.get(name, "")) for name in cells) + " |" for row in ran]
        left = [row for row in rows if row["result"] == "not run"]
        if left:
            parts.append("\nNot run, and why:\n")
            parts += [f"* `{row['family']}` ({row['class']}): {_cell(row['why'])}" for row in left]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    """Writes the page, or says whether it is what the rows say; gives the exit code."""
    kept = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    if "--check" in arguments:
        return int(PAGE.read_text() != page(kept))
    import transformers

    transformers.logging.set_verbosity_error()
    rows = measured()
    kept = json.loads(ROWS.read_text()) if ROWS.exists() else {}  # another version may have written meanwhile
    kept[transformers.__version__] = rows
    ROWS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

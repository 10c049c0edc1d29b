"""`docs/research-models.md`: what is seen of models whose code is not in transformers, from the table of their tests.

python -m docs.research_models            # writes docs/research-models.md
python -m docs.research_models --check    # exit code 1 where the file says something else
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.runtimes.research.cases import Case

FOLDER = Path(__file__).parents[1] / "tests/runtimes/research"
PAGE = Path(__file__).with_name("research-models.md")

HEAD = """# Models whose code is not in transformers

Made by `python -m docs.research_models` from the table of `tests/runtimes/research`.

Each model here is re-created at tiny size, with random weights, on a CPU, with the calls, names, nesting and shapes of
its real code (the source is named in the test's file), and held to: the same output with and without the meter; one
call; its phases in order with one prefill; text, visual and output tokens as its own arithmetic gives them; images; how
features join the text; no hook, patch or model left behind. **It is the control flow that is tested, not the published
weights.**

LLaVA's, InternVL-Chat's, DeepSeek-VL2's (its incremental prefilling too), MobileVLM's and OpenVLA's own code was run
under the meter as well, at tiny size, on the transformers that it is written for (4.37, 4.38; LLaVA's also on 5.23):
what was wrong there (a start id counted as output before 4.38, a narrow convolution taken for an encoder's) is in the
tests now. That code is no part of this repository, so CI does not repeat it.

No name of a model or of a method is looked for:

* **A call** is a generate, or a public method of a model's class that no framework below it knows (`chat`,
  `predict_action`, whatever its name): what it encodes belongs to the generate or forward pass in it.
* **Encode, then generate**: if the user encodes with one method and then calls a generate of the same model with
  embeddings that can hold the features, it is one call. If anything comes between, the encoding stays a call of its
  own, and the other's visual tokens are unknown.
* **The vision side** is found by structure, also where a tower is kept in a list, loaded later, or run piece by piece.
* **Visual tokens** of a call by embeddings are its positions less the ids that were embedded.

What is not seen: a plain `model(...)` of a class that is not a transformers model (give it to `meter(model)`);
what a generator method does between its yields (its generate is seen); output tokens of a decoding loop that is all the
model's own.

Tokens: text + visual entering the language model; encoded = rows out of the encoders. Sizes are those of the test.

| model | how it runs | text | visual | encoded | kept | counted by |
|---|---|---|---|---|---|---|
"""


def cases() -> list[Case]:
    """Every case of the tests, in the order of their files."""
    names = [path.stem for path in sorted(FOLDER.glob("*.py")) if not path.stem.startswith(("test_", "cases"))]
    return [case for name in names for case in importlib.import_module(f"tests.runtimes.research.{name}").CASES]


def page() -> str:
    """The text of the page."""
    return HEAD + "".join(_row(case) for case in cases())


def _row(case: Case) -> str:
    truth = case.truth
    counts = " | ".join(
        "-" if each is None else str(each) for each in (truth.text, truth.visual, truth.encoded, truth.kept)
    )
    how = truth.how.partition(" (10 feature")[0] or "-"
    return f"| {case.name} | {case.flow} | {counts} | {how} |\n"


def main() -> int:
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

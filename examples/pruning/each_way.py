"""Meter a model with each way to compute fewer visual tokens: where tokens go, how many are left, what a request takes.

    python examples/pruning/each_way.py              # the model that ships with wattvlm
    python examples/pruning/each_way.py MODEL        # a folder, or a hub id that is on this machine

A way of your own is a function that changes a model and returns what undoes it; `wattvlm.pruning.Way` gives it a name.
"""

from __future__ import annotations

import sys
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

import wattvlm
from wattvlm import pruning
from wattvlm.demo import model_path
from wattvlm.demo.questions import QUESTIONS, held_out, prompt
from wattvlm.errors import NotResolved

CALLS = 3
EXACTLY: dict[str, Any] = {"min_new_tokens": 8, "max_new_tokens": 8, "do_sample": False}
"""Answers of one length, so that only the prompt differs."""


def main(source: str) -> None:
    processor = AutoProcessor.from_pretrained(source)
    model = AutoModelForImageTextToText.from_pretrained(source)
    inputs = dict(processor(images=[held_out().pictures()[0]], text=[prompt(QUESTIONS[0])], return_tensors="pt"))
    token = pruning.image_token_of(model)
    print(f"{'whole':18}{measured(model, inputs)}")
    for name, way in pruning.ways().items():
        try:
            with pruning.applied(model, way):
                left = pruning.trimmed(inputs, token, way.prompt_fraction(model))
                print(f"{name:18}{measured(model, left)}  {way.says}")
        except pruning.DoesNotFit as error:
            print(f"{name:18}has no place here: {error}")


def measured(model: Any, inputs: dict[str, Any]) -> str:
    """Visual tokens of a request, and its joules."""
    model.generate(**inputs, **EXACTLY)
    with wattvlm.meter() as m:
        for _ in range(CALLS):
            model.generate(**inputs, **EXACTLY)
    tokens = m.report.tokens
    kept = tokens.visual_input if tokens.visual_kept is None else tokens.visual_kept
    counts = f"{(tokens.visual_input or 0) // CALLS:4} visual tokens, {(kept or 0) // CALLS:4} to the end"
    return f"{counts}, {energy(m.report)}"


def energy(report: wattvlm.Report) -> str:
    try:
        return f"{report.per('request')} a request"
    except NotResolved as error:
        return str(error)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(model_path()))

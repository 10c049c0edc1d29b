"""Random weights are asked real questions: their visual tokens are counted, an answer is the likeliest offered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")
pytest.importorskip("transformers", reason="needs the extra wattvlm[torch]")
images = pytest.importorskip("PIL.Image", reason="needs the extra wattvlm[torch]")

from tests.bench.tiny_configs import tiny  # noqa: E402  # after importorskip
from wattvlm import meter  # noqa: E402
from wattvlm.bench import Cell  # noqa: E402
from wattvlm.bench.prompts import ordinary_ids  # noqa: E402
from wattvlm.bench.subjects import TransformersSubject  # noqa: E402
from wattvlm.bench.untrained import UntrainedProcessor  # noqa: E402

SIZES = ((224, 140), (64, 64))
FAMILIES = {
    "llava-1.5-7b": (576, 576),
    "internvl3-1b": (256, 256),
    "smolvlm-256m": (64, 64),
    "qwen2-vl-2b": (8 * 5, 2 * 2),
    "qwen3.5-0.8b": (11 * 7, 8 * 8),
    "lfm2-vl-450m": (10 * 6, 8 * 8),
}
"""Visual tokens of pictures of these sizes; Qwen3.5 makes none of fewer pixels than 256 x 256."""


def model_of(name: str, folder: Path):
    path = folder / "config.json"
    path.write_text(json.dumps(tiny(name)))
    return TransformersSubject(random_weights=True).loaded(Cell(str(path), dtype="float32", device="cpu"), 0)[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_question_with_pictures_of_two_sizes_has_its_familys_visual_tokens(tmp_path: Path, name: str):
    model = model_of(name, tmp_path)
    processor = UntrainedProcessor(model)
    pictures = [images.new("RGB", size, (30, 60, 90)) for size in SIZES]
    inputs = processor(images=[pictures], text=["<image><image>\nWhich is larger? A. the first B. the second"])
    with meter(probes=[]) as m:
        output = model.generate(
            **inputs, max_new_tokens=3, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    assert m.report.tokens.visual_input == sum(FAMILIES[name])
    assert m.report.tokens.output == 3
    assert processor.likeliest(output.logits[0][0], "AB") in ("A", "B")


def test_the_same_question_is_the_same_prompt_and_words_are_no_special_tokens(tmp_path: Path):
    processor = UntrainedProcessor(model_of("lfm2-vl-450m", tmp_path))
    assert processor.ids("What is it?") == processor.ids("What is it ?") != processor.ids("What was it?")
    words = ordinary_ids(tiny("lfm2-vl-450m") | {"image_token_id": 396})
    assert set(processor.ids("Is it a cat, or a dog?")) <= set(words)
    assert 396 not in words
    assert len({processor.ids(letter)[0] for letter in "ABCDEFGH"}) == 8


def test_the_likeliest_of_the_offered_answers_is_read_from_its_first_token(tmp_path: Path):
    processor = UntrainedProcessor(model_of("smolvlm-256m", tmp_path))
    scores = torch.zeros(49_280)
    scores[processor.ids("dog")[0]] = 2.0
    scores[processor.ids("bird")[0]] = 3.0
    assert processor.likeliest(scores, ("cat", "dog")) == "dog"
    assert processor.likeliest(scores, ()) == ""

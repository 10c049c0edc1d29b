"""The page of visual tokens is what configurations say, and they say what the published processors do."""

import pytest

from docs.visual_tokens import PAGE, SIZES, configs, page, tokens

PUBLISHED = {
    "LLaVA-1.5-7B, 13B": (576,) * 9,
    "LLaVA-1.6-Mistral-7B, 34B": (None, 1176, 2928, 2340, 2928, 2928, 2928, 1948, 1948),
    "Qwen2-VL, Qwen2.5-VL (at most 1,280 tokens: the library's default)": (
        64, 144, 256, 391, 576, 1024, 1225, 1196, 1222,
    ),
    "Qwen2-VL, Qwen2.5-VL (at most 16,384 tokens: the published files)": (
        64, 144, 256, 391, 576, 1024, 1369, 1196, 2691,
    ),
    "Qwen3-VL": (64, 100, 196, 300, 441, 784, 1024, 880, 2040),
    "InternVL3": (256, 256, 256, 3328, None, 1280, 2560, 2304, 2304),
    "Gemma 3 (without pan-and-scan)": (256,) * 9,
}  # fmt: skip
"""Counts of the library's own processors at SIZES; None where none was taken."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_model_makes_the_visual_tokens_that_its_processor_makes(name):
    (model,) = [each for each in configs() if each["name"] == name]
    counted = [tokens(model, size) for size in SIZES]
    assert [(size, own) for size, own, known in zip(SIZES, counted, PUBLISHED[name]) if known not in (None, own)] == []


def test_the_page_is_what_the_configurations_say():
    assert PAGE.read_text() == page(), "docs/visual-tokens.md is old: run python -m docs.visual_tokens"

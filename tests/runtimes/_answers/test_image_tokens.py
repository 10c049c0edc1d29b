"""Image tokens by arithmetic are those of the libraries' own processors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtimes import tiny_gguf
from wattvlm.runtimes._answers.image_tokens import ModelFiles, image_tokens, model_files

DEMO = Path(__file__).parents[3] / "wattvlm/demo/digits_llava"


def _qwen(**processor: Any) -> ModelFiles:
    config = {"model_type": "qwen2_vl", "vision_config": {"patch_size": 14, "spatial_merge_size": 2}}
    return ModelFiles("there", config, {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 1280, **processor})


@given(st.integers(28, 3000), st.integers(28, 3000), st.sampled_from([1280, 16384]))
@settings(deadline=None)
def test_qwen_vl_by_its_own_resizing(width, height, most_tokens):
    resizing = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    if max(width, height) / min(width, height) > 100:
        return
    most = 28 * 28 * most_tokens
    high, wide = resizing.smart_resize(height, width, factor=28, min_pixels=56 * 56, max_pixels=most)
    assert image_tokens(_qwen(max_pixels=most), (width, height)) == high * wide // 28**2


@pytest.mark.parametrize(
    ("size", "tokens"), [((224, 224), 64), ((336, 336), 144), ((640, 480), 391), ((1920, 1080), 1222)]
)
def test_qwen_vl_at_common_sizes(size, tokens):
    assert image_tokens(_qwen(), size) == tokens


def test_the_files_of_a_folder_are_found_on_a_command_line():
    files = model_files(["python", "serve", str(DEMO), "--port", "1"])
    assert files is not None
    assert image_tokens(files, (640, 480)) == image_tokens(files, None) == 16
    relative = model_files(["serve", DEMO.name], DEMO.parent)
    assert relative is not None
    assert relative.config == files.config


def test_the_vision_part_of_a_gguf_model_is_found(llama_files):
    language, vision = llama_files
    files = model_files(["llama-server", "-m", str(language), "--mmproj", str(vision)])
    assert files is not None
    assert files.where == str(vision)
    assert image_tokens(files, (1, 1)) == tiny_gguf.VISUAL_TOKENS


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"model_type": "llava", "vision_config": {"image_size": 336, "patch_size": 14}}, 576),
        ({"model_type": "gemma3", "mm_tokens_per_image": 256}, 256),
        ({"model_type": "paligemma", "vision_config": {"image_size": 224, "patch_size": 14}}, 256),
        ({"model_type": "llava"}, None),
        ({"model_type": "never_heard_of"}, None),
        ({}, None),
    ],
)
def test_layouts_that_are_known_are_computed_and_others_are_unknown(config, tokens):
    assert image_tokens(ModelFiles("there", config, {}), (640, 480)) == tokens


def test_broken_files_are_unknown(tmp_path):
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0")
    (tmp_path / "config.json").write_text("{")
    assert model_files([str(tmp_path / "cut.gguf"), str(tmp_path)]) is None
    (tmp_path / "config.json").write_text(json.dumps([1]))
    found = model_files([str(tmp_path)])
    assert found is not None
    assert image_tokens(found, (1, 1)) is None

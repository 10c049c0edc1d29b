"""Visual tokens by arithmetic on a configuration are those that the library's own processors make."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wattvlm.visual_tokens import visual_tokens

SIDES = st.integers(28, 3000)
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]


def anyres(strategy: str = "default") -> dict[str, Any]:
    """A LLaVA-1.6."""
    return {
        "model_type": "llava_next", "image_grid_pinpoints": PINPOINTS, "vision_feature_select_strategy": strategy,
        "vision_config": {"image_size": 336, "patch_size": 14},
    }  # fmt: skip


@given(SIDES, SIDES, st.sampled_from([(28, 56 * 56, 1280), (28, 56 * 56, 16384), (32, 65536, 16384)]))
@settings(deadline=None, max_examples=60)
def test_native_resolution_is_cut_as_the_processor_cuts_it(width, height, limits):
    resizing = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    unit, least, most_tokens = limits
    most = unit**2 * most_tokens
    assume(max(width, height) / min(width, height) < 100)
    high, wide = resizing.smart_resize(height, width, factor=unit, min_pixels=least, max_pixels=most)
    config = {"model_type": "qwen3_vl", "vision_config": {"patch_size": unit // 2, "spatial_merge_size": 2}}
    processor = {"size": {"shortest_edge": least, "longest_edge": most}}
    assert visual_tokens(config, processor, (width, height)) == high * wide // unit**2


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_any_resolution_is_unpadded_as_the_processor_does_it(width, height):
    processing = pytest.importorskip("transformers.models.llava_next.processing_llava_next")
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=PINPOINTS), patch_size=14, num_additional_image_tokens=1
    )
    processor._get_unpadded_features = processing.LlavaNextProcessor._get_unpadded_features.__get__(processor)
    with_class_token = processing.LlavaNextProcessor._get_number_of_features(processor, height, width, 336, 336)
    assert visual_tokens(anyres(), None, (width, height)) == with_class_token - 1
    assert visual_tokens(anyres("full"), None, (width, height)) == with_class_token


@given(SIDES, SIDES, st.integers(1, 3), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_tiles_are_laid_as_the_processor_lays_them(width, height, least, more):
    tiling = pytest.importorskip("transformers.models.got_ocr2.image_processing_pil_got_ocr2")
    most = least + more
    columns, rows = tiling.get_optimal_tiled_canvas((height, width), (448, 448), least, most)
    tiles = columns * rows + 1 if columns * rows > 1 else 1
    config = {"model_type": "internvl", "image_seq_length": 256}
    processor = {"min_patches": least, "max_patches": most, "size": {"height": 448, "width": 448}}
    assert visual_tokens(config, processor, (width, height)) == 256 * tiles


@pytest.mark.parametrize("config", [
    anyres(),
    {"model_type": "qwen2_vl", "vision_config": {"patch_size": 14, "spatial_merge_size": 2}},
    {"model_type": "internvl", "image_seq_length": 256},
])  # fmt: skip
def test_tokens_that_depend_on_the_image_are_unknown_without_its_size(config):
    processor = {"min_pixels": 3136, "max_pixels": 1003520, "max_patches": 12, "size": {"height": 448, "width": 448}}
    assert visual_tokens(config, processor) is None
    assert visual_tokens(config, processor, (640, 480)) is not None
    assert visual_tokens(config, processor, (640, 0)) is None


@pytest.mark.parametrize("config", [
    {}, {"model_type": "never_heard_of", "image_seq_length": 5}, {"model_type": "llava"},
    {"model_type": "llava", "vision_config": {"image_size": [336, 224], "patch_size": 14}},
    {"model_type": "qwen2_vl", "vision_config": {"patch_size": 14, "spatial_merge_size": 2}},
])  # fmt: skip
def test_a_layout_that_the_files_do_not_settle_is_unknown_and_not_a_guess(config):
    assert visual_tokens(config, None, (640, 480)) is None


def test_a_fixed_number_needs_no_image():
    assert visual_tokens({"model_type": "blip-2", "num_query_tokens": 32}) == 32
    assert visual_tokens({"model_type": "gemma3", "mm_tokens_per_image": 256}) == 256
    assert visual_tokens({"model_type": "gemma3", "mm_tokens_per_image": 256}, {"do_pan_and_scan": True}) is None

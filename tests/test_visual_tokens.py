"""Visual tokens by arithmetic on a configuration are those that the library's own processors make."""

from __future__ import annotations

import ast
import importlib.util
import math
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

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


ONE_VISION_GRIDS = [[384 * high, 384 * wide] for high in range(1, 7) for wide in range(1, 7)]


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_onevision_shrinks_what_is_beyond_nine_tiles_as_the_processor_does_it(width, height):
    processing = pytest.importorskip("transformers.models.llava_onevision.processing_llava_onevision")
    owner: Any = processing.LlavaOnevisionProcessor
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=ONE_VISION_GRIDS),
        num_image_tokens=729, vision_aspect_ratio="anyres_max_9",
    )  # fmt: skip
    processor._get_unpadded_features = owner._get_unpadded_features.__get__(processor)
    config = {
        "model_type": "llava_onevision", "image_grid_pinpoints": ONE_VISION_GRIDS,
        "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_9",
        "vision_config": {"image_size": 384, "patch_size": 14},
    }  # fmt: skip
    expected = owner._get_number_of_features(processor, height, width, 384, 384)
    assert visual_tokens(config, None, (width, height)) == expected


@pytest.mark.parametrize("family", ["idefics3", "smolvlm"])
@given(width=SIDES, height=SIDES, sides=st.sampled_from([(1456, 364), (2048, 512), (1820, 364), (6000, 512)]))
@settings(deadline=None, max_examples=40)
def test_squares_are_cut_as_the_processor_cuts_them(family, width, height, sides):
    module = pytest.importorskip(f"transformers.models.{family}.image_processing_pil_{family}")
    owner: Any = getattr(module, {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[family] + "ImageProcessorPil")
    longest, square = sides
    given_sizes = {"size": {"longest_edge": longest}, "max_image_size": {"longest_edge": square}}
    processor = SimpleNamespace(do_image_splitting=True, **given_sizes)
    tiles, _, _ = owner.get_number_of_image_patches(processor, height, width, dict(given_sizes))
    config = {"model_type": family, "scale_factor": 2, "vision_config": {"image_size": square, "patch_size": 14}}
    each = (square // 14 // 2) ** 2
    assert visual_tokens(config, {"do_image_splitting": True, **given_sizes}, (width, height)) == each * max(tiles, 1)
    assert visual_tokens(config, {"do_image_splitting": False}) == each


@pytest.mark.parametrize(("config", "unit"), [
    ({"model_type": "llava", "vision_config": {"model_type": "pixtral", "patch_size": 16}}, 16),
    ({"model_type": "mistral3", "spatial_merge_size": 2, "vision_config": {"patch_size": 14}}, 28),
])  # fmt: skip
@given(width=SIDES, height=SIDES, longest=st.sampled_from([1024, 1540]))
@settings(deadline=None, max_examples=40)
def test_an_image_is_scaled_down_as_pixtrals_processor_does_it(config, unit, width, height, longest):
    module = pytest.importorskip("transformers.models.pixtral.image_processing_pil_pixtral")
    picture = np.broadcast_to(np.uint8(0), (height, width, 3))
    high, wide = module.get_resize_output_image_size(picture, (longest, longest), (unit, unit))
    found = visual_tokens(config, {"size": {"longest_edge": longest}}, (width, height))
    assert found == (high // unit) * (wide // unit)


@given(st.integers(5, 3000), st.integers(5, 3000))
@settings(deadline=None, max_examples=60)
def test_glms_two_frames_of_an_image_are_cut_as_the_processor_cuts_them(width, height):
    resizing = pytest.importorskip("transformers.models.glm4v.image_processing_pil_glm4v")
    assume(max(width, height) / min(width, height) < 100)
    least, most = 112 * 112, 14 * 14 * 2 * 2 * 2 * 6144
    high, wide = resizing.smart_resize(2, height, width, 2, 28, least, most)
    config = {"model_type": "glm4v", "vision_config": {"patch_size": 14, "spatial_merge_size": 2}}
    processor = {"size": {"shortest_edge": least, "longest_edge": most}}
    assert visual_tokens(config, processor, (width, height)) == high * wide // 28**2


@cache
def kimis_own() -> Any:
    """The processor's own function; its module wants torchvision, which the function does not."""
    package = importlib.util.find_spec("transformers.models")
    places = [] if package is None else list(package.submodule_search_locations or ())
    files = [Path(place) / "kimi_k25/image_processing_kimi_k25.py" for place in places]
    if not any(file.exists() for file in files):
        pytest.skip("this version of transformers has no kimi_k25")
    (tree,) = [ast.parse(file.read_text()) for file in files if file.exists()]
    (own,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "navit_resize"]
    known: dict[str, Any] = {"math": math}
    exec(compile(ast.Module([own], []), "navit_resize", "exec"), known)
    return known["navit_resize"]


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_kimis_images_are_padded_as_the_processor_pads_them(width, height):
    _, (high, wide) = kimis_own()(height, width, 14, 2, 4096, 64)
    processor = {"patch_size": 14, "merge_size": 2, "max_patches": 4096, "size": {"max_height": 64, "max_width": 64}}
    assert visual_tokens({"model_type": "kimi_k25"}, processor, (width, height)) == high * wide // 28**2


def test_kimi_vl_pads_each_side_to_whole_merged_patches_of_what_its_limit_leaves():
    """45 x 34 patches fit; 137 x 77 are 10,549, and scaled by the root of 4,096 over that."""
    processor = {"patch_size": 14, "in_token_limit": 4096, "merge_kernel_size": [2, 2], "pad_input": True}
    config = {"model_type": "kimi_vl"}
    assert visual_tokens(config, processor, (640, 480)) == 23 * 18
    scaled = (1920 * (4096 / 10_549) ** 0.5, 1080 * (4096 / 10_549) ** 0.5)
    assert [int(side) for side in scaled] == [1196, 672]
    assert visual_tokens(config, processor, (1920, 1080)) == 43 * 24
    assert visual_tokens(config, {**processor, "pad_input": False}, (640, 480)) is None


@given(st.integers(1, 9000), st.integers(1, 4000), st.sampled_from([64, 4096, 16384]))
@settings(deadline=None, max_examples=60)
def test_kimi_vls_images_are_the_patches_that_its_processors_steps_leave(width, height, limit):
    """Its steps on a real image: shrink while there are too many whole patches, paste on a canvas, cut into patches."""
    image = Image.new("1", (width, height))
    whole = (width // 14) * (height // 14)
    if whole > limit:
        factor = (limit / whole) ** 0.5
        image = image.resize((int(image.width * factor), int(image.height * factor)), Image.Resampling.NEAREST)
    canvas = Image.new("1", (image.width + -image.width % 28, image.height + -image.height % 28))
    canvas.paste(image, (0, 0))
    patches = np.asarray(canvas).reshape(canvas.height // 14, 14, canvas.width // 14, 14).shape
    too_long = patches[0] >= 512 or patches[2] >= 512
    processor = {"patch_size": 14, "in_token_limit": limit, "merge_kernel_size": [2, 2], "pad_input": True}
    found = visual_tokens({"model_type": "kimi_vl"}, processor, (width, height))
    assert found == (None if too_long else patches[0] * patches[2] // 4)


def test_internvls_own_files_say_the_same_as_the_librarys():
    chat = {
        "model_type": "internvl_chat", "force_image_size": 448, "downsample_ratio": 0.5, "dynamic_image_size": True,
        "min_dynamic_patch": 1, "max_dynamic_patch": 12, "use_thumbnail": True, "vision_config": {"patch_size": 14},
    }  # fmt: skip
    native = {"model_type": "internvl", "image_seq_length": 256}
    processor = {"min_patches": 1, "max_patches": 12, "size": {"height": 448, "width": 448}}
    for size in ((640, 480), (448, 448), (1920, 1080), (300, 900)):
        assert visual_tokens(chat, None, size) == visual_tokens(native, processor, size)
    assert visual_tokens({**chat, "use_thumbnail": False}, None, (640, 480)) == 12 * 256
    assert visual_tokens({**chat, "dynamic_image_size": False}) == 256


def test_a_resampler_gives_its_latents_whatever_the_image():
    latents = {"perceiver_config": {"resampler_n_latents": 64}}
    assert visual_tokens({"model_type": "idefics2", **latents}) == 64
    assert visual_tokens({"model_type": "idefics2", **latents}, {"do_image_splitting": True}) == 5 * 64
    assert visual_tokens({"model_type": "idefics", "use_resampler": True, **latents}) == 64
    patches = {"vision_config": {"image_size": 224, "patch_size": 14}}
    assert visual_tokens({"model_type": "idefics", "use_resampler": False, **patches}) == 257


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

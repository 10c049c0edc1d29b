"""What single families need beyond the rules, each with its reason: fields that the rules cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.families.sizes import HEAD_WIDTH, WIDTH


@dataclass(frozen=True, slots=True)
class Need:
    """why: the reason. fields: dotted path in the configuration -> value, set after shrinking; after a "?" only
    where the version of the library has that field. visual: tokens of the picture by the arithmetic on the
    configuration, where the model does not check them itself. pixels: their shape. inputs: other arguments, as nested
    lists. placeholder: an id that stands for the picture where no field says one. placeholders: how many, where the
    model takes any number. without: arguments that are optional
    and left out. phases: the ones that its call has, where they are not all.
    """

    why: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    visual: int | None = None
    arithmetic: str = ""
    pixels: tuple[int, ...] | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    placeholder: int | None = None
    placeholders: int | None = None
    without: tuple[str, ...] = ()
    phases: tuple[str, ...] | None = None


def _codes(word: str, first_id: int, count: int) -> dict[str, int]:
    return {word.format(index): first_id + index for index in range(count)}


NEEDS: Mapping[str, Need] = {
    "chameleon": Need(
        "its default configuration has no table from codes to token ids, and its model cannot be built without one",
        {
            "vocabulary_map": {"<image>": 400, **{f"IMGIMG{chr(65 + index)}Z": 200 + index for index in range(10)}},
            "image_token_id": 400,
            "vq_config.num_embeddings": 10,
            "vq_config.resolution": 32,
        },
    ),
    "emu3": Need(
        "as chameleon",
        {
            "vocabulary_map": {"<image>": 400, "<|extra_200|>": 401, **_codes("<|visual token {:06d}|>", 200, 32)},
            "image_token_id": 400,
            "vq_config.codebook_size": 32,
            "vq_config.hidden_size": 4 * WIDTH,
        },
    ),
    "cohere_compass": Need(
        "its default configuration gives no rotary settings, of which its model needs one a kind of layer",
        {"text_config.rope_parameters": {"full_attention": {"rope_theta": 10000.0, "rope_type": "default"}}},
    ),
    "deepseek_ocr2": Need(
        "its default configuration leaves open what kind its layers are and how many experts a token uses",
        {"text_config.mlp_layer_types": ["dense", "sparse"], "text_config.num_experts_per_tok": 2,
         "vision_config.sam_config.downsample_channels": [WIDTH, WIDTH]},
    ),
    "unlimited_ocr": Need("its second encoder reads the map that the first one leaves: one position here",
                          {"vision_config.sam_config.downsample_channels": [WIDTH, WIDTH],
                           "vision_config.encoder_config.image_size": 8, "?text_config.num_experts_per_tok": 2}),
    "align": Need("its convolutions are lists of which each entry goes with the next",
                  {"vision_config.in_channels": [32, 16], "vision_config.out_channels": [16, WIDTH],
                   "vision_config.kernel_sizes": [3, 3], "vision_config.strides": [1, 2],
                   "vision_config.num_block_repeats": [1, 1], "vision_config.expand_ratios": [1, 6],
                   "vision_config.width_coefficient": 1.0, "vision_config.depth_coefficient": 1.0},
                  pixels=(1, 3, 32, 32)),
    "fast_vlm": Need("its encoder is one that timm builds, here the smallest of its kind",
                     {"vision_config.architecture": "fastvit_mci0", "vision_config.hidden_size": 1024},
                     pixels=(1, 3, 128, 128)),
    "perception_lm": Need("its encoder is one that timm builds, by arguments of timm's",
                          {"vision_config.architecture": "vit_pe_core_tiny_patch16_384",
                           "vision_config.model_args": {"embed_dim": WIDTH, "depth": 2, "num_heads": 4, "img_size": 32,
                                                        "patch_size": 8, "global_pool": "", "init_values": 0.1,
                                                        "ref_feat_shape": [4, 4], "use_post_transformer_norm": False},
                           "vision_config.hidden_size": WIDTH},
                          pixels=(1, 1, 3, 32, 32)),
    "gemma3n": Need("its encoder is one that timm builds; two layers, none of which takes another's cache",
                    {"vision_config.architecture": "test_efficientnet", "vision_config.hidden_size": 256,
                     "text_config.num_kv_shared_layers": 0, "vision_soft_tokens_per_image": 4},
                    pixels=(1, 3, 64, 64)),
    "pi0": Need("a robot's state goes in, and a mask says which cameras there are; one pass of flow matching",
                inputs={"state": [[0.5] * WIDTH], "pixel_attention_mask": [[True]], "noise": [[[0.5] * WIDTH] * 50],
                        "timestep": [0.5]},
                pixels=(1, 1, 3, 32, 32), placeholders=16, visual=16, arithmetic="patches of one camera"),
    "ernie4_5_vl_moe": Need(
        "its rotary sections are a constant for heads of 128",
        {"text_config.rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", "mrope_section": [3, 3, 2]}},
    ),
    "granite4_vision": Need(
        "its default configuration leaves open how features are downsampled and into which layers they go",
        {
            "downsample_rate": "1/2",
            "deepstack_layer_map": [[-1, 0]],
            "spatial_target_layers": [0, 1, 0, 1],
        },
    ),
    "hunyuan_vl": Need("its model takes the width of a head from the configuration, which gives none",
                       {"text_config.head_dim": HEAD_WIDTH, "vision_config.text_hidden_size": WIDTH}),
    "glm5_next": Need("its sparse layers refuse rotary positions",
                      {"text_config.qk_rope_head_dim": 0, "text_config.qk_head_dim": HEAD_WIDTH}),
    "dots3_note": Need("its checks tie the width of a head to the sum of two others",
                       {"text_config.head_dim": 2 * HEAD_WIDTH, "vision_config.adapter_in_dim": WIDTH,
                        "audio_config.adapter_input_size": WIDTH}),
    "qwen4_exp": Need("its default configuration leaves its sparse attention open",
                      {"text_config.indexer_budget": 8, "text_config.indexer_compress_ratio": 2,
                       "text_config.indexer_n_heads": 2, "text_config.indexer_kv_heads": 1,
                       "text_config.indexer_head_dim": HEAD_WIDTH}),
    "tipsv2": Need("its default names the last of twelve stages",
                   {"vision_config.out_features": ["stage2"], "vision_config.out_indices": [2]}),
    "llama4": Need("a patch holds the pixels of four after its shuffle",
                   {"vision_config.intermediate_size": 4 * WIDTH}),
    "muse_glimmer": Need("its projector takes four merged patches", {"out_hidden_size": 4 * WIDTH}),
    "muse_spark": Need("its projector takes four merged patches", {"out_hidden_size": 4 * WIDTH}),
    "aria": Need("how many queries a number of patches gets is a table", {"projector_patch_to_query_dict": {16: 4}}),
    "mllama": Need("its encoder joins the outputs of the layers that a field lists",
                   {"vision_config.intermediate_layers_indices": [1], "vision_config.vision_output_dim": 2 * WIDTH,
                    "text_config.num_hidden_layers": 3, "?text_config.rope_scaling": {"rope_type": "default"}},
                   visual=4 * 17, arithmetic="4 tiles of 16 patches and a class token",
                   pixels=(1, 1, 4, 3, 32, 32),
                   inputs={"aspect_ratio_mask": [[[1, 1, 1, 1]]], "cross_attention_mask": [[[[1, 1, 1, 1]]] * 9]}),
    "step3p7": Need("its default leaves the window open that its masks need", {"text_config.sliding_window": 16}),
    "gemma4": Need("its default has no vision side",
                   {"vision_config": {"model_type": "gemma4_vision", "hidden_size": WIDTH, "intermediate_size": 128,
                                      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
                                      "head_dim": HEAD_WIDTH, "patch_size": 8, "pooling_kernel_size": 2}},
                   pixels=(1, 16, 192)),
    "video_llama_3": Need("each picture says how its patches merge", inputs={"image_merge_sizes": [2]}),
    "glm4v_moe": Need("half of each head is rotated",
                      {"text_config.rope_parameters": {"rope_theta": 10000.0, "rope_type": "default",
                                                       "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]},
                       "?text_config.rope_scaling": {"type": "default", "rope_type": "default",
                                                     "mrope_section": [2, 1, 1]}}),
    "deepseek_vl_hybrid": Need("transformers 4 takes any number of placeholders", placeholders=16,
                               arithmetic="patches of its smaller picture"),
    "qwen2_5_omni_thinker": Need("it reads ids of the whole model's configuration",
                                 {"vision_start_token_id": 430, "vision_end_token_id": 431}),
    "qwen3_omni_moe_thinker": Need("it reads ids of the whole model's configuration",
                                   {"vision_start_token_id": 430, "vision_end_token_id": 431}),
    "kosmos-2": Need("a mask, no id, says where its picture is", placeholder=300),
    "kosmos-2.5": Need("a mask, no id, says where its picture is", placeholder=300, pixels=(1, 16, 66)),
    "pix2struct": Need("a patch carries its row and column; the width of a head has a name of its own",
                       {"text_config.d_kv": HEAD_WIDTH, "vision_config.d_kv": HEAD_WIDTH}, pixels=(1, 16, 66),
                       visual=16, inputs={"attention_mask": [[1] * 16]}, arithmetic="patches attended to"),
    "granite_docling": Need("a mask says which tiles are real", pixels=(1, 1, 3, 32, 32),
                            inputs={"pixel_attention_mask": [[True]]}),
    "gemma4_unified": Need("its default has no vision side; it projects merged patches and has no encoder",
                           {"vision_config": {"model_type": "gemma4_unified_vision", "patch_size": 8,
                                              "pooling_kernel_size": 2, "model_patch_size": 16, "mm_embed_dim": WIDTH,
                                              "mm_posemb_size": 64, "output_proj_dims": WIDTH}},
                           pixels=(1, 16, 768)),
    "inkling2": Need("a row of its pixels is four merged patches, channels last", pixels=(64, 16, 16, 3)),
    "inkling_mm_model": Need("a row of its pixels is a patch in two frames, channels last", pixels=(4, 2, 8, 8, 3)),
    "molmo2": Need("which patches are pooled into a token is an argument", {"vision_config.image_num_pos": 16},
                   pixels=(1, 16, 192),
                   inputs={"image_token_pooling": [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]],
                           "image_grids": [[0, 0, 2, 2]], "image_num_crops": [1]}),
    "nemotron_h_omni": Need("it has more groups than heads when shrunk", {"?text_config.n_groups": 1}),
    "vilt": Need("one transformer takes words and patches: nothing encodes", phases=("prefill",)),
    "phi4_multimodal": Need("crops of a fixed side, the first of the whole",
                            {"vision_config.crop_size": 32}, pixels=(1, 2, 3, 32, 32),
                            inputs={"image_attention_mask": [[[[1] * 4] * 4] * 2], "image_sizes": [[32, 32]]}),
    "blip": Need(visual=17, arithmetic="16 patches and a class token"),
    "blip-2": Need("as instructblip", {"qformer_config.vocab_size": 500}, visual=4, arithmetic="query tokens"),
    "instructblip": Need("its query transformer knows other words than its language model",
                         {"qformer_config.vocab_size": 500}, visual=4, arithmetic="query tokens"),
    "instructblipvideo": Need("as instructblip", {"qformer_config.vocab_size": 500}, visual=4,
                              arithmetic="query tokens a frame, one frame"),
    "git": Need(visual=17, arithmetic="16 patches and a class token"),
    "idefics": Need(visual=17, arithmetic="16 patches and a class token, no resampler"),
    "pp_formulanet": Need(visual=1, arithmetic="a map of 2 x 2 positions that strided convolutions leave one of"),
    "idefics2": Need(visual=64, arithmetic="latents of the resampler"),
    "idefics3": Need(visual=4, arithmetic="16 patches, four to a token"),
    "smolvlm": Need(visual=4, arithmetic="16 patches, four to a token"),
    "udop": Need(visual=16, arithmetic="patches"),
    "vision-encoder-decoder": Need(visual=17, arithmetic="16 patches and a class token"),
    "llava": Need("sizes are for encoders of native resolution", without=("image_sizes",)),
}  # fmt: skip

UNTRIED = frozenset(("emu3", "fast_vlm", "fuyu", "gemma3n", "perception_lm", "pixtral", "vision-encoder-decoder"))
"""Families that are known not to run here; a new one among them is a fault of the suite or of the library.

On transformers 4.57: emu3's forward drops the pixels that it is given, fuyu takes lists of patches and their places,
and two have defaults without a text side. The others need timm.
"""

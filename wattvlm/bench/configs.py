"""Sizes of well-known small vision-language models, for runs with random weights: joules depend little on values.

The numbers are those of the models' published configurations. What is not here is transformers' default.
"""

from __future__ import annotations

from typing import Any

_CLIP_L = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip

_INTERN_VIT_300M = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": [448, 448], "patch_size": [14, 14],
}  # fmt: skip


def _language(
    kind: str, width: int, inner: int, layers: int, heads: int, key_value_heads: int, vocabulary: int
) -> dict[str, Any]:
    return {
        "model_type": kind, "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": key_value_heads, "vocab_size": vocabulary,
    }  # fmt: skip


def _vit(width: int, inner: int, layers: int, heads: int, side_px: int, patch_px: int) -> dict[str, Any]:
    return {
        "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "image_size": side_px, "patch_size": patch_px,
    }  # fmt: skip


def _qwen(kind: str, width: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    """Qwen2-VL and Qwen2.5-VL: an encoder of 32 blocks of 1280, patches of 14 pixels merged two by two."""
    vision: dict[str, Any] = {"depth": 32, "num_heads": 16, "patch_size": 14, "spatial_merge_size": 2}
    if kind == "qwen2_vl":
        vision |= {"embed_dim": 1280, "hidden_size": width, "mlp_ratio": 4}
    else:
        vision |= {"hidden_size": 1280, "out_hidden_size": width, "intermediate_size": 3420}
    text = _language(f"{kind}_text", width, inner, layers, heads, 2, 151_936)
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
    tied = {"tie_word_embeddings": True}
    text_config = {**text, **tied, "rope_parameters": rope}
    return {"model_type": kind, "vision_config": vision, "text_config": text_config, **tied}


def _mobile(width: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    """MobileVLM: CLIP and a MobileLLaMA. Its projector leaves 144 of 576 tokens (LDP); LLaVA's, here, leaves all."""
    text = _language("llama", width, inner, layers, heads, heads, 32_000)
    return {"model_type": "llava", "vision_config": _CLIP_L, "image_token_index": 31_999, "text_config": text}


def _siglip_phi() -> dict[str, Any]:
    """Bunny and Imp: SigLIP at 384 pixels, two layers of projector, Phi-2. One shape, trained on other data."""
    vision = {"model_type": "siglip_vision_model", "vision_use_head": False, **_vit(1152, 4304, 27, 16, 384, 14)}
    return {
        "model_type": "llava", "vision_config": vision, "image_seq_length": 729, "image_token_index": 50_295,
        "vision_feature_select_strategy": "full", "text_config": _language("phi", 2560, 10_240, 32, 32, 32, 51_200),
    }  # fmt: skip


def _intern(kind: str, width: int, inner: int, heads: tuple[int, int], layers: int, vocabulary: int) -> dict[str, Any]:
    """Mini-InternVL: InternViT-300M, and InternLM2 (a Llama by its shape) or Phi-3."""
    return {
        "model_type": "internvl", "vision_config": _INTERN_VIT_300M, "image_seq_length": 256,
        "image_token_id": vocabulary - 1, "tie_word_embeddings": False,
        "text_config": {**_language(kind, width, inner, layers, *heads, vocabulary), "pad_token_id": None},
    }  # fmt: skip


PUBLISHED: dict[str, dict[str, Any]] = {
    "llava-1.5-7b": {
        "model_type": "llava", "vision_config": _CLIP_L,
        "text_config": _language("llama", 4096, 11_008, 32, 32, 32, 32_064),
    },
    "llava-1.5-13b": {
        "model_type": "llava", "vision_config": _CLIP_L,
        "text_config": _language("llama", 5120, 13_824, 40, 40, 40, 32_064),
    },
    "qwen2-vl-2b": _qwen("qwen2_vl", 1536, 8960, 28, 12),
    "qwen2.5-vl-3b": _qwen("qwen2_5_vl", 2048, 11_008, 36, 16),
    "internvl3-1b": {
        "model_type": "internvl", "vision_config": _INTERN_VIT_300M, "image_seq_length": 256,
        "tie_word_embeddings": False,
        "text_config": _language("qwen2", 896, 4864, 24, 14, 2, 151_674),
    },
    "smolvlm-256m": {
        "model_type": "smolvlm", "scale_factor": 4, "image_token_id": 49_190, "tie_word_embeddings": False,
        "vision_config": _vit(768, 3072, 12, 12, 512, 16),
        "text_config": _language("llama", 576, 1536, 30, 9, 3, 49_280),
    },
    "smolvlm-500m": {
        "model_type": "smolvlm", "scale_factor": 4, "image_token_id": 49_190, "tie_word_embeddings": False,
        "vision_config": _vit(768, 3072, 12, 12, 512, 16),
        "text_config": _language("llama", 960, 2560, 32, 15, 5, 49_280),
    },
    "lfm2-vl-450m": {
        "model_type": "lfm2_vl", "downsample_factor": 2, "projector_hidden_size": 2560, "tie_word_embeddings": True,
        "vision_config": {
            "model_type": "siglip2_vision_model", "num_patches": 256, "vision_use_head": False,
            **{key: value for key, value in _vit(768, 3072, 12, 12, 256, 16).items() if key != "image_size"},
        },
        "text_config": {
            **_language("lfm2", 1024, 6656, 16, 16, 8, 65_536), "full_attn_idxs": [2, 5, 8, 10, 12, 14],
            "tie_word_embeddings": True,
        },
    },
    "qwen3.5-0.8b": {
        "model_type": "qwen3_5", "tie_word_embeddings": True,
        "vision_config": {
            "depth": 12, "hidden_size": 768, "intermediate_size": 3072, "num_heads": 12, "patch_size": 16,
            "out_hidden_size": 1024,
        },
        "text_config": {
            **_language("qwen3_5_text", 1024, 3584, 24, 8, 2, 248_320), "head_dim": 256, "tie_word_embeddings": True,
            "linear_num_key_heads": 16, "linear_num_value_heads": 16,
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [11, 11, 10], "mrope_interleaved": True, "rope_theta": 1e7,
                "partial_rotary_factor": 0.25,
            },
        },
    },
    "deepseek-vl-1.3b": {
        "model_type": "deepseek_vl", "tie_word_embeddings": False,
        "vision_config": {"model_type": "siglip_vision_model", **_vit(1024, 4096, 24, 16, 384, 16)},
        "text_config": _language("llama", 2048, 5632, 24, 16, 16, 102_400),
    },
    "qwen3-vl-2b": {
        "model_type": "qwen3_vl", "tie_word_embeddings": True,
        "vision_config": {
            "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16,
            "out_hidden_size": 2048, "deepstack_visual_indexes": [5, 11, 17],
        },
        "text_config": {
            **_language("qwen3_vl_text", 2048, 6144, 28, 16, 8, 151_936), "head_dim": 128, "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True, "rope_theta": 5e6,
            },
        },
    },
    "llava-phi-3b": {
        "model_type": "llava", "vision_config": _CLIP_L, "image_token_index": 50_295,
        "text_config": _language("phi", 2560, 10_240, 32, 32, 32, 51_200),
    },
    "mobilevlm-1.7b": _mobile(2048, 5632, 24, 16),
    "mobilevlm-3b": _mobile(2560, 6912, 32, 32),
    "bunny-3b": _siglip_phi(),
    "imp-3b": _siglip_phi(),
    "mini-internvl-2b": _intern("llama", 2048, 8192, (16, 8), 24, 92_553),
    "mini-internvl-4b": _intern("phi3", 3072, 8192, (32, 32), 32, 32_020),
    "gemma-3-4b": {
        "model_type": "gemma3", "mm_tokens_per_image": 256,
        "vision_config": {
            "model_type": "siglip_vision_model", "vision_use_head": False, **_vit(1152, 4304, 27, 16, 896, 14),
        },
        "text_config": {
            **_language("gemma3_text", 2560, 10_240, 34, 8, 4, 262_208), "head_dim": 256, "sliding_window": 1024,
        },
    },
}  # fmt: skip
"""config.json's entries by the name that `--config` takes."""

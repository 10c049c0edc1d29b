"""Published models at full size, built on the meta device from their configuration: parameters by part are exact."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from wattvlm.runtimes.transformers.models import ModelMemory  # noqa: E402  # after importorskip
from wattvlm.trace import ModelFacts  # noqa: E402

CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16, "image_size": 224, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
VICUNA_13B = {
    "model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
    "num_attention_heads": 40, "num_key_value_heads": 40, "vocab_size": 32064,
}  # fmt: skip
YI_34B = {
    "model_type": "llama", "hidden_size": 7168, "intermediate_size": 20480, "num_hidden_layers": 60,
    "num_attention_heads": 56, "num_key_value_heads": 8, "vocab_size": 64064,
}  # fmt: skip
GEMMA_2B = {
    "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
    "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 257216,
}  # fmt: skip


def facts(name: str, vision: dict[str, Any], text: dict[str, Any], **more: int) -> ModelFacts:
    """What the meter says of a class at full size; no weight has any memory."""
    config = getattr(transformers, f"{name}Config")(vision_config=vision, text_config=text, **more)
    with torch.device("meta"):
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
    known, _ = ModelMemory().recall(model)
    return ModelFacts.from_json(known.facts_json.read() or "")


def encoder_size(vision: dict[str, Any], *, is_clip: bool) -> int:
    """Blocks with biases; CLIP has a class token and two norms around them, SigLIP a bias of patches and one norm."""
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    block = 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
    positions = (vision["image_size"] // vision["patch_size"]) ** 2 + (1 if is_clip else 0)
    patches = 3 * vision["patch_size"] ** 2 * width
    around = width + 4 * width if is_clip else width + 2 * width
    return int(vision["num_hidden_layers"] * block + positions * width + patches + around)


def language_size(text: dict[str, Any], *, tied: bool) -> int:
    """Blocks without biases, grouped heads, a gated feed-forward, two norms a block and one after them."""
    width, head = text["hidden_size"], text.get("head_dim", text["hidden_size"] // text["num_attention_heads"])
    attention = 2 * width * head * (text["num_attention_heads"] + text["num_key_value_heads"])
    block = attention + 3 * width * text["intermediate_size"] + 2 * width
    return int(text["num_hidden_layers"] * block + (1 if tied else 2) * text["vocab_size"] * width + width)


@pytest.mark.parametrize(("name", "text", "newline", "billions"), [
    ("Llava", VICUNA_13B, 0, 13.35), ("LlavaNext", YI_34B, YI_34B["hidden_size"], 34.75),
])  # fmt: skip
def test_llava_at_full_size_has_its_published_parameters(name, text, newline, billions):
    found = facts(name, CLIP, text)
    width = text["hidden_size"]
    assert found.parameters is not None
    assert found.vision_parameters is not None
    assert found.projector_parameters is not None
    assert found.vision_parameters == encoder_size(CLIP, is_clip=True) == 303_507_456
    assert found.projector_parameters == 1024 * width + width + width**2 + width
    parts = found.vision_parameters + found.projector_parameters + language_size(text, tied=False)
    assert found.parameters == parts + newline
    assert found.parameters / 1e9 == pytest.approx(billions, abs=0.01)


def test_paligemma_at_full_size_has_its_published_parameters():
    found = facts("PaliGemma", SIGLIP, GEMMA_2B, projection_dim=2048)
    assert found.parameters is not None
    assert found.vision_parameters is not None
    assert found.projector_parameters is not None
    assert found.vision_parameters == encoder_size(SIGLIP, is_clip=False)
    assert found.vision_parameters / 1e9 == pytest.approx(0.413, abs=0.001)
    assert found.projector_parameters == 1152 * 2048 + 2048
    parts = found.vision_parameters + found.projector_parameters + language_size(GEMMA_2B, tied=True)
    assert found.parameters == parts
    assert found.parameters / 1e9 == pytest.approx(2.92, abs=0.01)


INTERN_VIT_6B = {
    "model_type": "internvl_vision", "hidden_size": 3200, "intermediate_size": 12800, "num_hidden_layers": 45,
    "num_attention_heads": 25, "image_size": [448, 448], "patch_size": [14, 14], "attention_bias": False,
    "use_qk_norm": True, "norm_type": "rms_norm", "use_mean_pooling": True,
}  # fmt: skip
INTERNLM2_20B = {
    "model_type": "llama", "hidden_size": 6144, "intermediate_size": 16384, "num_hidden_layers": 48,
    "num_attention_heads": 48, "num_key_value_heads": 8, "vocab_size": 92553, "tie_word_embeddings": False,
}  # fmt: skip
"""InternLM2 keeps queries, keys and values in one matrix and is a Llama in every size."""


def intern_vit_size() -> int:
    """Queries, keys and values without biases and with norms, two scales a block, no norm after the last."""
    width, inner = 3200, 12800
    block = 4 * width**2 + width + 2 * width + 2 * width * inner + inner + width + 2 * width + 2 * width
    patches = 3 * 14**2 * width + width
    return 45 * block + (1024 + 1) * width + width + patches


def test_internvl_with_internlm2_20b_has_its_published_parameters_and_256_tokens_a_tile():
    config = transformers.InternVLConfig(
        vision_config=INTERN_VIT_6B, text_config=INTERNLM2_20B, image_token_id=92546, tie_word_embeddings=False
    )
    with torch.device("meta"):
        model = transformers.InternVLForConditionalGeneration(config)
        tile = model.get_image_features(pixel_values=torch.zeros(1, 3, 448, 448))
    rows = getattr(tile, "pooler_output", tile)
    assert rows.shape[-2:] == (256, 6144)
    known, _ = ModelMemory().recall(model)
    found = ModelFacts.from_json(known.facts_json.read() or "")
    assert found.parameters is not None
    assert found.vision_parameters is not None
    assert found.projector_parameters is not None
    assert found.vision_parameters == intern_vit_size()
    assert found.vision_parameters / 1e9 == pytest.approx(5.54, abs=0.005)
    assert found.projector_parameters == 2 * 12800 + 12800 * 6144 + 6144 + 6144**2 + 6144
    language = language_size(INTERNLM2_20B, tied=False)
    assert language / 1e9 == pytest.approx(19.86, abs=0.005)
    assert found.parameters == found.vision_parameters + found.projector_parameters + language
    assert found.parameters / 1e9 == pytest.approx(25.51, abs=0.01)

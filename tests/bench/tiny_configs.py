"""Published configurations with narrow layers, few of them, for tests on a CPU."""

from __future__ import annotations

from copy import deepcopy

from wattvlm.bench.configs import PUBLISHED


def tiny(name: str) -> dict[str, object]:
    """A published configuration with narrow layers, few of them, and the same picture."""
    config = deepcopy(PUBLISHED[name])
    vision, text = config["vision_config"], config["text_config"]
    text |= {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": max(text["vocab_size"], 1000)}  # fmt: skip
    if "rope_parameters" in text:
        text["rope_parameters"]["mrope_section"] = [2, 3, 3]
    if "full_attn_idxs" in text:
        text["full_attn_idxs"] = [1]
    if text["model_type"] == "qwen3_5_text":
        text["layer_types"] = ["linear_attention", "full_attention"]
        text["rope_parameters"]["mrope_section"] = [11, 11, 10]
    small = {"num_hidden_layers": 2, "depth": 2, "hidden_size": 64, "embed_dim": 64, "intermediate_size": 128,
             "num_attention_heads": 4, "num_heads": 4, "out_hidden_size": 64}  # fmt: skip
    vision |= {field: value for field, value in small.items() if field in vision}
    return config

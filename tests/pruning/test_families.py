"""Ways on models that merge pictures of any size in their encoder, and on models whose projector folds a grid."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

from wattvlm import pruning  # noqa: E402  (after what it needs is known to be there)

IMAGE, START, END = 90, 91, 92
TEXT = 6
TOKENS = 64
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 99, "bos_token_id": None, "eos_token_id": None,
         "pad_token_id": None}  # fmt: skip
KEPT = {"fastv-1of2": 32, "fastv-1of4": 16, "mmtok-1of4": 16, "mmtok-1of16": 4, "vscan-1of4-1of8": 8,
        "tokenpacker-1of4": 16, "tokenpacker-1of16": 4}  # fmt: skip
ENTERING = {**KEPT, "fastv-1of2": TOKENS, "fastv-1of4": TOKENS, "vscan-1of4-1of8": 16}


@cache
def qwen(kind: str) -> Any:
    """Pictures of 16 x 16 patches, merged two by two in the encoder."""
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2}
    if kind == "qwen2_vl":
        vision |= {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    else:
        vision |= {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 32, "fullatt_block_indexes": [1],
                   "window_size": 16}  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    config = hf.AutoConfig.for_model(
        kind, vision_config=vision, text_config={**SMALL, "model_type": f"{kind}_text", "rope_parameters": rope},
        image_token_id=IMAGE, vision_start_token_id=START, vision_end_token_id=END, video_token_id=93,
    )  # fmt: skip
    return _made(config)


@cache
def smolvlm() -> Any:
    """Pictures of 16 x 16 patches, which the projector folds two by two."""
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 64, "patch_size": 4}  # fmt: skip
    text = {**SMALL, "model_type": "llama"}
    return _made(hf.AutoConfig.for_model("smolvlm", vision_config=vision, text_config=text, scale_factor=2,
                                         image_token_id=IMAGE))  # fmt: skip


@cache
def lfm2() -> Any:
    """Pictures as a grid of 16 x 16 patches, folded two by two; one layer in four attends, the others convolve."""
    vision = {"model_type": "siglip2_vision_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
              "num_attention_heads": 2, "patch_size": 4, "num_patches": 256, "vision_use_head": False}  # fmt: skip
    text = {**SMALL, "model_type": "lfm2", "full_attn_idxs": [2], "block_auto_adjust_ff_dim": False}
    return _made(hf.AutoConfig.for_model("lfm2_vl", vision_config=vision, text_config=text, downsample_factor=2,
                                         projector_hidden_size=32, image_token_id=IMAGE))  # fmt: skip


def _made(config: Any) -> Any:
    torch.manual_seed(0)
    model = hf.AutoModelForImageTextToText.from_config(config).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return model


def inputs(model: Any) -> dict[str, Any]:
    ids = torch.tensor([[5, 6, START, *[IMAGE] * TOKENS, END, 9, 10]])
    found = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    chance = torch.Generator().manual_seed(1)
    if model.config.model_type == "smolvlm":
        return {**found, "pixel_values": torch.rand((1, 1, 3, 64, 64), generator=chance)}
    if model.config.model_type == "lfm2_vl":
        pixels, mask = torch.rand((1, 16 * 16, 3 * 4 * 4), generator=chance), torch.ones((1, 16 * 16), dtype=torch.long)
        return {**found, "pixel_values": pixels, "spatial_shapes": torch.tensor([[16, 16]]),
                "pixel_attention_mask": mask}  # fmt: skip
    pixels = torch.rand((16 * 16, 3 * 2 * 4 * 4), generator=chance)
    grid = torch.tensor([[1, 16, 16]])
    return {**found, "mm_token_type_ids": (ids == IMAGE).to(ids.dtype), "pixel_values": pixels, "image_grid_thw": grid}


def seen(model: Any, way: pruning.Way) -> tuple[list[int], Any]:
    """(tokens that each layer computed in the prompt, what was written)."""
    found: list[int] = []
    part = model.model.text_model if hasattr(model.model, "text_model") else model.model.language_model
    hooks = [
        layer.register_forward_hook(lambda _, args, output: found.append(output.shape[1])) for layer in part.layers
    ]
    with pruning.applied(model, way), torch.inference_mode():
        asked = pruning.trimmed(inputs(model), IMAGE, way.prompt_fraction(model))
        written = model.generate(**asked, max_new_tokens=4, do_sample=False)[:, asked["input_ids"].shape[1] :]
    for hook in hooks:
        hook.remove()
    return found[: len(part.layers)], written


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "smolvlm", "lfm2_vl"])
def test_each_layer_computes_as_many_tokens_as_the_way_says(kind):
    model = {"smolvlm": smolvlm, "lfm2_vl": lfm2}.get(kind, partial(qwen, kind))()
    for name, way in pruning.ways().items():
        if name == "tokenpacker-1of9" or (kind.startswith("qwen") and name.startswith("tokenpacker")):
            with pytest.raises(pruning.DoesNotFit):
                seen(model, way)
            continue
        computed, written = seen(model, way)
        assert (name, computed[0], computed[-1]) == (name, TEXT + ENTERING[name], TEXT + KEPT[name])
        assert written.shape[1] == 4


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_what_stays_keeps_its_place_and_the_caches_hold_nothing_else(attention):
    """Positions of the tokens of an answer are those that they have without the way, and masks fit the caches."""
    model = qwen("qwen2_vl")
    model.set_attn_implementation(attention)
    places: list[Any] = []
    rotary = model.model.language_model.layers[-1].register_forward_pre_hook(
        lambda _, args, kwargs: places.append(kwargs["position_embeddings"][0]), with_kwargs=True
    )
    kept = {}
    for name in ("whole", "vscan-1of4-1of8"):
        places.clear()
        asked, options = inputs(model), {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True}
        with torch.inference_mode():
            if name == "whole":
                model.generate(**asked, **options)
            else:
                with pruning.applied(model, pruning.ways()[name]):
                    cache_of = model.generate(**asked, **options).past_key_values
                assert [cache_of.get_seq_length(layer) for layer in range(4)] == [TEXT + 16 + 3] * 2 + [
                    TEXT + 8 + 3
                ] * 2
        kept[name] = [each[..., -1, :] for each in places]
    rotary.remove()
    assert all(torch.equal(one, other) for one, other in zip(kept["whole"], kept["vscan-1of4-1of8"], strict=True))


def test_choosing_everything_at_the_entrance_changes_no_answer():
    from wattvlm.pruning._layers import dropping_by

    model = qwen("qwen2_5_vl")
    before = model.generate(**inputs(model), max_new_tokens=4, do_sample=False, output_logits=True,
                            return_dict_in_generate=True)  # fmt: skip
    undo = dropping_by(model, {0: lambda _, hidden, visual: (visual, hidden)})
    same = model.generate(**inputs(model), max_new_tokens=4, do_sample=False, output_logits=True,
                          return_dict_in_generate=True)  # fmt: skip
    undo()
    assert all(torch.equal(one, other) for one, other in zip(before.logits, same.logits, strict=True))


def test_a_way_without_a_place_in_a_model_says_so():
    for name in ("tokenpacker-1of4", "tokenpacker-1of9"):
        with pytest.raises(pruning.DoesNotFit, match=r"no projector.* Cure: mmtok, vscan or fastv"):
            pruning.ways()[name].apply(qwen("qwen2_vl"))

"""Ways to compute fewer visual tokens: as many are left as a way says, and the model is afterwards what it was."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

from wattvlm import pruning  # noqa: E402  (after what it needs is known to be there)
from wattvlm.pruning.mmtok import covering  # noqa: E402
from wattvlm.pruning.tokenpacker import regions  # noqa: E402
from wattvlm.pruning.vscan import merged  # noqa: E402

IMAGE, SIDE, TEXT = 3, 12, 6
TOKENS = SIDE * SIDE
KEPT = {"fastv-1of2": 72, "fastv-1of4": 36, "vscan-1of4-1of8": 18}


@cache
def llava() -> Any:
    """A picture of 12 x 12 tokens, so that 1/4, 1/9 and 1/16 are whole."""
    vision = hf.CLIPVisionConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                 image_size=8 * SIDE, patch_size=8)  # fmt: skip
    text = hf.LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
                          num_key_value_heads=2, vocab_size=99)  # fmt: skip
    torch.manual_seed(0)
    config = hf.LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE)
    model = hf.LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return model


def inputs(batch: int = 1) -> dict[str, Any]:
    ids = torch.tensor([[5, 6, 7, *[IMAGE] * TOKENS, 8, 9, 10]] * batch)
    pixels = torch.rand((batch, 3, 8 * SIDE, 8 * SIDE), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def lengths(model: Any, way: pruning.Way, batch: int = 1) -> tuple[list[int], Any]:
    """(tokens that each layer computed in the prompt, what was written)."""
    found: list[int] = []
    layers = model.model.language_model.layers
    hooks = [
        layer.register_forward_hook(lambda module, args, output: found.append(output.shape[1]), prepend=False)
        for layer in layers
    ]
    with pruning.applied(model, way), torch.inference_mode():
        asked = pruning.trimmed(inputs(batch), IMAGE, way.visual_fraction)
        written = model.generate(**asked, max_new_tokens=4, do_sample=False)[:, asked["input_ids"].shape[1] :]
    for hook in hooks:
        hook.remove()
    return found[: len(layers)], written


@pytest.mark.parametrize("name", pruning.ways())
def test_each_layer_computes_as_many_tokens_as_the_way_says(name):
    way = pruning.ways()[name]
    found, written = lengths(llava(), way)
    assert found[0] == TEXT + round(TOKENS * way.visual_fraction)
    assert found[-1] == TEXT + KEPT.get(name, round(TOKENS * way.visual_fraction))
    assert written.shape[1] == 4


@pytest.mark.parametrize("name", ["fastv-1of2", "vscan-1of4-1of8"])
def test_rows_of_a_batch_are_dropped_alike(name):
    _, written = lengths(llava(), pruning.ways()[name], batch=2)
    assert written.shape == (2, 4)


def test_the_model_is_afterwards_what_it_was():
    model = llava()
    before = model.generate(**inputs(), max_new_tokens=4, do_sample=False)
    for way in pruning.ways().values():
        lengths(model, way)
    after = model.generate(**inputs(), max_new_tokens=4, do_sample=False)
    assert torch.equal(before, after)


def test_dropping_nothing_changes_no_answer():
    """The layers above see the same positions and masks as without the way."""
    from wattvlm.pruning._layers import dropping

    model = llava()
    before = model.generate(**inputs(), max_new_tokens=6, do_sample=False)
    undo = dropping(model, 2, 1.0)
    same = model.generate(**inputs(), max_new_tokens=6, do_sample=False)
    undo()
    assert torch.equal(before, same)


def test_dropped_tokens_are_not_in_the_caches_of_the_layers_above():
    model = llava()
    with pruning.applied(model, pruning.ways()["fastv-1of4"]), torch.inference_mode():
        cache_of = model(**inputs(), use_cache=True).past_key_values
    assert [cache_of.get_seq_length(layer) for layer in range(4)] == [TEXT + TOKENS] * 2 + [TEXT + TOKENS // 4] * 2


def test_coverage_takes_one_token_of_each_kind():
    kinds = torch.eye(4).repeat_interleave(3, dim=0)[None]
    chosen = covering(kinds, 4)[0].tolist()
    assert sorted(place // 3 for place in chosen) == [0, 1, 2, 3]


def test_merging_keeps_the_mean_of_what_it_merges():
    features = torch.tensor([[[0.0, 9.0], [3.0, 6.0], [6.0, 3.0], [9.0, 0.0]]])
    assert merged(features, 2)[0].tolist() == [[1.5, 7.5], [7.5, 1.5]]


def test_a_region_holds_its_own_tokens():
    places = torch.arange(16.0).view(1, 16, 1)
    assert regions(places, 2)[0].flatten().tolist() == [0.0, 1.0, 4.0, 5.0]
    with pytest.raises(pruning.DoesNotFit, match="3 x 3"):
        regions(places, 3)


def test_a_prompt_loses_places_and_with_none_left_its_pictures():
    part = pruning.trimmed(inputs(), IMAGE, 0.25)
    assert int((part["input_ids"] == IMAGE).sum()) == TOKENS // 4
    assert part["attention_mask"].shape == part["input_ids"].shape
    assert part["input_ids"][0, :3].tolist() == [5, 6, 7]
    assert "pixel_values" not in pruning.trimmed(inputs(), IMAGE, 0.0)

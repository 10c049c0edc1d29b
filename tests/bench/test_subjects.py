"""Models that a bench measures: the shipped one by its processor, and any sizes with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")
transformers = pytest.importorskip("transformers", reason="needs the extra wattvlm[torch]")

from tests.bench.tiny_configs import tiny  # noqa: E402
from wattvlm import meter  # noqa: E402  # after importorskip
from wattvlm.bench import Cell  # noqa: E402
from wattvlm.bench.configs import PUBLISHED  # noqa: E402
from wattvlm.bench.subjects import TransformersSubject, config_of  # noqa: E402
from wattvlm.errors import WattvlmError  # noqa: E402

BILLIONS = {"llava-1.5-7b": 7.063, "llava-1.5-13b": 13.351, "qwen2-vl-2b": 2.209, "qwen2.5-vl-3b": 3.755,
            "internvl3-1b": 0.938, "smolvlm-256m": 0.256, "deepseek-vl-1.3b": 1.975, "qwen3-vl-2b": 2.128,
            "llava-phi-3b": 3.092, "gemma-3-4b": 4.300, "smolvlm-500m": 0.507, "lfm2-vl-450m": 0.451,
            "qwen3.5-0.8b": 0.853, "mobilevlm-1.7b": 1.674, "mobilevlm-3b": 3.014, "bunny-3b": 3.202, "imp-3b": 3.202,
            "mini-internvl-2b": 2.206, "mini-internvl-4b": 4.147}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_configuration_has_its_published_number_of_parameters(name: str):
    config = transformers.AutoConfig.for_model(**PUBLISHED[name])
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(config)
    assert model.num_parameters() / 1e9 == pytest.approx(BILLIONS[name], abs=0.001)


@pytest.mark.parametrize(
    ("name", "visual"),
    [
        ("llava-1.5-7b", 576),
        ("qwen2-vl-2b", 8 * 5),
        ("qwen2.5-vl-3b", 8 * 5),
        ("internvl3-1b", 256),
        ("smolvlm-256m", 64),
        ("deepseek-vl-1.3b", 576),
        ("qwen3-vl-2b", 7 * 4),
        ("gemma-3-4b", 256),
        ("bunny-3b", 729),
        ("mini-internvl-4b", 256),
        ("lfm2-vl-450m", 10 * 6),
        ("qwen3.5-0.8b", 7 * 4),
    ],
)
def test_random_weights_answer_with_as_many_tokens_as_the_cell_says(tmp_path: Path, name: str, visual: int):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny(name)))
    cell = Cell(
        str(path), images=2, resolution=(224, 140), batch_size=2, output_tokens=5, dtype="float32", device="cpu"
    )
    call = TransformersSubject(random_weights=True).call_of(cell, seed=0)
    with meter(probes=[]) as m:
        call()
    assert m.report.tokens.visual_input == 2 * 2 * visual
    assert m.report.tokens.output == 2 * 5
    assert m.report.requests == 2


def test_the_shipped_model_is_asked_by_its_own_processor_and_kept_for_the_next_cell():
    subject = TransformersSubject()
    with meter(probes=[]) as m:
        for output_tokens, batch_size in ((8, 1), (3, 4)):
            subject.call_of(Cell("shipped", output_tokens=output_tokens, batch_size=batch_size), seed=0)()
    assert [call.tokens.output for call in m.report.calls] == [8, 12]
    assert [call.tokens.visual_input for call in m.report.calls] == [16, 64]
    assert {call.model.parameters for call in m.report.calls} == {203_904}
    assert "preprocess" in [part.name for part in m.report.phases]


def test_a_model_that_is_not_on_this_machine_is_not_looked_for_elsewhere():
    with pytest.raises(WattvlmError, match=r"nowhere/no-model is no folder .* Cure: the folder's path, or --download"):
        TransformersSubject().call_of(Cell("nowhere/no-model"), seed=0)


@pytest.mark.parametrize(
    ("text", "why"), [("{", "not readable JSON"), ("{}", "has no model_type"), (None, "there is no con")]
)
def test_a_configuration_that_is_none_says_why(tmp_path: Path, text: str | None, why: str):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(WattvlmError, match=why):
        config_of(str(tmp_path))


def test_a_family_whose_pictures_are_not_known_is_refused_with_those_that_are(tmp_path: Path):
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    text = {"model_type": "gemma", "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32, "head_dim": 16,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 300_000}  # fmt: skip
    config = {"model_type": "paligemma", "vision_config": vision, "text_config": text, "projection_dim": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WattvlmError, match=r"'paligemma' takes is not known.*llava, vipllava, internvl, .*qwen2_vl"):
        TransformersSubject(random_weights=True).call_of(Cell(str(tmp_path)), seed=0)

"""The study of embeddings, against a cost model whose joules are known, and forward passes for real."""

from __future__ import annotations

import json

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.questions import Asked, embedding
from wattvlm.testing import CostModel

GAIN = 1.02


def truth_j(batch: int, images: int = 1) -> float:
    request = request_of(Cell("m", images=images, batch_size=batch, output_tokens=1))
    return GAIN * CostModel().truth_j(request)["call"] / batch


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(embedding, Asked(models=("m",), batch_sizes=(1, 16)))


@pytest.mark.parametrize(
    ("what", "truth"),
    [("m: a picture", truth_j(1)), ("m: a query", truth_j(1, 0)), ("m: an index of 1,000 pictures", 1000 * truth_j(16)),
     ("m: saved by a batch", 1 - truth_j(16) / truth_j(1))],
)  # fmt: skip
def test_embeddings_take_what_the_cost_model_says(answer, what, truth):
    found = answer.finding(what).found
    assert found is not None
    assert found.low < truth < found.high


def test_nothing_is_generated():
    assert all(cell.output_tokens == 1 for cell in embedding.design(Asked()).cells())


def test_the_shipped_model_gives_a_vector_a_picture():
    pytest.importorskip("transformers")
    subject = embedding.EmbeddingSubject(random_weights=False)
    for images in (0, 1):
        cell = Cell("shipped", images=images, batch_size=3, output_tokens=1, dtype="float32", device="cpu")
        assert subject.call_of(cell, 0)().shape == (3, 64)


def test_two_towers_are_asked_apart(tmp_path):
    hf = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.SiglipConfig(text_config={**small, "vocab_size": 50, "projection_size": 16},
                             vision_config={**small, "image_size": 16, "patch_size": 8})  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict(), default=str))
    subject = embedding.EmbeddingSubject(random_weights=True)
    for images in (0, 1):
        cell = Cell(str(path), images=images, batch_size=2, output_tokens=1, dtype="float32", device="cpu")
        assert subject.call_of(cell, 0)().shape == (2, 16)

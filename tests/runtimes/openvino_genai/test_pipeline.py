"""OpenVINO GenAI's real VLMPipeline with a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.runtimes.conftest import Watched
from tests.runtimes.openvino_genai import tiny_pipeline
from wattvlm.runtimes.openvino_genai import RUNTIME
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE

openvino = pytest.importorskip("openvino", reason="needs openvino-genai, of the extra wattvlm[engines]")
genai = pytest.importorskip("openvino_genai", reason="needs openvino-genai, of the extra wattvlm[engines]")
pytest.importorskip("transformers", reason="the tokenizer is converted from transformers' form")

OUTPUT = 6
SETTINGS = {"max_new_tokens": OUTPUT, "ignore_eos": True}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pipeline")
    tiny_pipeline.write(folder)
    return genai.VLMPipeline(str(folder), "CPU")


@pytest.fixture
def watched() -> Iterator[Watched]:
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def image(seed: int = 0) -> Any:
    """A square: what OpenVINO makes of this model's other images differs from call to call, with or without a meter."""
    return openvino.Tensor(np.random.default_rng(seed).integers(0, 255, (1, 64, 64, 3)).astype(np.uint8))


def test_a_call_has_the_pipelines_own_phases_and_counts(pipeline: Any, watched: Watched):
    metrics = pipeline.generate("Which digit?", images=[image()], **SETTINGS).perf_metrics
    call = watched.call()
    spans = {phase.name: phase.spans[0] for phase in call.phases}
    assert list(spans) == [PREPROCESS, VISION_ENCODE, PREFILL, DECODE]
    assert spans[VISION_ENCODE].duration_ns / 1e6 == pytest.approx(
        metrics.get_vision_encoding_duration().mean, abs=0.01
    )
    assert call.first_token_ns is not None
    ttft_ms, whole_ms = (each / 1e6 for each in (call.first_token_ns - call.start_ns, call.end_ns - call.start_ns))
    outside_ms = whole_ms - metrics.get_generate_duration().mean  # before its own start and after its own end
    assert metrics.get_ttft().mean - 0.1 <= ttft_ms <= metrics.get_ttft().mean + outside_ms + 0.1
    moments = list(metrics.raw_metrics.m_new_token_times)
    assert spans[DECODE].duration_ns / 1e6 == pytest.approx(moments[-1] - moments[0], abs=0.01)
    order = [spans[name] for name in (VISION_ENCODE, PREPROCESS, PREFILL, DECODE)]
    assert call.start_ns == order[0].start_ns
    assert all(one.end_ns <= two.start_ns for one, two in pairwise(order))
    assert order[-1].end_ns <= call.end_ns
    tokens = call.tokens
    assert (tokens.output, call.decode_steps, call.images) == (OUTPUT, OUTPUT - 1, 1)
    assert (tokens.visual_input, tokens.prompt) == (tiny_pipeline.VISUAL_TOKENS, metrics.get_num_input_tokens())
    assert "computed" in tokens.how["visual_input"]


def test_without_an_image_nothing_is_encoded(pipeline: Any, watched: Watched):
    metrics = pipeline.generate("Which digit?", **SETTINGS).perf_metrics
    call = watched.call()
    assert [phase.name for phase in call.phases] == [PREPROCESS, PREFILL, DECODE]
    assert (call.tokens.visual_input, call.tokens.text_input) == (0, metrics.get_num_input_tokens())


def test_several_images_are_counted(pipeline: Any, watched: Watched):
    pipeline.generate("Which?", images=[image(1), image(2)], **SETTINGS)
    call = watched.call()
    assert (call.images, call.tokens.visual_input) == (2, 2 * tiny_pipeline.VISUAL_TOKENS)


def test_answers_and_streams_are_the_same_with_and_without_a_meter(pipeline: Any):
    def ask() -> tuple[list[str], list[str]]:
        pieces: list[str] = []
        texts = pipeline.generate("Which digit?", images=[image()], streamer=pieces.append, **SETTINGS).texts
        return texts, pieces

    ask()  # the first answer after calls with other images is another one, with or without a meter
    before = ask()
    watching = Watched(RUNTIME)
    during = ask()
    watching.runtime.uninstall()
    assert ask() == during == before


def test_an_error_is_raised_as_it_would_be_and_said(pipeline: Any, watched: Watched):
    with pytest.raises(TypeError):
        pipeline.generate(1, 2, 3)
    assert watched.call().ended == "raised TypeError"
    assert watched.call().phases == ()


def test_nothing_stays_of_the_wrap():
    before = vars(genai.VLMPipeline)["generate"]
    watching = Watched(RUNTIME)
    assert vars(genai.VLMPipeline)["generate"] is not before
    watching.runtime.uninstall()
    assert vars(genai.VLMPipeline)["generate"] is before

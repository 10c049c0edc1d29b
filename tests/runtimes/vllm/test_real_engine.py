"""The shipped model in a real vLLM engine. Runs where vLLM is installed (docs/runtimes.md says how)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wattvlm
from tests.runtimes.conftest import Watched
from wattvlm.runtimes.vllm import RUNTIME
from wattvlm.sensing import ProbeSource
from wattvlm.trace import DECODE, PREFILL, PREPROCESS

MODEL = Path(__file__).parents[3] / "wattvlm/demo/digits_llava"
OUTPUT = 6
VISUAL = 16


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shipped model with two heads of 32 in place of four of 16, which vLLM's attention on a CPU does not know."""
    vllm = pytest.importorskip("vllm", reason="vLLM is not installed; its shapes are tested on stand-ins")
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(MODEL, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(num_attention_heads=2, num_key_value_heads=2, head_dim=32)
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"enforce_eager": True, "dtype": "float32", "max_model_len": 128, "max_num_seqs": 4}
    return vllm.LLM(str(folder), disable_log_stats=False, **settings)


@pytest.fixture
def watched(llm: Any) -> Iterator[Watched]:
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def asked(llm: Any, number: int) -> tuple[list[Any], Any]:
    import vllm
    from PIL import Image

    prompts = [
        {"prompt": "<image> Which digit?", "multi_modal_data": {"image": Image.new("RGB", (16, 16), (9, 9, 9 + each))}}
        for each in range(number)
    ]
    return prompts, vllm.SamplingParams(max_tokens=OUTPUT, ignore_eos=True, temperature=0.0)


def test_a_batch_is_a_call_each_with_the_engines_own_times(llm: Any, watched: Watched):
    started_ns = time.monotonic_ns()
    outputs = llm.generate(*asked(llm, 2))
    ended_ns = time.monotonic_ns()
    calls = watched.trace().calls
    assert len(calls) == 2
    for call, output in zip(calls, outputs):
        assert [phase.name for phase in call.phases] == [PREPROCESS, PREFILL, DECODE]
        assert (call.tokens.output, call.tokens.visual_input, call.images) == (OUTPUT, VISUAL, 1)
        assert call.tokens.prompt == len(output.prompt_token_ids)
        assert call.decode_steps == OUTPUT - 1
        assert call.model.class_name == "LlavaForConditionalGeneration"
        assert call.phases[0].spans[0].start_ns >= started_ns
        assert call.end_ns <= ended_ns
        metrics = output.metrics
        _, prefill, decode = (phase.duration_ns / 1e9 for phase in call.phases)
        assert prefill == pytest.approx(metrics.first_token_ts - metrics.scheduled_ts, abs=0.001)
        assert decode == pytest.approx(metrics.last_token_ts - metrics.first_token_ts, abs=0.001)


def test_answers_are_the_same_with_and_without_a_meter(llm: Any):
    before = [list(output.outputs[0].token_ids) for output in llm.generate(*asked(llm, 2))]
    watching = Watched(RUNTIME)
    during = [list(output.outputs[0].token_ids) for output in llm.generate(*asked(llm, 2))]
    watching.runtime.uninstall()
    assert during == before


def test_a_chat_is_a_call_too(llm: Any, watched: Watched):
    _, settings = asked(llm, 1)
    llm.chat([{"role": "user", "content": "Which digit?"}], settings)
    call = watched.call()
    assert (call.tokens.visual_input, call.images, call.tokens.output) == (0, 0, OUTPUT)


def test_requests_of_a_batch_have_joules_by_what_each_did(llm: Any):
    import vllm

    prompts, _ = asked(llm, 40)
    settings = [
        vllm.SamplingParams(max_tokens=20 + 60 * (number % 2), ignore_eos=True, temperature=0.0)
        for number in range(len(prompts))
    ]
    with wattvlm.meter(probes=[ProbeSource("tests.sampling.tiny_probes:Counter")]) as m:
        llm.generate(prompts, settings)
    report = m.report
    assert any("split by what each did" in note for note in report.notes)
    joules = [call.total.energies["gpu"].energy.middle_j for call in report.calls]
    short, long = joules[::2], joules[1::2]
    assert sum(long) > 2 * sum(short)
    assert sum(joules) == pytest.approx(report.block.energies["gpu"].energy.middle_j, rel=0.6)
    assert all(call.tokens.visual_input == VISUAL for call in report.calls)

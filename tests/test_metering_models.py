"""meter() around real model calls: the shipped model, asked as a user would ask it."""

import threading
from typing import Any

import pytest

import wattvlm
from wattvlm.sensing import ProbeSource
from wattvlm.testing import LoadFile

pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")
pytest.importorskip("transformers", reason="needs the extra wattvlm[torch]")

from wattvlm.demo import model_path
from wattvlm.demo.asking import load
from wattvlm.demo.questions import QUESTIONS, held_out, prompt

pytestmark = pytest.mark.alone

VISUAL_TOKENS = 16


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    return load(model_path())


@pytest.fixture
def gpu(tmp_path) -> list[ProbeSource]:
    load_file = LoadFile(tmp_path / "gpu.load")
    load_file.append(0, 200.0)
    sensor = {"name": "gpu-0/board", "period_ns": 1_000_000, "max_power_w": 700.0}
    return [ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(load_file.path), "sensors": [sensor]})]


def _inputs(processor: Any, count: int = 1) -> Any:
    pictures = held_out().pictures()[:count]
    return processor(images=pictures, text=[prompt(QUESTIONS[0])] * count, return_tensors="pt", padding=True)


def test_one_line_splits_the_call_into_its_phases_and_counts_its_tokens(shipped, gpu):
    processor, model = shipped
    plain = model.generate(**_inputs(processor))
    with wattvlm.meter(probes=gpu) as m:
        metered = model.generate(**_inputs(processor))
    report = m.report
    assert metered.tolist() == plain.tolist()
    assert [part.name for part in report.phases] == ["preprocess", "vision_encode", "prefill", "decode"]
    assert report.tokens.visual_input == VISUAL_TOKENS
    assert report.tokens.output == metered.shape[1] - _inputs(processor)["input_ids"].shape[1]
    assert report.images == 1
    assert report.model.name == "digits_llava"
    assert report.model.parameters == sum(each.numel() for each in model.parameters())
    assert report.ttft_s is not None
    assert report.latency_s is not None
    assert 0 < report.ttft_s < report.latency_s


def test_a_preprocess_before_the_block_is_said_to_be_before_it_and_has_no_joules(shipped, gpu):
    processor, model = shipped
    inputs = _inputs(processor)
    with wattvlm.meter(probes=gpu) as m:
        model.generate(**inputs)
    preprocess = m.report.phase("preprocess")
    assert preprocess.unseen == "before the block"
    assert dict(preprocess.energies) == {}
    assert "before the block" in str(m.report)


def test_a_batch_is_one_call_and_as_many_requests(shipped, gpu):
    processor, model = shipped
    with wattvlm.meter(probes=gpu) as m:
        model.generate(**_inputs(processor, count=3))
    assert len(m.report.calls) == 1
    assert m.report.requests == 3
    assert m.report.images == 3
    assert m.report.tokens.visual_input == 3 * VISUAL_TOKENS


def test_many_calls_are_pooled_and_each_is_kept(shipped, gpu):
    processor, model = shipped
    with wattvlm.meter(probes=gpu) as m:
        for _ in range(5):
            model.generate(**_inputs(processor))
    assert len(m.report.calls) == 5
    assert m.report.tokens.visual_input == 5 * VISUAL_TOKENS
    assert m.report.phase("decode").calls == 5


def test_streaming_from_a_thread_is_seen_like_any_call(shipped, gpu):
    from transformers import TextIteratorStreamer

    processor, model = shipped
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True)
    with wattvlm.meter(probes=gpu) as m:
        thread = threading.Thread(target=model.generate, kwargs={**_inputs(processor), "streamer": streamer})
        thread.start()
        text = "".join(streamer)
        thread.join()
    assert text
    assert len(m.report.calls) == 1
    assert m.report.tokens.visual_input == VISUAL_TOKENS


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_inside_the_call_goes_through_and_the_part_before_it_is_reported(shipped, gpu, error):
    from transformers import LogitsProcessor, LogitsProcessorList

    class Stops(LogitsProcessor):
        """Ends the call at the third token."""

        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            self.calls += 1
            if self.calls == 3:
                raise error
            return scores

    processor, model = shipped
    with pytest.raises(error), wattvlm.meter(probes=gpu) as m:
        model.generate(**_inputs(processor), logits_processor=LogitsProcessorList([Stops()]))
    assert m.report.calls[0].ended == f"raised {error.__name__}"
    assert m.report.calls[0].decode_steps == 2
    assert error.__name__ in m.report.interrupted


def test_a_forward_pass_alone_has_no_decode(shipped, gpu):
    processor, model = shipped
    with wattvlm.meter(probes=gpu) as m:
        model(**_inputs(processor))
    names = [part.name for part in m.report.phases if not part.unseen]
    assert "prefill" in names
    assert "decode" not in names


def _hook_counts(model: Any) -> list[int]:
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]


def test_nothing_of_the_meter_is_left_on_the_model(shipped, gpu):
    processor, model = shipped
    before = {
        name: len(module._forward_hooks) + len(module._forward_pre_hooks) for name, module in model.named_modules()
    }
    generate = type(model).generate
    with wattvlm.meter(probes=gpu):
        model.generate(**_inputs(processor))
    after = {
        name: len(module._forward_hooks) + len(module._forward_pre_hooks) for name, module in model.named_modules()
    }
    assert after == before
    assert type(model).generate is generate

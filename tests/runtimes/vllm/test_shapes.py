"""The contract with vLLM, on stand-ins of its classes; where vLLM is installed, the stand-ins are held to it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType, SimpleNamespace

import pytest

from tests.runtimes.conftest import Watched
from tests.runtimes.vllm import shapes
from wattvlm.runtimes.vllm import RUNTIME
from wattvlm.trace import DECODE, PREFILL, PREPROCESS

OUTPUTS, LLM = "vllm.v1.engine.output_processor", "vllm.entrypoints.llm"


@pytest.fixture
def watched(monkeypatch) -> Iterator[Watched]:
    for name, cls in ((OUTPUTS, shapes.OutputProcessor), (LLM, shapes.LLM)):
        module = ModuleType(name)
        setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, name, module)
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def prompt(name: str = "0", text: int = 5, images: tuple[int, ...] = (16,)) -> shapes.EngineCoreRequest:
    features = [shapes.MultiModalFeatureSpec("image", shapes.PlaceholderRange(0, size)) for size in images]
    return shapes.EngineCoreRequest(name, [1] * (text + sum(images)), features)


@pytest.mark.parametrize("way", ["generate", "chat"])
def test_each_prompt_of_a_batch_is_a_call_with_its_phases(watched: Watched, way):
    llm = shapes.LLM()
    assert getattr(llm, way)([prompt("0"), prompt("1", 7, (16, 4))]) == ["0", "1"]
    first, second = watched.trace().calls
    for call in (first, second):
        assert [phase.name for phase in call.phases] == [PREPROCESS, PREFILL, DECODE]
        preprocess, prefill, decode = (phase.spans[0] for phase in call.phases)
        assert preprocess.end_ns == call.start_ns == prefill.start_ns
        assert prefill.end_ns == decode.start_ns == call.first_token_ns
        assert decode.end_ns == call.end_ns
        assert preprocess.duration_ns > 5_000_000
        assert (call.tokens.output, call.decode_steps, call.ended) == (3, 2, "returned")
        assert (call.model.name, call.model.dtype) == ("tiny", "float32")
    assert (first.tokens.visual_input, first.tokens.text_input, first.images) == (16, 5, 1)
    assert (second.tokens.visual_input, second.tokens.text_input, second.images) == (20, 7, 2)


def test_the_engines_own_times_are_taken_where_it_keeps_them(watched: Watched):
    processor = shapes.OutputProcessor()
    now = time.monotonic()
    processor.add_request(prompt(), None)
    events = [shapes.EngineCoreEvent(1, now + 1), shapes.EngineCoreEvent(2, now + 2)]
    first = shapes.EngineCoreOutput("0", [1], None, events, SimpleNamespace(num_cached_tokens=4))
    processor.process_outputs([first], now + 3, None)
    processor.process_outputs([shapes.EngineCoreOutput("0", [2, 3], "length")], now + 5, None)
    call = watched.call()
    spans = [phase.spans[0] for phase in call.phases]
    assert [round(span.duration_ns / 1e9, 3) for span in spans] == [1.0, 2.0]
    assert (call.tokens.output, call.decode_steps, call.tokens.cached_input) == (3, 1, 4)
    assert call.end_ns == round((now + 5) * 1e9)


def test_several_sequences_of_one_prompt_are_one_call(watched: Watched):
    processor = shapes.OutputProcessor()
    parent = SimpleNamespace(request_id="p")
    for name in ("0_p", "1_p"):
        processor.add_request(prompt(name), None, parent)
    processor.process_outputs([shapes.EngineCoreOutput(name, [1], None) for name in ("0_p", "1_p")], None, None)
    processor.process_outputs([shapes.EngineCoreOutput("0_p", [1], "stop")], None, None)
    processor.process_outputs([shapes.EngineCoreOutput("1_p", [1], "stop")], None, None)
    call = watched.call()
    assert (call.tokens.output, call.tokens.visual_input, call.decode_steps) == (4, 16, 1)


def test_text_inside_an_images_place_is_no_visual_token(watched: Watched):
    place = shapes.PlaceholderRange(0, 6, [True, True, False, True, True, False])
    request = shapes.EngineCoreRequest("0", [1] * 9, [shapes.MultiModalFeatureSpec("image", place)])
    shapes.LLM().generate([request])
    assert (watched.call().tokens.visual_input, watched.call().tokens.text_input) == (4, 5)


def test_an_embedding_is_no_call_and_an_aborted_request_is_said_to_be_one(watched: Watched):
    processor = shapes.OutputProcessor()
    processor.add_request(shapes.EngineCoreRequest("e", [1], None, pooling_params=object()), None)
    processor.add_request(prompt("a"), None)
    assert processor.abort_requests(["a"], internal=True) == ["a"]
    assert watched.call().ended == "was aborted"


def test_what_is_under_way_at_the_end_of_the_block_ends_with_it(watched: Watched):
    processor = shapes.OutputProcessor()
    processor.add_request(prompt(), None)
    watched.runtime.install(lambda *given: watched.marks.extend(given))
    watched.runtime.uninstall()
    assert watched.call().ended == "not ended"
    watched.runtime.uninstall()
    assert watched.call().ended == "was not over when the block ended"
    watched.runtime.install(lambda *given: watched.marks.extend(given))


def test_a_version_with_other_shapes_is_a_note_and_no_exception(monkeypatch):
    monkeypatch.setitem(sys.modules, OUTPUTS, ModuleType(OUTPUTS))
    watching = Watched(RUNTIME)
    watching.runtime.uninstall()
    assert len(watching.faults()) == 1
    assert "m.phase()" in watching.faults()[0]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: nothing to compare with")
def test_the_stand_ins_have_the_shapes_of_the_real_classes():
    engine = importlib.import_module("vllm.v1.engine")
    for cls in (shapes.EngineCoreRequest, shapes.EngineCoreOutput, shapes.EngineCoreEvent):
        real = getattr(engine, cls.__name__)
        assert {each.name for each in fields(cls)} <= set(real.__struct_fields__)
    assert int(engine.EngineCoreEventType.SCHEDULED) == 2
    inputs = importlib.import_module("vllm.multimodal.inputs")
    assert {each.name for each in fields(shapes.PlaceholderRange)} <= {
        each.name for each in fields(inputs.PlaceholderRange)
    }
    owners: list[tuple[str, type, tuple[str, ...]]] = [
        (OUTPUTS, shapes.OutputProcessor, ("add_request", "process_outputs", "abort_requests")),
        (LLM, shapes.LLM, ("generate", "chat")),
    ]
    for module, owner, names in owners:
        real = getattr(importlib.import_module(module), owner.__name__)
        for name in names:
            stand_in = list(inspect.signature(getattr(owner, name)).parameters)
            assert list(inspect.signature(getattr(real, name)).parameters)[: len(stand_in)] == stand_in

"""llama.cpp's server object in this process (xllamacpp), real and with a tiny model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes import tiny_gguf
from tests.runtimes.conftest import Watched, picture
from wattvlm.runtimes.llama_cpp import RUNTIME
from wattvlm.trace import DECODE, PREFILL

xllamacpp = pytest.importorskip("xllamacpp", reason="needs xllamacpp, of the extra wattvlm[engines]")

OUTPUT = 5


@pytest.fixture(scope="module")
def server(llama_files: tuple[Path, Path]) -> Any:
    from tests.runtimes.llama_server import parameters

    return xllamacpp.Server(parameters(*map(str, llama_files)))


@pytest.fixture
def watched() -> Iterator[Watched]:
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def request(**more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": picture()}}]
    settings = {"max_tokens": OUTPUT, "temperature": 0, "logit_bias": {str(tiny_gguf.END_ID): -100}}
    return {"messages": [{"role": "user", "content": content}], **settings, **more}


def check(watched: Watched, timings: dict[str, Any]) -> None:
    """The one call has the phases that the engine's timings say, and its counts."""
    call = watched.call()
    assert [phase.name for phase in call.phases] == [PREFILL, DECODE]
    prefill, decode = (phase.duration_ns / 1e6 for phase in call.phases)
    assert prefill == pytest.approx(timings["prompt_ms"], abs=0.001)
    assert decode == pytest.approx(timings["predicted_ms"], abs=0.001)
    assert call.start_ns <= call.phases[0].spans[0].start_ns
    assert call.phases[1].spans[0].end_ns <= call.end_ns
    assert (call.tokens.output, call.tokens.visual_input, call.images) == (OUTPUT, tiny_gguf.VISUAL_TOKENS, 1)
    assert call.tokens.prompt == timings["prompt_n"] + timings["cache_n"]
    assert "the only vision part beside the model" in call.tokens.how["visual_input"]
    assert (call.runtime, call.ended) == ("llama_cpp", "returned")


def test_a_whole_answer_is_a_call(server: Any, watched: Watched):
    check(watched, server.handle_chat_completions(request())["timings"])


def test_a_stream_through_a_callback_is_a_call_and_the_callback_gets_it_all(server: Any, watched: Watched):
    events: list[Any] = []
    assert server.handle_chat_completions(request(stream=True), events.append) is None
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    check(watched, events[-1]["timings"])


def test_requests_and_answers_as_json_are_understood(server: Any, watched: Watched):
    events: list[str] = []
    server.handle_chat_completions(json.dumps(request(stream=True)), events.append)
    assert all(isinstance(event, str) for event in events)
    check(watched, json.loads(events[-1])["timings"])


def test_a_plain_completion_is_a_call_without_visual_tokens(server: Any, watched: Watched):
    said = server.handle_completions({"prompt": "abc", "max_tokens": 3, "logit_bias": [[tiny_gguf.END_ID, -100]]})
    tokens = watched.call().tokens
    assert (tokens.visual_input, tokens.text_input, tokens.output) == (0, said["usage"]["prompt_tokens"], 3)


def test_answers_are_the_same_with_and_without_a_meter(server: Any):
    asked = request()
    server.handle_chat_completions(asked)
    before = server.handle_chat_completions(asked)["choices"]
    watching = Watched(RUNTIME)
    during = server.handle_chat_completions(asked)["choices"]
    watching.runtime.uninstall()
    assert during == before


def test_an_error_is_raised_as_it_would_be_and_said(server: Any, watched: Watched):
    with pytest.raises(ValueError, match="callback"):
        server.handle_chat_completions(json.dumps(request()))
    assert watched.call().ended == "raised ValueError"
    assert watched.call().phases == ()


def test_calls_of_several_threads_are_kept_apart(server: Any, watched: Watched):
    threads = [
        threading.Thread(target=server.handle_chat_completions, args=(request(max_tokens=length),))
        for length in (30, 40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(call.tokens.output or 0 for call in watched.trace().calls) == [30, 40]


def test_nothing_stays_of_the_wraps():
    names = ("handle_chat_completions", "handle_completions")
    before = [vars(xllamacpp.Server)[name] for name in names]
    watching = Watched(RUNTIME)
    assert [vars(xllamacpp.Server)[name] for name in names] != before
    watching.runtime.uninstall()
    assert [vars(xllamacpp.Server)[name] for name in names] == before

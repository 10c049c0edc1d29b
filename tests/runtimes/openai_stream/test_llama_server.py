"""Requests to llama.cpp's real server through every client: seen, counted, and left as they are."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.runtimes import tiny_gguf
from tests.runtimes.conftest import RunningServer, Watched
from wattvlm.runtimes.openai_stream import RUNTIME
from wattvlm.trace import DECODE, PREFILL, CallTrace

httpx = pytest.importorskip("httpx", reason="needs httpx, of the extra wattvlm[engines]")
openai = pytest.importorskip("openai", reason="needs openai, of the extra wattvlm[engines]")
requests = pytest.importorskip("requests", reason="needs requests, of the extra wattvlm[engines]")

OUTPUT = 6


@pytest.fixture
def watched() -> Iterator[Watched]:
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def _events(lines: Any) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def _text(events: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def _httpx(server: RunningServer, body: dict[str, Any]):
    answer = httpx.post(server.chat, json=body, timeout=60).json()
    return answer["choices"][0]["message"]["content"]


def _httpx_stream(server: RunningServer, body: dict[str, Any]):
    with httpx.stream("POST", server.chat, json={**body, "stream": True}, timeout=60) as response:
        return _text(_events(response.iter_lines()))


def _httpx_stream_read_at_once(server: RunningServer, body: dict[str, Any]):
    return _text(_events(httpx.post(server.chat, json={**body, "stream": True}, timeout=60).text.splitlines()))


def _httpx_async(server: RunningServer, body: dict[str, Any]):
    async def ask():
        async with httpx.AsyncClient(timeout=60) as client:
            return (await client.post(server.chat, json=body)).json()["choices"][0]["message"]["content"]

    return asyncio.run(ask())


def _httpx_async_stream(server: RunningServer, body: dict[str, Any]):
    async def ask():
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("POST", server.chat, json={**body, "stream": True}) as response,
        ):
            return _text(_events([line async for line in response.aiter_lines()]))

    return asyncio.run(ask())


def _openai(server: RunningServer, body: dict[str, Any]):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        return client.chat.completions.create(**body).choices[0].message.content


def _openai_stream(server: RunningServer, body: dict[str, Any]):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        chunks = client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def _openai_async(server: RunningServer, body: dict[str, Any]):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            return (await client.chat.completions.create(**body)).choices[0].message.content

    return asyncio.run(ask())


def _openai_async_stream(server: RunningServer, body: dict[str, Any]):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            chunks = await client.chat.completions.create(**body, stream=True)
            return "".join([choice.delta.content or "" async for chunk in chunks for choice in chunk.choices])

    return asyncio.run(ask())


def _requests(server: RunningServer, body: dict[str, Any]):
    return requests.post(server.chat, json=body, timeout=60).json()["choices"][0]["message"]["content"]


def _requests_stream(server: RunningServer, body: dict[str, Any]):
    with requests.post(server.chat, json={**body, "stream": True}, stream=True, timeout=60) as response:
        response.encoding = "utf-8"
        return _text(_events(response.iter_lines(decode_unicode=True)))


WAYS: list[Callable[[RunningServer, dict[str, Any]], Any]] = [
    _httpx, _httpx_stream, _httpx_stream_read_at_once, _httpx_async, _httpx_async_stream, _openai, _openai_stream,
    _openai_async, _openai_async_stream, _requests, _requests_stream,
]  # fmt: skip
A_FEW = [_httpx_stream, _openai_async_stream, _requests_stream]


def by_name(way: Callable[..., Any]) -> str:
    return way.__name__.strip("_")


def in_order(call: CallTrace) -> None:
    """Prefill, then decode, both inside the call and without a hole between them."""
    assert [phase.name for phase in call.phases] == [PREFILL, DECODE]
    (prefill,), (decode,) = (phase.spans for phase in call.phases)
    assert call.start_ns <= prefill.start_ns <= prefill.end_ns == call.first_token_ns == decode.start_ns
    assert decode.start_ns <= decode.end_ns <= call.end_ns


@pytest.mark.parametrize("way", WAYS, ids=by_name)
def test_a_request_is_a_call_with_phases_and_counts(way, watched: Watched, llama_server: RunningServer):
    way(llama_server, llama_server.body())
    call = watched.call()
    in_order(call)
    tokens = call.tokens
    assert (tokens.output, tokens.visual_input) == (OUTPUT, tiny_gguf.VISUAL_TOKENS)
    assert tokens.text_input == len("user: ") + len("Which digit?") + len("\n") + len("assistant:")
    assert (call.images, call.batch_size, call.decode_steps, call.ended) == (1, 1, OUTPUT - 1, "returned")
    assert call.runtime == "openai_stream"
    assert call.model.name.endswith("language.gguf")
    assert "computed" in tokens.how["visual_input"]


@pytest.mark.parametrize("way", WAYS, ids=by_name)
def test_an_answer_is_the_same_with_and_without_a_meter(way, llama_server: RunningServer):
    body = llama_server.body(temperature=0, seed=1)
    way(llama_server, body)  # from now on the prompt is in the server's cache
    before = way(llama_server, body)
    watching = Watched(RUNTIME)
    try:
        during = way(llama_server, body)
    finally:
        watching.runtime.uninstall()
    assert during == before != ""
    assert len(watching.trace().calls) == 1


def test_phases_last_as_long_as_the_server_says(watched: Watched, llama_server: RunningServer):
    timings = httpx.post(llama_server.chat, json=llama_server.body(), timeout=60).json()["timings"]
    call = watched.call()
    prefill, decode = (phase.duration_ns / 1e6 for phase in call.phases)
    assert prefill == pytest.approx(timings["prompt_ms"], abs=0.001)
    assert decode == pytest.approx(timings["predicted_ms"], abs=0.001)


def test_a_prompt_of_the_cache_is_told_apart(watched: Watched, llama_server: RunningServer):
    body = llama_server.body(temperature=0)
    said = [httpx.post(llama_server.chat, json=body, timeout=60).json()["usage"] for _ in range(2)]
    _, again = watched.trace().calls
    cached = said[1]["prompt_tokens_details"]["cached_tokens"]
    assert again.tokens.cached_input == cached > tiny_gguf.VISUAL_TOKENS
    assert again.tokens.prompt == said[1]["prompt_tokens"]


def test_without_an_image_there_is_no_visual_token(watched: Watched, llama_server: RunningServer):
    said = httpx.post(llama_server.chat, json=llama_server.body(images=0), timeout=60).json()["usage"]
    tokens = watched.call().tokens
    assert (tokens.visual_input, tokens.text_input) == (0, said["prompt_tokens"])


def test_several_images_are_counted(watched: Watched, llama_server: RunningServer):
    said = httpx.post(llama_server.chat, json=llama_server.body(images=3), timeout=60).json()["usage"]
    call = watched.call()
    assert (call.images, call.tokens.visual_input) == (3, 3 * tiny_gguf.VISUAL_TOKENS)
    assert call.tokens.prompt == said["prompt_tokens"]


@pytest.mark.parametrize("way", A_FEW, ids=by_name)
def test_requests_at_the_same_time_are_kept_apart(way, watched: Watched, llama_server: RunningServer):
    lengths = [100, 140, 180]
    bodies = [llama_server.body(images=index, max_tokens=length) for index, length in enumerate(lengths)]
    together = threading.Barrier(len(bodies))

    def ask(body: dict[str, Any]) -> None:
        together.wait()
        way(llama_server, body)

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = watched.trace().calls
    assert sorted((call.tokens.output, call.images) for call in calls) == [(100, 0), (140, 1), (180, 2)]
    assert any(one.end_ns > two.start_ns for one, two in pairwise(calls))
    for call in calls:
        in_order(call)


def test_tasks_of_one_loop_are_kept_apart(watched: Watched, llama_server: RunningServer):
    async def ask(client: Any, length: int) -> None:
        chunks = await client.chat.completions.create(**llama_server.body(max_tokens=length), stream=True)
        async for _ in chunks:
            pass

    async def ask_all() -> None:
        async with openai.AsyncOpenAI(base_url=f"{llama_server.url}/v1", api_key="none") as client:
            await asyncio.gather(*(ask(client, length) for length in (5, 8, 12)))

    asyncio.run(ask_all())
    assert sorted(call.tokens.output or 0 for call in watched.trace().calls) == [5, 8, 12]


def test_a_stream_that_is_given_up_ends_its_call_there(watched: Watched, llama_server: RunningServer):
    with httpx.stream("POST", llama_server.chat, json=llama_server.body(stream=True, max_tokens=200)) as response:
        for _ in response.iter_lines():
            break
    call = watched.call()
    assert call.ended == "was closed before its end"
    assert call.tokens.output is None


def test_a_request_that_the_server_refuses_raises_as_it_would_and_says_so(watched: Watched, llama_server):
    with (
        openai.OpenAI(base_url=f"{llama_server.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.chat.completions.create(model="tiny", messages="no list")
    call = watched.call()
    assert call.ended == "HTTP 400"
    assert (call.phases, call.tokens.output) == ((), None)


def test_the_server_is_named_with_its_process(watched: Watched, llama_server: RunningServer):
    httpx.post(llama_server.chat, json=llama_server.body(), timeout=60)
    (line,) = [note for note in watched.trace().notes if "its joules are in this report" in note]
    assert f"process {llama_server.pid}" in line
    assert "llama_server.py" in line


def test_other_requests_to_the_same_server_are_no_calls(watched: Watched, llama_server: RunningServer):
    assert httpx.get(f"{llama_server.url}/health").status_code == 200
    assert requests.get(f"{llama_server.url}/v1/models", timeout=10).status_code == 200
    assert httpx.post(f"{llama_server.url}/tokenize", json={"content": "a"}).status_code == 200
    assert watched.trace().calls == ()
    assert watched.trace().notes == ()

"""What passes through an HTTP client stays what it was: objects, types, signatures, laziness, ends and exceptions."""

from __future__ import annotations

import asyncio
import gzip
import http.server
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.runtimes.conftest import Watched
from wattvlm.runtimes.openai_stream import RUNTIME
from wattvlm.trace import DECODE, PREFILL

httpx = pytest.importorskip("httpx", reason="needs httpx, of the extra wattvlm[engines]")
requests = pytest.importorskip("requests", reason="needs requests, of the extra wattvlm[engines]")

PAUSE_S = 0.15
BODY = {"model": "written", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 30, "completion_tokens": 3}


@dataclass
class Written:
    """A server on this machine that sends what a test has written, piece by piece."""

    url: str = ""
    pieces: list[bytes | float] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    status: int = 200
    cut_off: bool = False
    received: list[bytes] = field(default_factory=list)


@pytest.fixture
def written() -> Iterator[Written]:
    script = Written()

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            script.received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(script.status)
            for name, value in {**script.headers, "Transfer-Encoding": "chunked", "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in script.pieces:
                if isinstance(piece, float):
                    time.sleep(piece)
                else:
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    self.wfile.flush()
            if not script.cut_off:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Keeps the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}/v1/chat/completions"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def text(content: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": content}}])


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
END = b"data: [DONE]\n\n"


def _httpx_bytes(url: str) -> Iterator[bytes]:
    with httpx.stream("POST", url, json=BODY) as response:
        yield from response.iter_bytes()


def _requests_bytes(url: str) -> Iterator[bytes]:
    with requests.post(url, json=BODY, stream=True, timeout=10) as response:
        yield from response.iter_content(None)


STREAMS: list[Callable[[str], Iterator[bytes]]] = [_httpx_bytes, _requests_bytes]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_first_text_ends_prefill_and_a_role_does_not(stream, watched: Watched, written: Written):
    written.pieces = [PAUSE_S, ROLE, PAUSE_S, text("a"), PAUSE_S, text("b"), event(choices=[], usage=USAGE), END]
    assert b"".join(stream(written.url)) == b"".join(piece for piece in written.pieces if isinstance(piece, bytes))
    call = watched.call()
    prefill, decode = (phase.duration_ns / 1e9 for phase in call.phases)
    assert prefill >= 2 * PAUSE_S
    assert decode >= PAUSE_S * 0.9
    assert prefill + decode == pytest.approx((call.end_ns - call.start_ns) / 1e9)
    assert (call.tokens.output, call.tokens.text_input, call.tokens.visual_input) == (3, 30, 0)


@pytest.mark.parametrize("stream", STREAMS)
def test_pieces_come_as_early_as_they_would(stream, watched: Watched, written: Written):
    written.pieces = [text("a"), 6 * PAUSE_S, text("b"), END]
    pieces = stream(written.url)
    started = time.monotonic()
    assert b'"a"' in next(pieces)
    assert time.monotonic() - started < 6 * PAUSE_S
    assert len(watched.trace().calls) == 1
    list(pieces)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_compressed_stream_is_read_and_passed_on(stream, watched: Watched, written: Written):
    plain = ROLE + text("a") + event(choices=[], usage=USAGE) + END
    packed = gzip.compress(plain)
    written.headers["Content-Encoding"] = "gzip"
    written.pieces = [packed[:20], packed[20:]]
    assert b"".join(stream(written.url)) == plain
    assert watched.call().tokens.output == 3
    assert [phase.name for phase in watched.call().phases] == [PREFILL, DECODE]


def test_a_compression_that_only_the_client_knows_is_said(watched: Watched, written: Written):
    written.headers["Content-Encoding"] = "zebra"
    written.pieces = [b"stripes"]
    assert b"".join(_httpx_bytes(written.url)) == b"stripes"
    assert watched.call().phases == ()
    assert any("without compression" in note for note in watched.trace().notes)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_that_breaks_off_raises_as_it_would_and_says_so(stream, watched: Watched, written: Written):
    written.pieces, written.cut_off = [text("a")], True
    with pytest.raises((httpx.RemoteProtocolError, requests.exceptions.ChunkedEncodingError)) as raised:
        list(stream(written.url))
    call = watched.call()
    assert call.ended.startswith("raised ")
    assert call.tokens.output is None
    assert type(raised.value).__module__.split(".")[0] in ("httpx", "requests")


def test_without_usage_no_token_is_guessed_and_the_cure_is_said(watched: Watched, written: Written):
    written.pieces = [text("a"), text("b"), END]
    list(_httpx_bytes(written.url))
    assert json.loads(written.received[0]) == BODY  # nothing was added to the request
    assert watched.call().tokens.output is None
    assert any("include_usage" in note for note in watched.trace().notes)


def test_image_tokens_and_times_that_vllm_tells_are_taken(watched: Watched, written: Written):
    details = {"cached_tokens": 4, "multimodal_tokens": {"image": 16}}
    metrics = {"time_to_first_token_ms": 80.0, "queue_time_ms": 30.0, "generation_time_ms": 40.0}
    usage = {**USAGE, "prompt_tokens_details": details}
    written.headers["Content-Type"] = "application/json"
    written.pieces = [PAUSE_S, json.dumps({"choices": [], "usage": usage, "metrics": metrics}).encode()]
    assert httpx.post(written.url, json=BODY).json()["usage"] == usage
    call = watched.call()
    assert [round(phase.duration_ns / 1e6) for phase in call.phases] == [50, 40]
    assert (call.tokens.visual_input, call.tokens.text_input, call.tokens.cached_input) == (16, 14, 4)


def test_what_the_responses_endpoint_sends_is_understood(watched: Watched, written: Written):
    usage = {"input_tokens": 9, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 5}}
    written.pieces = [
        event(type="response.created", response={"model": "m"}),
        event(type="response.output_text.delta", delta="a"), PAUSE_S,
        event(type="response.completed", response={"model": "m", "usage": usage}),
    ]  # fmt: skip
    with httpx.stream("POST", written.url.replace("chat/completions", "responses"), json=BODY) as response:
        response.read()
    call = watched.call()
    assert (call.tokens.text_input, call.tokens.output, call.tokens.reasoning_output) == (9, 7, 5)
    assert [phase.name for phase in call.phases] == [PREFILL, DECODE]
    assert (call.model.name, call.ended) == ("m", "returned")


def test_a_server_that_is_not_there_raises_as_it_would(watched: Watched):
    with pytest.raises(httpx.ConnectError):
        httpx.post("http://127.0.0.1:9/v1/chat/completions", json=BODY)
    assert watched.call().ended == "raised ConnectError"


def test_a_block_that_ends_within_a_stream_ends_the_call_and_not_the_stream(written: Written):
    written.pieces = [text("a"), PAUSE_S, text("b"), END]
    watching = Watched(RUNTIME)
    with httpx.stream("POST", written.url, json=BODY) as response:
        pieces = response.iter_bytes()
        next(pieces)
        watching.runtime.uninstall()
        assert b'"b"' in b"".join(pieces)
    assert watching.call().ended == "was not over when the block ended"
    assert watching.faults() == []


def test_objects_types_and_signatures_are_as_before_and_nothing_stays(written: Written):
    written.pieces = [text("a"), END]
    places = [
        (httpx.Client, "send"), (httpx.AsyncClient, "send"), (httpx.Response, "iter_raw"),
        (httpx.Response, "aiter_raw"), (httpx.Response, "close"), (httpx.Response, "aclose"),
        (requests.Session, "send"), (requests.Response, "iter_content"), (requests.Response, "close"),
    ]  # fmt: skip
    before = [vars(owner)[name] for owner, name in places]
    kinds = [(inspect.iscoroutinefunction(one), inspect.isgeneratorfunction(one), inspect.isasyncgenfunction(one),
              inspect.signature(one)) for one in before]  # fmt: skip
    finders = list(sys.meta_path)
    watching = Watched(RUNTIME)
    during = [vars(owner)[name] for owner, name in places]
    assert kinds == [(inspect.iscoroutinefunction(one), inspect.isgeneratorfunction(one),
                      inspect.isasyncgenfunction(one), inspect.signature(one)) for one in during]  # fmt: skip
    with httpx.stream("POST", written.url, json=BODY) as response:
        assert type(response) is httpx.Response
        names = sorted(vars(response))
        response.read()
    with httpx.stream("GET", written.url.replace("/v1/chat/completions", "/")) as other:
        assert sorted(vars(other)) == names
    with requests.post(written.url, json=BODY, stream=True, timeout=10) as answer:
        assert inspect.isgenerator(answer.iter_content(10))
    watching.runtime.uninstall()
    assert [vars(owner)[name] for owner, name in places] == before
    assert sys.meta_path == finders


def test_an_asynchronous_stream_can_be_left_early(watched: Watched, written: Written):
    written.pieces = [text("a"), PAUSE_S, text("b"), END]

    async def first_piece():
        async with httpx.AsyncClient() as client, client.stream("POST", written.url, json=BODY) as response:
            async for piece in response.aiter_bytes():
                return piece
        return b""

    assert b'"a"' in asyncio.run(first_piece())
    assert watched.call().ended == "was closed before its end"

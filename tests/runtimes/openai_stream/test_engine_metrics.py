"""vLLM's own page of metrics beside the requests to it: what came between two looks, and whose it was."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.runtimes.conftest import Watched
from wattvlm.runtimes.openai_stream import RUNTIME
from wattvlm.runtimes.openai_stream.engine_metrics import EngineMetrics, Look, line_of, read_page

httpx = pytest.importorskip("httpx", reason="needs httpx, of the extra wattvlm[engines]")

PAGE = """\
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{{engine="0",le="+Inf",model_name="a model"}} {n}
vllm:e2e_request_latency_seconds_count{{engine="0",model_name="a model"}} {n}
vllm:request_queue_time_seconds_sum{{engine="0",model_name="a model"}} {queue}
vllm:request_prefill_time_seconds_sum{{engine="0",model_name="a model"}} {prefill}
vllm:request_decode_time_seconds_sum{{engine="0",model_name="a model"}} {decode}
vllm:request_decode_time_seconds_created{{engine="0",model_name="a model"}} 1.7e+09
vllm:request_prompt_tokens_sum{{engine="0",model_name="a model"}} {prompt}
vllm:request_prefill_kv_computed_tokens_sum{{engine="0",model_name="a model"}} {computed}
"""

SERVER = """
import http.server, json, sys
PAGE, done = sys.argv[2], 0
class Engine(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        sums = dict(n=7 + done, queue=1 + 0.25 * done, prefill=2 + 0.5 * done, decode=3 + done)
        self.answer(PAGE.format(**sums, prompt=100 + 30 * done, computed=80 + 10 * done).encode())
    def do_POST(self):
        global done
        self.rfile.read(int(self.headers["Content-Length"]))
        usage = {"prompt_tokens": 30, "completion_tokens": 3}
        self.answer(json.dumps({"choices": [{"message": {"content": "a b c"}}], "usage": usage}).encode())
        done += 1
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def vllm_like() -> Iterator[str]:
    """A server of its own process whose command line and page are like vLLM's."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, "vllm", PAGE], stdout=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1/chat/completions"
        process.terminate()


def test_the_engines_own_times_of_this_programs_requests_are_told(vllm_like):
    watched = Watched(RUNTIME)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    for _ in range(2):
        httpx.post(vllm_like, json=body)
        threads = [each for each in threading.enumerate() if each.name == "wattvlm-metrics"]
        for each in threads:  # a real engine takes longer than the first look; this one does not
            each.join()
    watched.runtime.uninstall()
    (line,) = [mark.text for mark in watched.marks if "/metrics" in mark.text]
    assert "sums over" in line
    assert "queue 0." in line
    assert "prompt tokens from its prefix cache" in line
    assert watched.faults() == []


def page(**sums: float) -> Look:
    look = read_page(PAGE.format(**sums))
    assert look is not None
    return look


BEFORE = {"n": 4, "queue": 1, "prefill": 2, "decode": 3, "prompt": 100, "computed": 80}
AFTER = {"n": 6, "queue": 1.5, "prefill": 3, "decode": 5, "prompt": 160, "computed": 100}


def test_sums_are_over_all_engines_of_a_server():
    text = PAGE.format(n=1, queue=0.5, prefill=1, decode=2, prompt=10, computed=4)
    look = read_page(text + text.replace('engine="0"', 'engine="1"'))
    assert look is not None
    assert (look.finished, look.queue_s, look.decode_s, look.computed_tokens) == (2, 1.0, 4.0, 8)


def test_what_came_between_is_told_with_whose_it_was():
    between = page(**AFTER).since(page(**BEFORE))
    assert line_of(between, 2) == (
        "by vLLM's own /metrics, sums over 2 requests (all of them this program's): queue 0.500 s, "
        "prefill without the queue 1.000 s, decode 2.000 s, 40 of 60 prompt tokens from its prefix cache"
    )
    assert "1 of them this program's: the sums are of all" in (line_of(between, 1) or "")


def test_a_page_that_has_none_of_them_or_began_anew_tells_nothing():
    assert read_page("# nothing\nother_total 3\n") is None
    assert line_of(page(**BEFORE).since(page(**AFTER)), 1) is None


def test_a_machine_without_a_vllm_asks_no_server(tmp_path):
    asked: list[str] = []
    (tmp_path / "12").mkdir()
    (tmp_path / "12/cmdline").write_text("llama-server\0--port\0")

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        address = ("127.0.0.1", server.server_address[1])
        metrics = EngineMetrics(tmp_path)
        metrics.first_seen(address)
        assert metrics.between(address, 1) is None
    assert asked == []

"""Watching servers: one whose joules are known, llama.cpp's own, and ones that say little."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.runtimes import tiny_gguf
from tests.watching.pages import VLLM, page
from wattvlm.cli import main
from wattvlm.sensing import ProbeSource
from wattvlm.watching import MetricsPage, NotAnswering, watch
from wattvlm.watching.session import WITH_WORK

pytest.importorskip("prometheus_client", reason="needs the extra wattvlm[prometheus]")

ROOT = Path(__file__).parents[2]
COUNTER = (ProbeSource("tests.sampling.tiny_probes:Counter"),)


class Speaking(ThreadingHTTPServer):
    """A server on this machine that gives a page of metrics; it has work from the fifth look at them to the tenth."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status = status
        self.looks = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def page(self) -> str:
        self.looks += 1
        done = min(max(self.looks - 4, 0), 6)
        return page(VLLM, done * 2, done * 100, done * 40, 4 if 0 < done < 6 else 0)


class Answering(BaseHTTPRequestHandler):
    server: Speaking

    def do_GET(self) -> None:
        body = self.server.page().encode() if self.path == "/metrics" else b""
        self.send_response(self.server.status if body else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Speaking]:
    running = Speaking()
    yield running
    running.shutdown()
    running.server_close()


def until(is_over: Callable[[], bool]) -> Callable[[object], None]:
    """Ctrl-C, two looks after something is so."""
    left = 2

    def each(_look: object) -> None:
        nonlocal left
        left -= is_over()
        if left < 0:
            raise KeyboardInterrupt

    return each


def test_joules_per_request_are_those_of_the_window_with_work_over_its_requests(server):
    stop = until(lambda: server.looks > 10)
    watched = watch(MetricsPage(f"{server.url}/v1"), interval_ns=10**8, probes=COUNTER, each=stop)
    assert watched.served is not None
    assert (watched.served.requests, watched.served.prompt_tokens, watched.served.output_tokens) == (12, 600, 240)
    seconds = (watched.served.end_ns - watched.served.start_ns) / 1e9
    low_j, high_j = watched.report.phase(WITH_WORK).energies["gpu"].bounds_j
    assert 0.0 < low_j <= 100.0 * seconds <= high_j  # the counter is one of 100 W
    assert (watched.served.at_once, watched.served.most_at_once) == (20 / 7, 4)


def test_a_server_without_metrics_gives_joules_and_the_reason(server):
    server.status = 404
    watched = watch(MetricsPage(server.url), duration_ns=3 * 10**8, interval_ns=10**8, probes=COUNTER)
    assert watched.served is None
    assert "HTTP 404" in watched.why_not
    assert "Cure:" in watched.why_not
    assert watched.report.block.energies["gpu"].bounds_j[0] > 0.0


def test_where_nothing_answers_nothing_is_measured():
    with pytest.raises(NotAnswering):
        watch(MetricsPage("127.0.0.1:9"), duration_ns=10**8)
    assert CliRunner().invoke(main, ["watch", "127.0.0.1:9", "--for", "1s"]).exit_code == 3


@pytest.mark.parametrize(
    "words",
    [["ftp://x"], ["http://"], ["http://192.0.2.1:8000"], ["127.0.0.1", "--for", "soon"], ["x:80", "--for", "0s"]],
)
def test_what_cannot_be_watched_is_a_usage_error(words):
    assert CliRunner().invoke(main, ["watch", *words]).exit_code == 2


def test_ctrl_c_gives_the_summary(server):
    program = "from wattvlm.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "watch", server.url, "--interval", "50ms", "--json"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while server.looks < 15 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    found = json.loads(out)
    assert process.returncode == (0 if found["domain"] else 3), err
    assert found["served"]["requests"] == 12
    assert found["served"]["ttft_s"]["p50"] == {"from_s": 0.1, "to_s": 0.25}


@pytest.fixture(scope="module")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama.cpp's own server."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp, of the extra wattvlm[engines]")
    pytest.importorskip("gguf", reason="needs gguf, of the extra wattvlm[engines], to write a model")
    folder = tmp_path_factory.mktemp("gguf")
    tiny_gguf.write_language_model(folder / "language.gguf")
    tiny_gguf.write_vision_part(folder / "vision.gguf")
    script = ROOT / "tests/runtimes/llama_server.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(folder / "language.gguf"), str(folder / "vision.gguf")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def test_llama_cpps_own_server_is_watched_while_it_answers(llama_url):
    answered: list[int] = []
    asking = threading.Thread(target=lambda: answered.extend([_asked(llama_url) for _ in range(3)]))
    stop = until(lambda: len(answered) == 3)

    def each(look: object) -> None:
        if asking.ident is None:  # requests begin after the first look
            asking.start()
        stop(look)

    watched = watch(MetricsPage(llama_url), interval_ns=10**8, probes=COUNTER, each=each)
    asking.join()
    shown = CliRunner().invoke(main, ["watch", llama_url, "--for", "300ms"])
    assert watched.served is not None
    assert watched.served.output_tokens == sum(answered) == 18
    assert watched.served.requests is None
    assert watched.served.named["output_tokens"] == "llamacpp:tokens_predicted"
    assert "the server had no work" in shown.output
    assert "llama_server.py" in shown.output


def test_each_request_in_a_slot_of_llama_cpp_is_a_call(llama_url):
    answered: list[int] = []
    asking = [threading.Thread(target=lambda: answered.append(_asked(llama_url, 400))) for _ in range(3)]
    stop = until(lambda: len(answered) == 3)

    def each(look: object) -> None:
        if asking[0].ident is None:
            for thread in asking:
                thread.start()
        stop(look)

    watched = watch(MetricsPage(llama_url), interval_ns=10**8, probes=COUNTER, each=each)
    for thread in asking:
        thread.join()
    calls = watched.report.calls
    assert 1 <= len(calls) <= 3  # shorter than a look is missed
    assert all(call.label.startswith("slot ") and call.runtime == "llama_cpp" for call in calls)
    assert all(0 < (call.tokens.output or 0) <= 400 for call in calls)
    assert all(call.tokens.visual_input is None for call in calls)  # the server sees pictures, and tells none


def _asked(url: str, tokens: int = 6) -> int:
    body = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": tokens, "logit_bias": {"257": -100}}
    asked = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return int(json.load(answer)["timings"]["predicted_n"])


def test_joules_are_given_to_prometheus_meanwhile_and_without_a_server_too(server):
    for words in ([], [server.url, "--json"]):
        shown = CliRunner().invoke(main, ["watch", *words, "--listen", "0", "--for", "200ms"])
        assert shown.exit_code in (0, 3), shown.output
        assert "joules for Prometheus at http://127.0.0.1:" in shown.stderr
    assert json.loads(shown.stdout)["url"] == server.url


@pytest.mark.parametrize("words", [[], ["--listen", "here"], ["--listen", "70000"]])
def test_a_watch_of_nothing_or_at_no_port_is_a_usage_error(words):
    assert CliRunner().invoke(main, ["watch", *words]).exit_code == 2

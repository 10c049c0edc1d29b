"""A real Prometheus scrapes `wattvlm watch --listen` and llama.cpp's server while it answers: docs/prometheus.txt.

python -m docs.prometheus_scrape /usr/bin/prometheus > docs/prometheus.txt
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.runtimes import tiny_gguf

SERVER = Path(__file__).parents[1] / "tests/runtimes/llama_server.py"
LOAD_S = 30.0

QUERIES = {
    "up": "both targets were scraped",
    "wattvlm_energy_joules_total": "joules so far",
    "rate(wattvlm_energy_joules_total[20s])": "watts, over 20 s",
    "count(count_over_time(wattvlm_energy_joules_total[5m]))": "series, over all scrapes",
    "resets(wattvlm_energy_joules_total[5m])": "how often a counter went back",
    'scalar(rate(wattvlm_energy_joules_total{domain="cpu"}[20s])) / rate(llamacpp:tokens_predicted_total[20s])':
        "joules per output token, all work of the machine",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def asked(url: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON that a POST of the body, or a GET, gives."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def running(*command: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.terminate()


def answer_for(duration_s: float, server: str) -> None:
    until_s = time.monotonic() + duration_s
    body = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 40, "logit_bias": {"257": -100}}
    while time.monotonic() < until_s:
        asked(f"{server}/v1/chat/completions", body)
        time.sleep(0.05)


def shown(prometheus: str, query: str) -> Iterator[str]:
    for each in asked(f"{prometheus}/api/v1/query?query={urllib.parse.quote(query)}")["data"]["result"]:
        labels = ", ".join(f'{name}="{value}"' for name, value in sorted(each["metric"].items())
                           if name not in ("instance", "__name__"))  # fmt: skip
        yield f"  {{{labels}}}  {float(each['value'][1]):.6g}"


def main(program: str) -> None:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    folder = Path(tempfile.mkdtemp())
    tiny_gguf.write_language_model(folder / "language.gguf")
    tiny_gguf.write_vision_part(folder / "vision.gguf")
    joules_port, own_port = free_port(), free_port()
    watch = [sys.executable, "-c", "from wattvlm.cli import main; main()", "watch", "--listen", str(joules_port)]
    serve = [sys.executable, str(SERVER), str(folder / "language.gguf"), str(folder / "vision.gguf")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with running(*serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        targets = [f"127.0.0.1:{joules_port}", url.removeprefix("http://")]
        settings = {"global": {"scrape_interval": "2s"},
                    "scrape_configs": [{"job_name": "models", "static_configs": [{"targets": targets}]}]}  # fmt: skip
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        stored = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/stored"]
        listen = f"--web.listen-address=127.0.0.1:{own_port}"
        with running(*watch, **quiet), running(program, *stored, listen, **quiet):
            answer_for(LOAD_S, url)
            print((version.stdout or version.stderr).splitlines()[0], end="\n\n")
            for query, words in QUERIES.items():
                print(f"{query}    ({words})")
                print("\n".join(shown(f"http://127.0.0.1:{own_port}", query)), end="\n\n")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The plugin in a real vLLM server. Runs where vLLM is installed (docs/serving.md says how)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.conftest import MODEL, picture

ROOT = Path(__file__).parents[2]
REQUESTS = 40

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]


@dataclass
class Server:
    """Where it answers, where joules are told, and their folder."""

    url: str
    joules_url: str
    model: str
    folder: Path

    def ask(self, number: int) -> None:
        image = [{"type": "image_url", "image_url": {"url": picture(number)}}] if number % 2 else []
        content = [*image, {"type": "text", "text": "Which digit?"}]
        body = {
            "model": self.model, "messages": [{"role": "user", "content": content}], "max_tokens": 20 + number % 3 * 20,
            "ignore_eos": True, "temperature": 0,
        }  # fmt: skip
        headers = {"Content-Type": "application/json", "X-Request-Id": f"asked-{number}"}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=300) as answer:
            answer.read()

    def joules(self, number: int) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(f"{self.joules_url}/requests/asked-{number}", timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (urllib.error.HTTPError, urllib.error.URLError):
            return None


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    model, plugins = folder / "model", folder / "plugins"
    shutil.copytree(MODEL, model)
    config = json.loads((model / "config.json").read_text())
    config["text_config"].update(num_attention_heads=2, num_key_value_heads=2, head_dim=32)
    (model / "config.json").write_text(json.dumps(config))
    named = [each.value for each in importlib.metadata.entry_points(group="vllm.stat_logger_plugins")]
    if "wattvlm.serving.stat_logger:RequestJoules" not in named:  # a checkout that is not installed
        (plugins / "wattvlm-0.dist-info").mkdir(parents=True)
        (plugins / "wattvlm-0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: wattvlm\nVersion: 0\n")
        (plugins / "wattvlm-0.dist-info/entry_points.txt").write_text(
            "[vllm.stat_logger_plugins]\nwattvlm = wattvlm.serving.stat_logger:RequestJoules\n"
        )
    port, told = free_port(), free_port()
    environment = {
        **os.environ, "PYTHONPATH": f"{plugins}{os.pathsep}{ROOT}", "WATTVLM_VLLM": str(folder / "joules"),
        "WATTVLM_VLLM_LISTEN": str(told), "WATTVLM_VLLM_WINDOW": "5",
        "WATTVLM_VLLM_PROBES": '[["tests.sampling.tiny_probes:Counter", {}]]', "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip
    arguments = (
        f"--model {model} --host 127.0.0.1 --port {port} --enforce-eager --dtype float32 --max-model-len 128 "
        "--max-num-seqs 8"
    )
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments.split()]
    process = subprocess.Popen(program, cwd=folder, env=environment, start_new_session=True)
    found = Server(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{told}", str(model), folder / "joules")
    try:
        _await(found, process)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _await(server: Server, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + 400
    while time.monotonic() < until_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise AssertionError("vLLM did not start")


def test_every_request_has_joules_beside_vllms_own_metrics(server: Server):
    server.ask(1_000)
    threads = [threading.Thread(target=server.ask, args=(number,)) for number in range(REQUESTS)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    until_s = time.monotonic() + 90
    while time.monotonic() < until_s and not all(server.joules(number) for number in range(REQUESTS)):
        time.sleep(1)
    found = [line for number in range(REQUESTS) if (line := server.joules(number)) is not None]
    assert len(found) == REQUESTS
    assert {line["shared"] for line in found} <= {"by work", "by time", "alone"}
    assert [line["images"] for line in found] == [number % 2 for number in range(REQUESTS)]
    assert all(line["output"] == 20 + number % 3 * 20 for number, line in enumerate(found))
    assert all(line["joules"]["gpu"]["middle_j"] > 0 for line in found)
    time.sleep(1)
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    assert 'wattvlm_request_joules_count{domain="gpu",method="measured"}' in page
    assert "vllm:generation_tokens_total" in page
    assert len(list(server.folder.glob("window-*.json.gz"))) >= 1

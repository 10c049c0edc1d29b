"""Real model servers on this machine, and a runtime whose marks go to a list."""

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes import tiny_gguf
from wattvlm.assembly import assemble
from wattvlm.runtimes import Runtime, Settles
from wattvlm.trace import CallTrace, Mark, Trace

MODEL = Path(__file__).parents[2] / "wattvlm/demo/digits_llava"
QUESTION = "Which digit?"


class Watched:
    """A runtime with a list as the sink."""

    def __init__(self, runtime: Runtime) -> None:
        self.marks: list[Mark] = []
        self.runtime = runtime
        self.runtime.install(lambda *given: self.marks.extend(given))

    def trace(self) -> Trace:
        if isinstance(self.runtime, Settles):
            self.runtime.settle()
        return assemble(self.marks)

    def call(self) -> CallTrace:
        (only,) = self.trace().calls
        return only

    def faults(self) -> list[str]:
        return [mark.text for mark in self.marks if mark.kind == "note" and "failed" in mark.text]


@dataclass
class RunningServer:
    """A server of its own process. url: without a path. pid: of the process that was started."""

    url: str
    pid: int
    model: str
    settings: dict[str, Any] = field(default_factory=dict)

    def body(self, images: int = 1, **more: Any) -> dict[str, Any]:
        """A chat request of so many images."""
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": picture(seed)}} for seed in range(images)
        ]
        content = [*parts, {"type": "text", "text": QUESTION}]
        messages = [{"role": "user", "content": content}]
        return {"model": self.model, "max_tokens": 6, "messages": messages, **self.settings, **more}

    @property
    def chat(self) -> str:
        return f"{self.url}/v1/chat/completions"


def picture(seed: int = 0, size: tuple[int, int] = (50, 40)) -> str:
    """A picture as a data URL; another seed is another picture, so that no server's cache knows it."""
    from PIL import Image

    written = io.BytesIO()
    Image.new("RGB", size, (37 * seed % 256, 11 * seed % 256, (time.monotonic_ns() >> 10) % 256)).save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


@pytest.fixture(scope="session")
def llama_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The language model and the vision part of a tiny model in GGUF."""
    pytest.importorskip("gguf", reason="needs gguf, of the extra wattvlm[engines], to write a model")
    folder = tmp_path_factory.mktemp("gguf")
    tiny_gguf.write_language_model(folder / "language.gguf")
    tiny_gguf.write_vision_part(folder / "vision.gguf")
    return folder / "language.gguf", folder / "vision.gguf"


@pytest.fixture(scope="session")
def llama_server(llama_files: tuple[Path, Path]) -> Iterator[RunningServer]:
    """llama.cpp's server in a process of its own."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp, of the extra wattvlm[engines]")
    script = Path(__file__).with_name("llama_server.py")
    command = [sys.executable, str(script), *map(str, llama_files)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        url = next((line.strip() for line in process.stdout if line.startswith("http")), "")
        assert url, "the server gave no address"
        yield RunningServer(url, process.pid, "tiny", {"logit_bias": {str(tiny_gguf.END_ID): -100}})
        process.terminate()


@pytest.fixture(scope="session")
def transformers_server() -> Iterator[RunningServer]:
    """`transformers serve` with the shipped model, in a process of its own."""
    for package in ("torch", "transformers", "uvicorn", "fastapi"):
        pytest.importorskip(package, reason=f"transformers serve needs {package}, of the extra wattvlm[engines]")
    if version("transformers").startswith("4."):
        pytest.skip("transformers 4's server tells no usage, and streams whatever it is asked")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(MODEL), "--host", "127.0.0.1"]
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--port", str(port), "--device", "cpu"],
        env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        _await_health(f"{url}/health", process)
        yield RunningServer(url, process.pid, str(MODEL))
        process.terminate()


def _await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not answer within 90 s")

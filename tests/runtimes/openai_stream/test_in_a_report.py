"""Requests to a server, as a meter's report shows them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import wattvlm
from tests.runtimes import tiny_gguf
from tests.runtimes.conftest import RunningServer
from wattvlm.sensing import ProbeSource
from wattvlm.testing import LoadFile

httpx = pytest.importorskip("httpx", reason="needs httpx, of the extra wattvlm[engines]")


@pytest.fixture
def gpu(tmp_path: Path) -> list[ProbeSource]:
    """One GPU of constant 200 W, whose counter ticks each 10 ms."""
    load = LoadFile(tmp_path / "gpu.load")
    load.append(0, 200.0)
    sensor = {"name": "gpu-0/board", "period_ns": 10_000_000, "max_power_w": 700.0}
    return [ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(load.path), "sensors": [sensor]})]


def ask(server: RunningServer) -> None:
    body = server.body(stream=True, max_tokens=150, stream_options={"include_usage": True})
    with httpx.stream("POST", server.chat, json=body, timeout=60) as response:
        response.read()


def test_a_request_has_phases_tokens_and_the_servers_name(gpu, llama_server: RunningServer):
    with wattvlm.meter(probes=gpu) as m:
        for _ in range(3):
            ask(llama_server)
    report = m.report
    assert [call.runtime for call in report.calls] == ["openai_stream"] * 3
    assert report.calls[0].tokens.visual_input == tiny_gguf.VISUAL_TOKENS
    assert [part.name for part in report.calls[0].phases] == ["prefill", "decode"]
    assert any(f"process {llama_server.pid}" in note for note in report.notes)
    assert any("timings of the server" in note for note in report.notes)
    assert "exact: 16 visual" not in str(report)


def test_a_report_inside_the_block_names_the_server_as_well(gpu, llama_server: RunningServer):
    with wattvlm.meter(probes=gpu) as m:
        ask(llama_server)
        assert any(f"process {llama_server.pid}" in note for note in m.report.notes)


def test_blocks_inside_a_block_each_have_their_notes(gpu, llama_server: RunningServer):
    with wattvlm.meter(probes=gpu):
        for _ in range(2):
            with wattvlm.meter(probes=gpu) as inner:
                ask(llama_server)
            assert len(inner.report.calls) == 1
            assert any("timings of the server" in note for note in inner.report.notes)


def test_joules_of_requests_at_the_same_time_are_shared_and_labelled_so(gpu, llama_server: RunningServer):
    with wattvlm.meter(probes=gpu) as m:
        threads = [threading.Thread(target=ask, args=(llama_server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(m.report.calls) == 3
    assert any("equal shares" in note for note in m.report.notes)

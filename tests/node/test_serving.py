"""Joules of served models: all of the sensors' joules go somewhere, once, and what is shared is labelled so."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.watching.pages import LLAMA_CPP, VLLM, page
from wattvlm.node.families import Family
from wattvlm.node.sensors import NodeSensors
from wattvlm.node.serving import MOST_MODELS, OTHERS, Servers, models_of
from wattvlm.sensing import Channel, EnergyReading
from wattvlm.watching import MetricsPage
from wattvlm.watching.metrics import parse_by_model

pytest.importorskip("prometheus_client", reason="needs the extra wattvlm[prometheus]")

GPU = Channel("gpu-0/board", "virtual counter", "virtual GPU", "gpu", "counter")
SECOND = 1_000_000_000


class Speaking(ThreadingHTTPServer):
    """Gives the page that a test has put there; nothing for an empty one."""

    page = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Answering(BaseHTTPRequestHandler):
    server: Speaking

    def do_GET(self) -> None:
        self.send_response(200 if self.server.page else 503)
        self.end_headers()
        self.wfile.write(self.server.page.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def speaking() -> Iterator[tuple[Speaking, Speaking]]:
    both = Speaking(), Speaking()
    yield both
    for each in both:
        each.shutdown()
        each.server_close()


class Watched:
    """Two servers beside one board, whose joules a test sets."""

    def __init__(self, speaking: tuple[Speaking, Speaking]) -> None:
        self.speaking = speaking
        self.sensors = NodeSensors()
        self.sensors.opened("virtual", (GPU,), (), {})
        self.servers = Servers([MetricsPage(each.url) for each in speaking], self.sensors)
        self._time_ns = 0

    def look(self, energy_j: float, *pages: str) -> None:
        self._time_ns += SECOND
        self.sensors.read(GPU, [EnergyReading(GPU.name, self._time_ns, self._time_ns, 0, energy_j)])
        for speaking, text in zip(self.speaking, pages, strict=True):
            speaking.page = text
        self.servers.look()

    def told(self, name: str) -> dict[tuple[str, ...], float]:
        families: dict[str, Family] = {family.name: family for family in self.servers.families()}
        return dict(families[name].samples)


STEPS = st.lists(st.tuples(st.integers(0, 900), *(st.tuples(*[st.integers(0, 9)] * 3),) * 2), min_size=1, max_size=6)


@settings(max_examples=40)
@given(STEPS)
def test_joules_of_models_and_of_no_model_are_those_of_the_sensors(speaking, steps):
    watched = Watched(speaking)
    energy_j, sums = 0.0, [[0, 0, 0], [0, 0, 0]]
    watched.look(0.0, page(VLLM, 0, 0, 0, 0), page(LLAMA_CPP, 0, 0, 0, 0))
    for added_j, *grown in steps:
        energy_j += added_j
        sums = [
            [before + more for before, more in zip(of, by, strict=True)] for of, by in zip(sums, grown, strict=True)
        ]
        first, second = ((of[0], of[1], of[2], 0) for of in sums)
        watched.look(energy_j, page(VLLM, *first), page(LLAMA_CPP, *second))
    served = watched.told("wattvlm_served_energy_joules")
    unserved = watched.told("wattvlm_unserved_energy_joules")
    assert math.fsum([*served.values(), *unserved.values()]) == pytest.approx(energy_j)
    assert watched.told("wattvlm_served_requests")[watched.speaking[0].url, "m"] == sums[0][0]


def test_a_model_alone_has_all_joules_as_measured_and_several_share_by_tokens_as_modelled(speaking):
    watched = Watched(speaking)
    idle = page(LLAMA_CPP, 0, 0, 0, 0)
    watched.look(0.0, page(VLLM, 0, 0, 0, 0), idle)
    watched.look(70.0, page(VLLM, 0, 0, 0, 0), idle)  # nobody works
    watched.look(370.0, page(VLLM, 1, 80, 20, 0), idle)
    watched.look(770.0, page(VLLM, 2, 140, 60, 0), page(LLAMA_CPP, 1, 200, 100, 0))  # 100 tokens and 300
    first, second = (each.url for each in speaking)
    assert watched.told("wattvlm_unserved_energy_joules") == {("gpu", "measured"): 70.0}
    assert watched.told("wattvlm_served_energy_joules") == {
        (first, "m", "gpu", "measured"): 300.0,
        (first, "m", "gpu", "modelled"): pytest.approx(100.0),
        (second, "", "gpu", "modelled"): pytest.approx(300.0),
    }


def test_requests_under_way_are_work_before_any_token_comes_out(speaking):
    watched = Watched(speaking)
    idle = page(LLAMA_CPP, 0, 0, 0, 0)
    watched.look(0.0, page(VLLM, 0, 0, 0, 0), idle)
    watched.look(300.0, page(VLLM, 0, 0, 0, 4), idle)
    assert watched.told("wattvlm_served_energy_joules") == {(speaking[0].url, "m", "gpu", "measured"): 300.0}
    assert watched.told("wattvlm_served_requests_running")[speaking[0].url, "m"] == 4


def test_a_server_that_starts_anew_loses_no_request_and_counts_none_twice(speaking):
    watched = Watched(speaking)
    idle = page(LLAMA_CPP, 0, 0, 0, 0)
    for requests in (100, 110, 3):  # what it did before this began is not ours
        watched.look(0.0, page(VLLM, requests, requests, requests, 0), idle)
    assert watched.told("wattvlm_served_requests")[speaking[0].url, "m"] == 13


def test_a_server_that_does_not_answer_is_down_and_has_no_joules_meanwhile(speaking):
    watched = Watched(speaking)
    idle = page(LLAMA_CPP, 0, 0, 0, 0)
    watched.look(0.0, page(VLLM, 0, 0, 0, 4), idle)
    watched.look(300.0, "", idle)
    assert watched.told("wattvlm_server_up") == {(speaking[0].url,): 0.0, (speaking[1].url,): 1.0}
    assert watched.told("wattvlm_unserved_energy_joules") == {("gpu", "measured"): 300.0}
    assert "503" in watched.servers.why_not[speaking[0].url]
    assert (speaking[0].url, "m") not in watched.told("wattvlm_served_requests_running")


def test_models_of_one_server_are_told_apart_by_its_labels():
    text = """
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model_name="a"} 5
vllm:generation_tokens_total{model_name="b"} 7
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a"} 1
vllm:num_requests_running{model_name="b"} 0
"""
    assert list(models_of(parse_by_model(text))) == [
        ("a", {"output_tokens": 5.0}, 1.0),
        ("b", {"output_tokens": 7.0}, 0.0),
    ]


def test_a_server_with_models_without_end_makes_no_series_without_end(speaking):
    watched = Watched(speaking)
    idle = page(LLAMA_CPP, 0, 0, 0, 0)
    head = "# TYPE vllm:generation_tokens_total counter\n"
    for step in range(3):
        lines = [f'vllm:generation_tokens_total{{model_name="m{n}"}} {step}\n' for n in range(200)]
        watched.look(100.0 * step, head + "".join(lines), idle)
    tokens = watched.told("wattvlm_served_output_tokens")
    own = {model: count for (server, model), count in tokens.items() if server == speaking[0].url}
    assert len(own) == MOST_MODELS + 1
    assert own[OTHERS] == 2.0 * (200 - MOST_MODELS)
    assert sum(own.values()) == 400.0

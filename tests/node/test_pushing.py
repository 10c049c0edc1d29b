"""What an OpenTelemetry collector gets of a node, decoded from what was sent over HTTP."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the extra wattvlm[otel]")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra wattvlm[otel]")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from wattvlm.exporting.telemetry import NoTelemetry
from wattvlm.host import Host
from wattvlm.node.families import Family, node_families
from wattvlm.node.pushing import INSTRUMENTS, pushing
from wattvlm.node.sensors import NodeSensors
from wattvlm.node.serving import Servers
from wattvlm.sensing import Absence, Channel, EnergyReading

SECOND = 1_000_000_000
CHANNELS = (
    Channel("gpu-0/board", "NVML energy counter", "virtual GPU", "gpu", "counter"),
    Channel("ram/model", "model of memory", "memory", "ram", "model"),
    Channel("node-0/cray", "node counter", "whole machine", "node", "counter"),
)


class Collector(HTTPServer):
    """Takes OTLP over HTTP; refuses the first `refusals` of them."""

    def __init__(self, refusals: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.refusals = refusals
        self.taken: list[ExportMetricsServiceRequest] = []
        self.asked = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        assert self.path == "/v1/metrics"
        if self.server.refusals:
            self.server.refusals -= 1
            self.send_response(400)
        else:
            self.server.taken.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
        self.end_headers()
        self.server.asked.release()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    running = Collector(getattr(request, "param", 0))
    yield running
    running.shutdown()
    running.server_close()


def node(seconds: int) -> list[Family]:
    sensors = NodeSensors()
    absent = Absence("cpu", "denied: only root may read RAPL", "CPU joules are absent", "chmod")
    sensors.opened("wattvlm.probes.virtual", CHANNELS, (absent,), {})
    for index in range(seconds + 1):
        for channel in CHANNELS:
            reading = EnergyReading(channel.name, index * SECOND, index * SECOND, 0, index * 100.0)
            sensors.read(channel, [reading])
    return [*node_families(Host(), sensors.seen(), seconds * SECOND), *Servers((), sensors).families()]


def points(request: ExportMetricsServiceRequest) -> dict[str, list[tuple[dict[str, str], float]]]:
    found = {}
    for of in request.resource_metrics:
        for metric in (each for scope in of.scope_metrics for each in scope.metrics):
            found[metric.name] = [
                (
                    {each.key: each.value.string_value for each in point.attributes},
                    point.as_double or float(point.as_int),
                )
                for point in getattr(metric, str(metric.WhichOneof("data"))).data_points
            ]
    return found


def test_joules_and_watts_stand_under_the_names_of_the_conventions(collector):
    told = node(10)
    with pushing(lambda: told, collector.url, 3600 * SECOND, Host(name="node-7", system="Linux", cpu="virtual CPU")):
        pass
    (request,) = collector.taken
    found = points(request)
    energies = {attributes["hw.id"]: (attributes, value) for attributes, value in found["hw.energy"]}
    assert energies["gpu-0"] == ({"hw.id": "gpu-0", "hw.type": "gpu", "wattvlm.method": "measured"}, 1000.0)
    assert energies["ram"][0]["wattvlm.method"] == "modelled"
    assert energies["ram"][0]["hw.type"] == "memory"
    assert found["hw.host.energy"] == [({"hw.id": "node-0", "wattvlm.method": "measured"}, 1000.0)]
    assert {attributes["hw.id"]: value for attributes, value in found["hw.power"]} == {"gpu-0": 100.0, "ram": 100.0}
    ((absent, one),) = found["wattvlm.sensor.absent"]
    assert (absent["wattvlm.reason"], absent["wattvlm.domain"], one) == ("denied", "cpu", 1.0)
    (of,) = request.resource_metrics
    resource = {each.key: each.value.string_value for each in of.resource.attributes}
    assert (resource["service.name"], resource["host.name"]) == ("wattvlm", "node-7")
    metrics = {metric.name: metric for scope in of.scope_metrics for metric in scope.metrics}
    assert metrics["hw.energy"].unit == "J"
    assert metrics["hw.energy"].sum.is_monotonic
    assert metrics["hw.power"].WhichOneof("data") == "gauge"


@pytest.mark.parametrize("collector", [1], indirect=True)
def test_a_sending_that_fails_loses_no_joule_since_counters_are_cumulative(collector):
    seconds = [10]
    with pushing(lambda: node(seconds[0]), collector.url, SECOND, Host()):
        assert collector.asked.acquire(timeout=20)  # refused
        seconds[0] = 20
    found = points(collector.taken[-1])
    assert max(value for _, value in found["hw.energy"]) == 2000.0


def test_every_family_that_is_no_fact_of_the_host_is_sent():
    names = {family.name for family in node(1)}
    facts = {name for name in names if name.startswith(("wattvlm_host_", "wattvlm_build", "wattvlm_sensor_info"))}
    assert set(INSTRUMENTS) == names - facts
    kinds = {family.name: (family.kind, family.unit) for family in node(1)}
    assert {name: (kind, unit) for name, (kind, unit, _) in INSTRUMENTS.items()} == {
        name: kinds[name] for name in INSTRUMENTS
    }


def test_an_address_that_is_none_is_told():
    with pytest.raises(NoTelemetry, match="Cure"), pushing(lambda: (), "127.0.0.1:4318", SECOND):
        pass

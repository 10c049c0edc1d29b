"""Simulated nodes of a fleet, and what each tells when it is scraped: the exporter's own code on made-up readings."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from wattvlm.host import Host
from wattvlm.node.endpoint import text
from wattvlm.node.families import Family, node_families
from wattvlm.node.sensors import NodeSensors
from wattvlm.node.serving import Servers
from wattvlm.sensing import Absence, Channel, EnergyReading
from wattvlm.units import NS_PER_S
from wattvlm.watching.metrics import Metric, parse_by_model
from wattvlm.watching.server import MetricsPage

GPUS = 8
SOCKETS = 2


def channels(node: int) -> list[Channel]:
    """A node of eight GPUs and two CPU sockets with memory."""
    found = [
        Channel(
            f"gpu-{node:08x}-0000-4000-8000-{gpu:012x}/board", "NVML energy counter", "Virtual GPU", "gpu", "counter"
        )
        for gpu in range(GPUS)
    ]
    for socket in range(SOCKETS):
        found.append(Channel(f"cpu-{socket}/package", "RAPL package", "Virtual CPU", "cpu", "counter"))
        found.append(Channel(f"cpu-{socket}/dram", "RAPL memory", f"memory of cpu-{socket}", "ram", "counter"))
    return found


_POWER_W = {"gpu": 450.0, "cpu": 180.0, "ram": 25.0}


class SimulatedPage(MetricsPage):
    """The metrics of a server and its models, which all do the same."""

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__("http://127.0.0.1:8000")
        self.models = models
        self.requests = 0

    def read_by_model(self) -> tuple[dict[str, dict[str, Metric]], str]:
        counts = {"request_success": self.requests, "prompt_tokens": 900 * self.requests}
        counts["generation_tokens"] = 300 * self.requests
        labels = [f'{{model_name="{model}"}}' for model in self.models]
        lines = ["# TYPE vllm:num_requests_running gauge"]
        lines += [f"vllm:num_requests_running{label} {self.requests % 40}" for label in labels]
        for name, count in counts.items():
            lines.append(f"# TYPE vllm:{name}_total counter")
            lines += [f"vllm:{name}_total{label} {count}" for label in labels]
        return parse_by_model("\n".join(lines) + "\n"), ""


class SimulatedNode:
    """One node whose powers wander, and a server on it."""

    def __init__(self, number: int, models: int = 1) -> None:
        self.name = f"node-{number}"
        self._drawn = random.Random(number)
        self._channels = channels(number)
        self._joules = {channel.name: self._drawn.uniform(0, 1e6) for channel in self._channels}
        self._sensors = NodeSensors()
        absent = Absence("node", "no sensor of the whole node", "the node's joules are absent", "none")
        self._sensors.opened("wattvlm.probes.simulated:PROBE", self._channels, (absent,), {"driver": "570.86"})
        self._page = SimulatedPage([f"model-{(number + model) % 200}" for model in range(models)])
        self._servers = Servers([self._page], self._sensors)
        self._host = Host(name=self.name, system="Linux", cpu="Virtual CPU", cpu_threads=192, memory_bytes=2**41)
        self._time_ns = 0
        self._lock = threading.Lock()

    def move_on(self, duration_ns: int) -> None:
        """Readings so much later."""
        with self._lock:
            duration_s = duration_ns / NS_PER_S
            time_ns = self._time_ns = self._time_ns + duration_ns
            for channel in self._channels:
                power_w = _POWER_W[channel.domain] * self._drawn.uniform(0.4, 1.3)
                self._joules[channel.name] = round(self._joules[channel.name] + power_w * duration_s, 3)
                value_j = self._joules[channel.name]
                self._sensors.read(channel, [EnergyReading(channel.name, time_ns, time_ns, 0, value_j)])
            self._page.requests += int(self._drawn.uniform(0, 8) * duration_s)
            self._servers.look()

    def told(self) -> Iterator[Family]:
        """What it tells now."""
        yield from node_families(self._host, self._sensors.seen(), self._time_ns)
        yield from self._servers.families()

    def page(self) -> str:
        """The text of one scrape."""
        return text(self.told)


class _Answering(BaseHTTPRequestHandler):
    nodes: ClassVar[Mapping[str, SimulatedNode]] = {}

    def do_GET(self) -> None:
        node = self.nodes[self.path.split("/")[1]]
        node.move_on(NS_PER_S * 15)
        body = node.page().encode()
        with suppress(BrokenPipeError):  # Prometheus ends in the middle of a scrape
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


@contextmanager
def answering(count: int) -> Iterator[int]:
    """So many nodes behind one port, /node-N/metrics each; gives the port."""
    nodes = [SimulatedNode(number) for number in range(count)]
    handler = type("_OfTheseNodes", (_Answering,), {"nodes": {node.name: node for node in nodes}})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""What a fleet of exporters costs: series, scrapes, bytes, memory over a month, and clocks of nodes that differ.

python -m benchmarks fleet --prometheus /usr/bin/prometheus

The exporter's own code on simulated nodes of eight GPUs. With a Prometheus (and promtool beside it) 1,000 of them are
scraped for real, and a day of one node is written as its blocks, to count bytes a sample.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.fleet_nodes import SimulatedNode, answering
from benchmarks.tables import show
from wattvlm import analyze
from wattvlm.node.sensors import NodeSensors, read_channels
from wattvlm.recording import Readings, Recording
from wattvlm.testing import (
    FakeClock,
    PowerCurve,
    VirtualGpu,
    VirtualMachine,
    VirtualNvml,
    VirtualSensor,
    append_load,
)
from wattvlm.testing.serving import Served, serve
from wattvlm.testing.traffic import Traffic
from wattvlm.units import BILLION, MILLION, NS_PER_MS, NS_PER_S

SCRAPE_S = 15
DAY_S = 86_400
FLEET_NODES = 1250
"""Of eight GPUs each: 10,000 GPUs."""

STATED_BYTES = 1.3
"""A sample in Prometheus' blocks: "an average of only 1-2 bytes" (prometheus.io, Storage); 1.37 in Gorilla's paper."""


def run(options: Sequence[str] = ()) -> None:
    """All tables; those that need Prometheus only where there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fleet", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--days", type=float, default=30.0, help="of the exporter on a clock that jumps")
    parser.add_argument("--minutes", type=float, default=2.0, help="of a real Prometheus that scrapes all nodes")
    parser.add_argument("--sessions", type=int, default=3, help="of a simulated server, an offset of clocks")
    parser.add_argument("--prometheus", default=shutil.which("prometheus"))
    chosen = parser.parse_args(options)
    promtool = None if chosen.prometheus is None else shutil.which(str(Path(chosen.prometheus).with_name("promtool")))
    of_one_node(None if promtool is None else bytes_a_sample(promtool))
    own_process()
    month(chosen.days)
    clocks(chosen.sessions)
    if chosen.prometheus is None:
        print("\nNo Prometheus was found: its tables are left out. --prometheus names one.")
    else:
        scraped(chosen.prometheus, chosen.nodes, chosen.minutes)


def of_one_node(measured_bytes: float | None) -> None:
    """Series, page and times of one node, and what a fleet of them makes."""
    node, full = SimulatedNode(1), SimulatedNode(1, models=100)
    for each in (node, full):
        for _ in range(10):
            each.move_on(NS_PER_S)
    page = node.page()
    series, most = (sum(not line.startswith("#") for line in each.page().splitlines()) for each in (node, full))
    took_ms = 1e3 * statistics.median(_timed(node.page) for _ in range(50))
    a_day = FLEET_NODES * series * DAY_S / SCRAPE_S
    rows = [
        ("series of a node (8 GPUs, 2 CPUs, memory, a server of one model)", str(series)),
        ("the same with a server of 100 models", str(most)),
        ("page of a scrape, and gzip", f"{len(page) / 1e3:.0f} kB, {len(gzip.compress(page.encode())) / 1e3:.1f} kB"),
        ("time to make it", f"{took_ms:.1f} ms"),
        (f"of a core, scraped each {SCRAPE_S} s", f"{took_ms / 1e3 / SCRAPE_S:.2%}"),
        ("series of 10,000 GPUs", f"{FLEET_NODES * series:,}"),
        ("samples a second", f"{FLEET_NODES * series / SCRAPE_S:,.0f}"),
        ("samples a day", f"{a_day / BILLION:.2f} billion"),
        (f"bytes a day at {STATED_BYTES} a sample (stated)", f"{a_day * STATED_BYTES / BILLION:.1f} GB"),
    ]
    if measured_bytes is not None:
        rows.append(
            (f"bytes a day at {measured_bytes:.2f} a sample (measured)", f"{a_day * measured_bytes / BILLION:.1f} GB")
        )
    show("One node, and 10,000 GPUs", ("what", "how much"), rows)


def _timed(work: Any) -> float:
    before_s = time.perf_counter()
    work()
    return time.perf_counter() - before_s


def bytes_a_sample(promtool: str) -> float:
    """A day of one node's scrapes, written as Prometheus' blocks."""
    node = SimulatedNode(2)
    samples = 0
    start_s = 1_700_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: dict[str, list[str]] = {}
        heads: dict[str, str] = {}
        for step in range(DAY_S // SCRAPE_S):
            node.move_on(SCRAPE_S * NS_PER_S)
            for line in node.page().splitlines():
                if line.startswith("# TYPE"):
                    _, _, metric, kind = line.split()
                    heads[metric] = kind
                elif not line.startswith("#"):
                    series, _, value = line.rpartition(" ")
                    rows.setdefault(series.partition("{")[0], []).append(
                        f"{series} {value} {start_s + step * SCRAPE_S}\n"
                    )
                    samples += 1
        with (folder / "day.om").open("w") as file:
            for metric, lines in rows.items():
                plain = metric.removesuffix("_total") if heads.get(metric) == "counter" else metric
                file.write(f"# TYPE {plain} {heads.get(metric, 'unknown')}\n" + "".join(lines))
            file.write("# EOF\n")
        command = [
            promtool,
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            str(folder / "day.om"),
            str(folder / "stored"),
        ]
        subprocess.run(command, check=True, capture_output=True)
        stored = sum(path.stat().st_size for path in (folder / "stored").rglob("*") if path.is_file())
    return stored / samples


READ_EVERY_S = 10
"""Of the month; the service reads each second, which is ten times the work for the same sums."""


def _is_past(clock: FakeClock, until_ns: int) -> bool:
    return clock.monotonic_ns() >= until_ns


def month(days: float) -> None:
    """The exporter's own reading of two sensors on a clock that jumps: memory, and how right its joules are."""
    clock = FakeClock()
    board = VirtualSensor("gpu-0/board", period_ns=100 * NS_PER_MS, max_power_w=700.0)
    package = VirtualSensor("cpu-0/package", domain="cpu", period_ns=NS_PER_MS, wraps_at_j=262_143.3, max_power_w=400.0)
    curves = {"gpu": PowerCurve([(0, 300.0)]), "cpu": PowerCurve([(0, 90.0)])}
    probe = VirtualMachine(curves, [board, package], clock=clock).probe()
    into = NodeSensors()
    opened = into.opened("virtual", probe.open().channels, (), {})
    rows: list[tuple[str, ...]] = []
    tracemalloc.start()
    for part in (1 / 30, 1 / 3, 1.0):
        until_ns = int(part * days * DAY_S * NS_PER_S)
        read_channels(partial(_is_past, clock, until_ns), probe, opened, clock, into, READ_EVERY_S * NS_PER_S)
        memory = tracemalloc.get_traced_memory()[0]
        gpu, cpu = into.seen().tallies
        true_j = clock.monotonic_ns() / NS_PER_S
        errors = (gpu.energy_j / (300.0 * true_j) - 1, cpu.energy_j / (90.0 * true_j) - 1)
        reads = f"{gpu.reads + cpu.reads:,}"
        rows.append((f"{part * days:.1f}", reads, f"{memory / 1e3:.0f} kB", *(f"{error:+.5%}" for error in errors)))
    tracemalloc.stop()
    header = (
        "days",
        "reads",
        "Python memory (goal: constant)",
        "GPU joules against truth",
        "CPU joules (wraps each 48 min)",
    )
    show("A month of the exporter, on a clock that jumps", header, rows)


PROCESS_S = 30.0


def own_process() -> None:
    """The service itself for half a minute beside eight virtual GPUs that the real pynvml reads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loads = [folder / f"gpu{number}.load" for number in range(8)]
        for load in loads:
            append_load(load, [(0, 300.0)])
        library = VirtualNvml(
            folder, [VirtualGpu(load=load, uuid=f"GPU-{number}") for number, load in enumerate(loads)]
        )
        library.build()
        port = _free_port()
        command = [sys.executable, "-c", "from wattvlm.cli import main; main()", "export", "--listen", str(port)]
        with subprocess.Popen(command, env=library.environment(), stderr=subprocess.PIPE, text=True) as service:
            assert service.stderr is not None
            service.stderr.readline()
            time.sleep(3.0)
            process = psutil.Process(service.pid)
            before_s, until_s = sum(process.cpu_times()[:2]), time.monotonic() + PROCESS_S
            while time.monotonic() < until_s:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    page = answer.read().decode()
                time.sleep(5.0)
            used = (sum(process.cpu_times()[:2]) - before_s) / PROCESS_S
            memory = process.memory_info().rss
            service.terminate()
    gpus = page.count('wattvlm_energy_joules_total{device="gpu')
    rows = [(str(gpus), f"{used:.1%}", f"{memory / MILLION:.0f} MB")]
    note = f"{PROCESS_S:g} s, a scrape each 5 s; the virtual driver's own work is in it."
    show("The service itself", ("GPUs that it reads", "of a core", "memory"), rows, note)


OFFSETS_MS = (0, 1, 5, 20, 100, 500)


def clocks(sessions: int) -> None:
    """Joules of requests whose times come from another node's clock than the sensor's."""
    rows: list[tuple[str, ...]] = []
    loads = (("one at a time", Traffic(0.25, 30)), ("6 a second", Traffic(6.0, 200)))
    found = {(name, offset): _errors(traffic, offset, sessions) for name, traffic in loads for offset in OFFSETS_MS}
    for offset in OFFSETS_MS:
        cells: list[str] = []
        for name, _ in loads:
            errors, covered, total = found[name, offset]
            cells += [f"{np.sqrt(np.mean(np.square(errors))):.1%}", f"{covered:.0%}", f"{total:+.2%}"]
        rows.append((f"{offset} ms", *cells))
    header = (
        "offset",
        *(f"{what}, {name}" for name, _ in loads for what in ("RMS a request", "covered", "sum of all")),
    )
    note = f"{sessions} sessions each; sensor and requests on clocks that differ by this much."
    show("Clocks of two nodes that differ", header, rows, note)


def _errors(traffic: Traffic, offset_ms: int, sessions: int) -> tuple[list[float], float, float]:
    errors: list[float] = []
    covered: list[bool] = []
    sums: list[float] = []
    for seed in range(sessions):
        phase_ns = seed * 7_919_993 % (100 * NS_PER_MS)
        sensor = VirtualSensor("gpu-0/board", jitter_ns=3 * NS_PER_MS, phase_ns=phase_ns, max_power_w=700.0)
        served: Served = serve(traffic.drawn(seed), [sensor], seed)
        calls = analyze(_shifted(served.recording, offset_ms * NS_PER_MS)).calls
        energies = [call.total.energies["gpu"].energy for call in calls]
        truth_j = served.shapley_j
        errors += [energy.middle_j / true - 1 for energy, true in zip(energies, truth_j, strict=True)]
        covered += [
            each.interval_j[0] <= true <= each.interval_j[1] for each, true in zip(energies, truth_j, strict=True)
        ]
        sums.append(sum(energy.middle_j for energy in energies) / float(np.sum(truth_j)) - 1)
    return errors, float(np.mean(covered)), float(np.mean(sums))


def _shifted(recording: Recording, offset_ns: int) -> Recording:
    """The sensor's readings as another clock stamps them."""
    moved = {
        name: Readings(
            each.channel, each.time_ns + offset_ns, each.unchanged_at_ns + offset_ns, each.took_ns, each.value
        )
        for name, each in recording.readings.items()
    }
    return replace(recording, readings=moved)


def scraped(prometheus: str, nodes: int, minutes: float) -> None:
    """A real Prometheus scrapes all nodes of a simulated fleet."""
    with tempfile.TemporaryDirectory() as name, answering(nodes) as port:
        folder = Path(name)
        targets = [
            {"targets": [f"127.0.0.1:{port}"],
             "labels": {"__metrics_path__": f"/node-{node}/metrics", "instance": f"node-{node}"}}
            for node in range(nodes)
        ]  # fmt: skip
        rules = Path(__file__).parents[1] / "examples/fleet/wattvlm.rules.yml"
        settings = {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "30s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "wattvlm", "static_configs": targets}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        own = _free_port()
        command = [prometheus, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/stored",
                   f"--web.listen-address=127.0.0.1:{own}"]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                time.sleep(60.0 * minutes)
                _show_scraped(f"http://127.0.0.1:{own}", psutil.Process(process.pid), folder / "stored", nodes, minutes)
            finally:
                process.terminate()


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _show_scraped(url: str, process: psutil.Process, stored: Path, nodes: int, minutes: float) -> None:
    def value(query: str) -> float:
        with urllib.request.urlopen(f"{url}/api/v1/query?query={urllib.parse.quote(query)}", timeout=60) as answer:
            found: Any = json.load(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else float("nan")

    used = process.cpu_times()
    middle, most = (1e3 * value(f"quantile({part}, scrape_duration_seconds)") for part in (0.5, 0.99))
    on_disk = sum(each.stat().st_size for each in stored.rglob("*") if each.is_file())
    rows = [
        ("nodes that were scraped", f"{value('sum(up)'):,.0f} of {nodes:,}"),
        ("GPUs whose joules are there", f"{value(FLEET_GPUS):,.0f}"),
        ("series", f"{value(FLEET_SERIES):,.0f}"),
        ("a scrape, middle and 99th of a hundred", f"{middle:.0f} ms, {most:.0f} ms"),
        ("watts of all GPUs, one query", f"{1e3 * _timed(lambda: value(FLEET_WATTS)):.0f} ms"),
        ("memory of Prometheus", f"{process.memory_info().rss / MILLION:.0f} MB"),
        ("processor time of Prometheus", f"{(used.user + used.system) / (60 * minutes):.2f} of a core"),
        ("its log on disk", f"{on_disk / MILLION:.0f} MB"),
    ]
    title = f"A real Prometheus over {nodes:,} nodes for {minutes:g} minutes"
    note = f"Scraped each {SCRAPE_S} s; the nodes run on the same machine, so a scrape waits for them too."
    show(title, ("what", "how much"), rows, note)


FLEET_WATTS = 'sum(rate(wattvlm_energy_joules_total{domain="gpu"}[1m]))'
FLEET_GPUS = 'count(wattvlm_energy_joules_total{domain="gpu"})'
FLEET_SERIES = 'count({job="wattvlm"})'

if __name__ == "__main__":
    run()

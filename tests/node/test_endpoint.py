"""What a scrape of the exporter gets, over HTTP, and how the service begins and ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from wattvlm.cli import main
from wattvlm.exporting.endpoint import NoEndpoint
from wattvlm.node.endpoint import endpoint, text
from wattvlm.node.session import reading
from wattvlm.sensing import ProbeSource

pytest.importorskip("prometheus_client", reason="needs the extra wattvlm[prometheus]")

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
COUNTER = (ProbeSource("tests.sampling.tiny_probes:Counter"),)  # 100 W, a tick each 20 ms
POWER_W = 100.0


def scraped(port: int) -> dict[str, tuple[dict[str, str], float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {each.name: (each.labels, each.value) for family in families for each in family.samples}


def test_a_scrape_gets_counters_that_rise_by_the_watts_with_the_same_labels_each_time():
    with reading(probes=COUNTER) as node, endpoint(node.told, 0) as port:
        until_s = time.monotonic() + 10
        while "wattvlm_power_watts" not in (before := scraped(port)) and time.monotonic() < until_s:
            time.sleep(0.2)
        time.sleep(1.1)
        after = scraped(port)
    labels, energy_j = before["wattvlm_energy_joules_total"]
    assert labels == {"domain": "gpu", "phase": "all", "device": "gpu-0", "method": "measured"}
    assert after["wattvlm_energy_joules_total"][0] == labels
    assert after["wattvlm_energy_joules_total"][1] > energy_j
    assert after["wattvlm_power_watts"][1] == pytest.approx(POWER_W, rel=0.1)
    assert after["wattvlm_sensor_up"] == ({"channel": "gpu-0/board"}, 1.0)
    assert after["wattvlm_sensor_absent"][0] == {
        "domain": "cpu", "reason": "missing", "probe": "tests.sampling.tiny_probes", "what": "no counter of the CPU",
    }  # fmt: skip
    assert after["process_resident_memory_bytes"][1] > 0
    assert after["wattvlm_host_info"][0]["driver"] == "1.2"


def test_names_and_units_follow_the_conventions_of_prometheus():
    with reading(probes=COUNTER) as node:
        found = text(node.told)
    families = {each.name: each.type for each in text_string_to_metric_families(found)}
    counters = {name for name, kind in families.items() if kind == "counter"}
    assert {f"{name}_total" for name in counters} <= set(re.findall(r"^# TYPE (\S+) counter", found, re.MULTILINE))
    assert not {name for name in families if re.search(r"_(j|w|ns|ms|mj|kwh)$", name)}
    assert all(f"# HELP {name}" in found for name in families)


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NoEndpoint, match="nothing is exported"), endpoint(lambda: (), port):
            pass
        done = CliRunner().invoke(main, ["export", "--listen", str(port)])
    assert done.exit_code == 3
    assert f"127.0.0.1:{port}" in done.output


def test_a_server_on_another_machine_is_refused():
    done = CliRunner().invoke(main, ["export", "--server", "http://192.0.2.1:8000", "--once"])
    assert done.exit_code == 2
    assert "not this machine" in done.output


def test_the_service_ends_at_sigterm_with_its_port_free_again():
    command = [sys.executable, "-c", "from wattvlm.cli import main; main()", "export", "--listen", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        line = service.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", line)
        assert found is not None, line
        port = int(found[1])
        assert scraped(port)["wattvlm_build"][1] == 1.0
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
    with pytest.raises(urllib.error.URLError):
        scraped(port)

"""The worked third-party sensor: found through its entry point, read from a real HTTP server, added to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

PACKAGE = Path(__file__).parents[2] / "examples/wall_meter"
ENTRY_POINTS = "[wattvlm.probes]\nwall_meter = wattvlm_wall_meter:WallMeter\n"

PROGRAM = """
import json, time
import wattvlm
from wattvlm.sampling.discovery import third_party_sources
from wattvlm.sensing import ProbeSource

plug = [source for source in third_party_sources() if "wall_meter" in source.target]
gpu = ProbeSource("tests.sampling.tiny_probes:Counter")
with wattvlm.meter(probes=[*plug, gpu]) as m:
    time.sleep(2.5)
report = m.report
energies = {domain: float(part.energy) for domain, part in report.block.energies.items()}
print(json.dumps([len(plug), energies, float(report.joules("block")), [each.what for each in report.absent]]))
"""


class Plug(BaseHTTPRequestHandler):
    """A smart plug: the whole machine draws 400 W."""

    def do_GET(self) -> None:
        body = json.dumps({"id": 0, "apower": 400.0, "voltage": 230.1}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Plug)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/rpc/Switch.GetStatus?id=0"
    server.shutdown()
    server.server_close()


@pytest.fixture
def metered(tmp_path, monkeypatch):
    """What the program prints with the package installed (its files and its entry points on the path)."""
    installed = tmp_path / "wattvlm_wall_meter-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: wattvlm-wall-meter\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "wattvlm_wall_meter.py").write_text((PACKAGE / "wattvlm_wall_meter.py").read_text())

    def run(url):
        monkeypatch.setenv("WALL_METER_URL", url)
        path = f"{tmp_path}:{PACKAGE.parents[1]}"
        monkeypatch.setenv("PYTHONPATH", path)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_package_states_the_entry_point_that_is_tested() -> None:
    stated = (PACKAGE / "pyproject.toml").read_text()
    assert '[project.entry-points."wattvlm.probes"]\nwall_meter = "wattvlm_wall_meter:WallMeter"' in stated


def test_a_wall_meter_gives_the_joules_of_the_node_and_they_are_added_to_no_other(metered, address):
    found, energies, joules, _ = metered(address)
    assert found == 1
    assert energies["node"] == pytest.approx(400.0 * 2.5, rel=0.2)
    assert energies["gpu"] == pytest.approx(100.0 * 2.5, rel=0.2)
    assert joules == energies["gpu"]


def test_a_wall_meter_that_does_not_answer_is_absent_with_the_cure(metered):
    _, energies, _, absent = metered("http://127.0.0.1:9/")
    assert "node" not in energies
    assert any("wall meter at http://127.0.0.1:9/ gave no power" in what for what in absent)


def test_without_an_address_there_is_nothing_to_say(metered):
    _, energies, _, absent = metered("")
    assert "node" not in energies
    assert not any("wall" in what for what in absent)

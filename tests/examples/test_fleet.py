"""The files for a fleet: rules, dashboard, units and DaemonSet name what there is, and a real Prometheus takes them."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from wattvlm.cli import main
from wattvlm.host import this_host
from wattvlm.node.endpoint import endpoint
from wattvlm.node.families import node_families
from wattvlm.node.sensors import NodeSensors
from wattvlm.node.serving import Servers
from wattvlm.node.session import reading
from wattvlm.sensing import ProbeSource

yaml = pytest.importorskip("yaml", reason="needs PyYAML: the extra wattvlm[docs]")

FLEET = Path(__file__).parents[2] / "examples/fleet"
RULES = yaml.safe_load((FLEET / "wattvlm.rules.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((FLEET / "dashboard.json").read_text())
METRIC = re.compile(r"(?<![\w:\"])((?:[a-z_]+:)?wattvlm_[a-z0-9_]+(?::\w+)?|process_\w+)")


def tool(name: str) -> str:
    """A program of Prometheus or systemd; the test is skipped where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's packages prometheus and systemd have these)")
    return found


def exported() -> dict[str, tuple[str, ...]]:
    """Every series that `wattvlm export` may give, and its labels."""
    sensors = NodeSensors()
    families = [*node_families(this_host(), sensors.seen(), 0), *Servers((), sensors).families()]
    return {f"{each.name}_total" if each.kind == "counter" else each.name: each.labels for each in families}


def recorded() -> dict[str, str]:
    return {rule["record"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_alerts_ask_only_for_what_is_exported():
    known = set(exported()) | set(recorded())
    asked = {name for group in RULES["groups"] for rule in group["rules"] for name in METRIC.findall(rule["expr"])}
    assert len(asked) >= 10
    assert asked - known == set()


def test_every_panel_asks_only_for_what_is_exported_or_recorded_and_by_labels_that_there_are():
    known = set(exported()) | set(recorded())
    for expression in expressions():
        names = METRIC.findall(expression)
        assert names
        assert {name for name in names if not name.startswith("process_")} - known == set()
    labels = {label for of in exported().values() for label in of} | {"instance", "job"}
    legends = {label for panel in DASHBOARD["panels"] for target in panel["targets"]
               for label in re.findall(r"{{(\w+)}}", target["legendFormat"])}  # fmt: skip
    assert legends <= labels


def test_grafanas_own_schema_of_a_dashboard_takes_every_field():
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="pip install grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    read = json.loads(JSONEncoder().encode(models.Dashboard.from_json(DASHBOARD)))
    assert list(lost(DASHBOARD, read)) == []
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) >= 12


def lost(written: Any, read: Any, place: str = "") -> Iterator[str]:
    """What of a file its reader did not keep."""
    if isinstance(written, dict):
        for name, value in written.items():
            if name in read:
                yield from lost(value, read[name], f"{place}/{name}")
            else:
                yield f"{place}/{name}"
    elif isinstance(written, list):
        for number, (value, kept) in enumerate(zip(written, read, strict=True)):
            yield from lost(value, kept, f"{place}/{number}")
    elif written != read:
        yield f"{place}: {written!r} became {read!r}"


def test_promtool_takes_the_rules_and_they_give_what_is_stated_for_known_counters():
    run(tool("promtool"), "check", "rules", FLEET / "wattvlm.rules.yml")
    run(tool("promtool"), "test", "rules", FLEET / "wattvlm.rules.test.yml")
    run(tool("promtool"), "check", "config", FLEET / "prometheus.yml")


def test_promtool_parses_the_query_of_every_panel(tmp_path):
    rules = [{"record": f"panel:{number}", "expr": expression.replace("$instance", ".*")}
             for number, expression in enumerate(expressions())]  # fmt: skip
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    run(tool("promtool"), "check", "rules", tmp_path / "panels.yml")


@pytest.mark.parametrize("name", ["wattvlm-export.service", "wattvlm-rapl.service"])
def test_the_units_are_sound_and_ask_for_no_right_that_they_do_not_need(name, tmp_path):
    text = (FLEET / name).read_text()
    for wanted in ("NoNewPrivileges=yes", "CapabilityBoundingSet=\n", "ProtectSystem=strict", "ProtectHome=yes"):
        assert wanted in text
    known_options(re.findall(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)[0].split())
    analyze = tool("systemd-analyze")
    (tmp_path / name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    run(analyze, "verify", "--man=no", tmp_path / name)


def known_options(words: list[str]) -> None:
    """A command of ours with options that it has."""
    command = main.get_command(click.Context(main), words[0])
    assert command is not None
    options = {each for parameter in command.params for each in parameter.opts}
    assert {word for word in words[1:] if word.startswith("--")} <= options


def test_the_daemon_set_runs_our_commands_and_only_the_reader_of_rapl_as_root_without_capabilities():
    _, daemon_set = yaml.safe_load_all((FLEET / "daemonset.yml").read_text())
    assert (daemon_set["apiVersion"], daemon_set["kind"]) == ("apps/v1", "DaemonSet")
    template = daemon_set["spec"]["template"]
    assert daemon_set["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    pod = template["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    users = {}
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert "privileged" not in rights
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        assert all(mount.get("readOnly") for mount in container["volumeMounts"] if "hostPath" in volumes[mount["name"]])
        assert container["args"][0] == "wattvlm"
        known_options(container["args"][1:])
        users[container["name"]] = rights["runAsUser"]
    assert [name for name, user in users.items() if user == 0] == ["rapl"]
    assert pod.get("hostPID") is None
    assert pod.get("hostNetwork") is None


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def asked(prometheus: str, query: str) -> list[Any]:
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?query={urllib.parse.quote(query)}", timeout=10) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


def test_a_real_prometheus_scrapes_the_exporter_and_finds_its_watts(tmp_path):
    program = tool("prometheus")
    probes = (ProbeSource("tests.sampling.tiny_probes:Counter"),)  # 100 W
    with reading(probes=probes) as node, endpoint(node.told, 0) as port:
        rules = (
            (FLEET / "wattvlm.rules.yml").read_text().replace("interval: 1m", "interval: 1s").replace("[5m]", "[4s]")
        )
        (tmp_path / "rules.yml").write_text(rules)
        scraping = [{"job_name": "wattvlm", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]
        settings = {"global": {"scrape_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": scraping}
        (tmp_path / "prometheus.yml").write_text(json.dumps(settings))
        own = free_port()
        command = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/stored",
                   f"--web.listen-address=127.0.0.1:{own}"]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as prometheus:
            try:
                watts = wait_for(f"http://127.0.0.1:{own}", "instance_domain_method:wattvlm_power_watts:rate5m")
                assert asked(f"http://127.0.0.1:{own}", 'up{job="wattvlm"} == 1')
                assert asked(f"http://127.0.0.1:{own}", "wattvlm_sensor_absent")
                (resets,) = asked(f"http://127.0.0.1:{own}", "resets(wattvlm_energy_joules_total[1m])")
            finally:
                prometheus.terminate()
    assert watts == pytest.approx(100.0, rel=0.2)
    assert float(resets["value"][1]) == 0.0


def wait_for(prometheus: str, query: str) -> float:
    """The value of a query once it has had a few seconds to settle."""
    until_s = time.monotonic() + 40
    values: list[float] = []
    while time.monotonic() < until_s:
        try:
            values += [float(each["value"][1]) for each in asked(prometheus, query)]
        except (OSError, urllib.error.URLError):
            values.clear()
        if len(values) >= 4:
            return values[-1]
        time.sleep(1.0)
    raise AssertionError(f"no {query} within 40 s")

"""The pytest plugin as its users see it: a real pytest in a process of its own, on a virtual GPU."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Project:
    """A folder with tests of a user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(Path(__file__).with_name("fake_gpu_conftest.py"), folder / "conftest.py")
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")

    def write(self, tests: str, name: str = "test_energy.py") -> None:
        (self.folder / name).write_text(f"import time\nimport pytest\n\n{tests}")

    def run(self, *options: str, **environment: str) -> tuple[int, str]:
        """(exit status, what it printed)."""
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "wattvlm.pytest_plugin", "-p", "no:cacheprovider", "-q", *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def joules_of(test: str, output: str) -> tuple[float, float]:
    """(J/request, half-width) in the table's row of a test."""
    found = re.search(rf"{re.escape(test)}\s+([\d.]+) ±([\d.]+)", output)
    assert found is not None, output
    return float(found[1]), float(found[2])


@pytest.mark.alone
def test_a_function_is_repeated_until_its_joules_are_known_and_its_bounds_are_held(project):
    project.write("""
@pytest.mark.energy(rounds=10, joules_per_request=40)
def test_within(energy_benchmark, work):
    assert energy_benchmark(work) == "done"
    assert energy_benchmark.report.requests >= 10

@pytest.mark.energy(rounds=10, joules_per_request=9, latency_s=5)
def test_over(energy_benchmark, work):
    energy_benchmark(work)
""")
    status, output = project.run()
    assert status == 1, output
    assert "1 failed, 1 passed" in output
    assert re.search(r"joules_per_request is 1[5-9].* all of it is over the bound of 9 J. Cure: ", output), output
    middle, half = joules_of("test_energy.py::test_within", output)
    assert 300 * 0.06 - half - 1 < middle < 300 * 0.09 + half, output
    assert "joules: 2 checks, 1 failed" in output


@pytest.mark.alone
def test_nothing_breaks_what_fails_is_skipped_is_parametrised_or_never_measures(project):
    project.write("""
@pytest.mark.energy(rounds=5)
@pytest.mark.parametrize("power_w", [200.0, 400.0])
def test_power(energy_benchmark, work, power_w):
    energy_benchmark(work, power_w, seconds=0.06)

def test_fails_in_the_function(energy_benchmark):
    energy_benchmark(lambda: 1 / 0)

@pytest.mark.energy(joules_per_request=1)
class TestClass:
    def test_asserts(self, energy_benchmark):
        assert False, "before anything was measured"

    def test_skipped(self, energy_benchmark):
        pytest.skip("no model here")

    def test_never_measured(self):
        pass

@pytest.mark.energy(joule_per_request=1)
def test_misspelt(energy_benchmark):
    pass

def test_coroutine(energy_benchmark):
    async def answer():
        return 1
    with pytest.raises(TypeError, match="asyncio.run"):
        energy_benchmark(answer)

def test_plain():
    pass
""")
    status, output = project.run("-rs")
    assert status == 1
    assert "3 failed, 4 passed, 1 skipped, 1 error" in output, output
    assert "ZeroDivisionError" in output
    assert "the test measured nothing. Cure: " in output
    assert "'joule_per_request' is no metric" in output
    low, high = (joules_of(f"test_energy.py::test_power[{power}]", output)[0] for power in ("200.0", "400.0"))
    assert 1.6 < high / low < 2.4
    assert "checked against nothing" in output


@pytest.mark.alone
def test_a_window_that_cannot_be_told_from_idle_is_too_short_and_not_zero_joules(project):
    project.write("""
@pytest.mark.energy(rounds=5, joules_per_request=1)
def test_idle(energy_benchmark, work):
    energy_benchmark(work, 70.0)
""")
    status, output = project.run("--energy-max-time=1")
    assert status == 0, output
    assert re.search(r"test_idle\s+too short", output), output
    assert "would draw idle" in output
    assert "joules: 0 checks, 0 failed, 1 not checked (too short)" in output


@pytest.mark.parametrize("sensor", ["none", "model"])
def test_without_a_sensor_the_functions_run_and_joules_are_said_not_to_be_checked(project, sensor):
    project.write("""
@pytest.mark.energy(rounds=5, joules_per_request=0.001)
def test_it(energy_benchmark, work):
    assert energy_benchmark(work) == "done"
""")
    status, output = project.run(VIRTUAL_GPU=sensor)
    assert status == 0, output
    assert "joules: not checked (no sensor)" in output
    assert "±" not in output.split("test_it")[1]


@pytest.mark.alone
def test_a_test_that_costs_more_than_its_baseline_fails_and_is_accepted_by_saving(project):
    project.write("""
@pytest.mark.energy(rounds=8)
def test_call(energy_benchmark, work):
    energy_benchmark(work, seconds=0.1)
""")
    status, output = project.run("--energy-save")
    assert status == 0, output
    saved = project.folder / "energy-baselines/baseline.json"
    assert str(saved) in output
    first = saved.read_text()
    assert first.count("\n") > 40
    assert socket.gethostname() not in first
    status, output = project.run("--energy-compare-fail=joules_per_request:15%", "--energy-require")
    assert status == 0, output
    assert "against baseline" in output
    assert "joules: 1 checks, 0 failed" in output
    gated = ("--energy-compare=baseline", "--energy-compare-fail=joules_per_request:15%")
    status, output = project.run(*gated, VIRTUAL_MORE="1.6")
    assert status == 1, output
    found = re.search(
        r"joules_per_request changed by \+([\d.]+) % \((?:95 % interval|bounds) \+([\d.]+) to \+([\d.]+) %\), "
        r".* all of it is over the threshold of 15 %. Cure: ",
        output,
    )
    assert found, output
    change, low, high = (float(figure) for figure in found.groups())
    assert 15 < low < change < high
    assert low < 60 < high, "1.6 times the power at the same length costs 60 % more"
    assert saved.read_text() == first
    project.run(*gated, "--energy-save", VIRTUAL_MORE="1.6")
    assert saved.read_text() != first


def test_another_device_is_refused_and_no_sensor_is_not_checked_and_required_sensors_fail(project):
    project.write("""
@pytest.mark.energy(rounds=5)
def test_call(energy_benchmark, work):
    energy_benchmark(work, seconds=0.1)
""")
    assert project.run("--energy-save=main")[0] == 0
    gated = ("--energy-compare=main", "--energy-compare-fail=joules_per_request:50%")
    status, output = project.run(*gated, VIRTUAL_DEVICE="another GPU")
    assert status == 1, output
    assert "the device before is a virtual GPU, after another GPU" in output
    assert "refused" in output
    status, output = project.run(*gated, VIRTUAL_GPU="none")
    assert status == 0, output
    assert "joules: not checked (no sensor)" in output
    status, output = project.run(*gated, VIRTUAL_GPU="model")
    assert status == 0, output
    assert "joules: not checked (no sensor)" in output
    status, output = project.run(*gated, "--energy-require", VIRTUAL_GPU="none")
    assert status == 1, output
    assert "--energy-require: no sensor gives joules here" in output


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--energy-compare=nothing", "no baseline"),
        ("--energy-compare-fail=joules_per_tokn:5%", "'joules_per_tokn' is no metric"),
        ("--energy-save=../up", "is no name of a baseline"),
    ],
)
def test_options_that_cannot_be_followed_end_the_run_before_it_begins(project, option, words):
    project.write("def test_nothing(): pass\n")
    status, output = project.run(option)
    assert status == 4, output
    assert words in output
    assert "passed" not in output


@pytest.mark.alone
def test_beside_pytest_benchmark_joules_are_in_its_json_and_times_stay_seconds(project):
    pytest.importorskip("pytest_benchmark")
    project.write("""
@pytest.mark.energy(rounds=5)
def test_both(benchmark, energy_benchmark, work):
    energy_benchmark(work, seconds=0.1)
    benchmark.pedantic(work, kwargs={"seconds": 0.01}, rounds=3)

@pytest.mark.energy(rounds=5)
def test_energy_alone(energy_benchmark, work):
    energy_benchmark(work, seconds=0.1)
""")
    status, output = project.run("--benchmark-json=times.json")
    assert status == 0, output
    (saved,) = json.loads((project.folder / "times.json").read_text())["benchmarks"]
    energy = saved["extra_info"]["energy"]
    request = energy["metrics"]["joules_per_request"]
    assert energy["provenance"] == "measured of the gpu"
    assert request["low"] < request["value"] < request["high"]
    assert 20 < request["value"] < 50
    assert 0.01 <= saved["stats"]["min"] < 1
    joules_of("test_energy.py::test_both", output)
    joules_of("test_energy.py::test_energy_alone", output)


@pytest.mark.alone
def test_what_a_test_draws_before_it_measures_is_not_taken_for_idle(project):
    project.write("""
@pytest.mark.energy(rounds=5)
def test_after_loading(energy_benchmark, work):
    work(power_w=600, seconds=1.5)
    energy_benchmark(work, power_w=200, seconds=0.1)
    low_w, high_w = energy_benchmark.report.idle["gpu"].interval_w
    assert 60 < low_w < 70 < high_w < 80
""")
    status, output = project.run("--energy-max-time=5")
    assert status == 0, output
    joules_of("test_energy.py::test_after_loading", output)


def test_workers_of_xdist_are_refused_with_the_cure_and_other_tests_run_in_them(project):
    pytest.importorskip("xdist")
    project.write("""
def test_energy(energy_benchmark, work):
    energy_benchmark(work)

def test_plain():
    pass
""")
    status, output = project.run("-n2")
    assert status == 1, output
    assert "1 passed, 1 error" in output, output
    assert "does not run in a worker of pytest-xdist" in output
    assert "Cure: run these tests on their own, `pytest -n0 -m energy`" in output
    status, output = project.run("-n0", "-m", "energy")
    assert status == 0, output
    joules_of("test_energy.py::test_energy", output)


def test_only_the_tests_that_ask_for_energy_are_selected_by_its_marker(project):
    project.write("""
def test_plain():
    pass

def test_asks(energy_benchmark):
    pass
""")
    status, output = project.run("-m", "energy", "--collect-only")
    assert status == 0
    assert "test_asks" in output
    assert "test_plain" not in output


def test_the_plugin_is_found_by_itself_and_loads_next_to_nothing(project):
    (project.folder / "wattvlm_here-0.dist-info").mkdir()
    section = (ROOT / "pyproject.toml").read_text().split("[project.entry-points.pytest11]\n")[1].split("\n\n")[0]
    entry_points = "[pytest11]\n" + section.replace('"', "")
    (project.folder / "wattvlm_here-0.dist-info/entry_points.txt").write_text(entry_points)
    (project.folder / "wattvlm_here-0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: wattvlm-here\n")
    project.write("""
def test_weight(pytestconfig):
    import sys
    assert pytestconfig.pluginmanager.get_plugin("wattvlm.pytest_plugin")
    assert sorted(name for name in sys.modules if name.startswith("wattvlm")) == ["wattvlm", "wattvlm.pytest_plugin"]
""")
    (project.folder / "conftest.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project.folder, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{project.folder}"}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout

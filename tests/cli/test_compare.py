"""`wattvlm compare` as a user types it: tables, files, refusals, and the exit code that makes a build red."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.renderers._comparisons.test_every_format import dearer
from tests.renderers.sample_reports import no_sensor, several_gpus, twenty_calls
from tests.test_scores import vlmevalkit_csv
from wattvlm.cli import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    reports = {
        "main": twenty_calls(), "change": dearer(twenty_calls()), "other": several_gpus(), "cpu": no_sensor(),
        "cpu2": no_sensor(),
    }  # fmt: skip
    for name, report in reports.items():
        report.save(folder / f"{name}.json")
    return folder


def test_two_runs_are_named_by_their_files_and_end_well(folder: Path):
    result = run(folder / "main.json", folder / "change.json")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("wattvlm compare  main → change  20 calls each")


def test_a_program_in_a_pipe_of_80_columns_gets_plain_text(folder: Path):
    program = "from wattvlm.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "compare", "main.json", "change.json", "--fail-on", "joules_per_request:2%"],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert "regression: joules_per_request changed by +5 % (95 % interval +3.59 to +6.43 %)" in done.stderr


@pytest.mark.parametrize(
    ("fail_on", "exit_code"),
    [
        ("joules_per_request:2%", 1),
        ("joules_per_request:5%", 0),
        ("joules_per_request:30", 0),
        ("latency_s:1%,joules_per_request:1%", 1),
        ("visual_input:0", 1),
        ("visual_input:60%", 0),
        ("projector_joules:1%", 3),
    ],
)
def test_a_build_is_red_where_a_metric_is_surely_worse_than_its_threshold(folder: Path, fail_on: str, exit_code: int):
    assert run(folder / "main.json", folder / "change.json", "--fail-on", fail_on).exit_code == exit_code


def test_what_got_better_is_no_regression(folder: Path):
    assert run(folder / "change.json", folder / "main.json", "--fail-on", "joules_per_request:0").exit_code == 0


def test_modelled_joules_are_never_gated_on(folder: Path):
    result = run(folder / "cpu.json", folder / "cpu2.json", "--fail-on", "joules_per_request:1%")
    assert result.exit_code == 3
    assert "not checked: joules_per_request: the joules are a model's" in result.output


def test_measured_and_modelled_runs_are_refused_with_the_option_that_allows_it(folder: Path):
    result = run(folder / "main.json", folder / "cpu.json")
    assert result.exit_code == 2
    assert "--allow provenance --allow device --allow driver --allow power_limit" in result.output
    kinds = ("provenance", "device", "driver", "power_limit")
    allowed = run(folder / "main.json", folder / "cpu.json", *(f"--allow={kind}" for kind in kinds), "--json")
    assert allowed.exit_code == 0, allowed.output
    assert {each["kind"] for each in json.loads(allowed.output)["differences"]} == {"time", "rate", "count"}


def test_several_runs_are_one_table(folder: Path):
    result = run(folder / "main.json", folder / "change.json", folder / "other.json", "--allow", "power_limit")
    assert result.exit_code == 0, result.output
    assert "3 runs, 96 output tokens each" in result.output
    assert run(folder / "main.json", folder / "change.json", folder / "other.json").exit_code == 2


def test_scores_are_joined_by_question_and_named_by_what_their_files_share(folder: Path, tmp_path: Path):
    one = vlmevalkit_csv(tmp_path / "A_MMBench_result.csv", {number: number % 2 for number in range(100)})
    two = vlmevalkit_csv(tmp_path / "B_MMBench_result.csv", dict.fromkeys(range(90), 1))
    reports = folder / "main.json", folder / "change.json"
    shown = run(*reports, "--scores", one, "--scores", f"change={two}")
    assert shown.exit_code == 0, shown.output
    assert "MMBench %" in shown.output
    shown = run(*reports, "--scores", f"main={one}", "--scores", f"change={two}", "--json")
    assert shown.exit_code == 0, shown.output
    runs = json.loads(shown.output)["runs"]
    assert [each["score"]["asked"] for each in runs] == [90, 90]
    assert [each["score"]["right"] for each in runs] == [45, 90]
    assert run(*reports, "--scores", one, "--scores", two, "--chance", "0.4%").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["main.json"], "nothing to be compared with"),
        (["main.json", "main.json"], "a run is given twice"),
        (["main.json", "change.json", "--fail-on", "joules:5%"], "is no metric"),
        (["main.json", "change.json", "--fail-on", "joules_per_request"], "--fail-on='joules_per_request' has no thr"),
        (["main.json", "change.json", "--scores", "x.csv"], "1 files of --scores for 2 runs"),
        (["main.json", "change.json", "--scores", "who=x.csv"], "there is no run 'who'"),
        (["main.json", "change.json", "--chance", "25%"], "there are none"),
    ],
)
def test_what_cannot_be_done_says_why_with_exit_code_2(folder: Path, monkeypatch, arguments: list[str], why: str):
    monkeypatch.chdir(folder)
    result = run(*arguments)
    assert result.exit_code == 2
    assert why in result.output


def test_a_broken_file_gets_a_clear_error(folder: Path, tmp_path: Path):
    (tmp_path / "broken.json").write_text("{")
    result = run(folder / "main.json", tmp_path / "broken.json")
    assert result.exit_code == 2
    assert "not readable JSON" in result.output


@pytest.mark.parametrize("format", ["json", "markdown", "latex"])
def test_each_format_goes_to_a_file(folder: Path, tmp_path: Path, format: str):
    target = tmp_path / "comparison"
    result = run(folder / "main.json", folder / "change.json", f"--{format}", "-o", target)
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert "joules_per_request" in target.read_text() or "per request" in target.read_text()

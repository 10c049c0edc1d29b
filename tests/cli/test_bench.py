"""`wattvlm bench` as a user types it, on the shipped model: a table, a folder, and going on with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")
pytest.importorskip("transformers", reason="needs the extra wattvlm[torch]")

from wattvlm.cli import main  # after importorskip

QUICK = ("--output", "2,4", "--calls", "3", "--cool-down", "0s", "--device", "cpu")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)], env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "results"
    result = run("bench", "shipped", *QUICK, "--save", folder)
    assert result.exit_code == 0, result.output
    assert "1 of 2" in result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("out")]
    assert [row[0] for row in rows] == ["out2", "out4"]
    return folder


def test_the_same_command_again_shows_what_there_is_and_measures_nothing(folder: Path):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = run("bench", "shipped", *QUICK, "--save", folder, "--json")
    assert again.exit_code == 0, again.output
    assert [each["output_tokens"] for each in json.loads(again.stdout)["runs"]] == [2, 4]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_another_design_in_the_same_folder_is_a_usage_error(folder: Path):
    result = run("bench", "shipped", *QUICK, "--batch", "4", "--save", folder)
    assert result.exit_code == 2
    assert "batch_sizes was (1,) and is (4,) now" in result.output


def test_a_folder_is_compared_as_one_table_and_with_another_cell_by_cell(folder: Path):
    table = run("compare", folder)
    assert table.exit_code == 0, table.output
    assert table.output.splitlines()[0] == "wattvlm compare  2 runs"
    both = run("compare", folder, folder, "--json", "--fail-on", "output:0")
    assert both.exit_code == 0, both.output
    assert len(json.loads(both.output)) == 2
    assert run("compare", folder, folder, "--html").exit_code == 2


def test_a_finished_cell_is_a_report_like_any_other(folder: Path):
    (file, _) = sorted(folder.glob("*.json.gz"))
    shown = run("report", file)
    assert shown.exit_code == 0, shown.output
    assert "3 calls" in shown.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "give models to measure, or --config and --random-weights"),
        (["shipped", "--config", "qwen2-vl-2b", "--random-weights"], "one of the two"),
        (["--config", "qwen2-vl-2b"], "goes with --random-weights"),
        (
            ["--config", "nothing", "--random-weights"],
            "there is no configuration 'nothing'. Cure: a config.json, or one of",
        ),
        (["shipped", "--output", "x"], "whole numbers with commas"),
        (["shipped", "--resolution", "8y8"], "336 for a square or 640x480"),
        (["shipped", "--until", "soon"], "a percentage"),
        (["shipped", "--budget", "long"], "such as 90s, 10m or 1h"),
        (["shipped", "--batch", "0"], "from 1 on"),
        (["shipped", "--device", "cpu", "--power-limits", "200"], "are of NVIDIA GPUs, and the device is cpu"),
        (["shipped", "--device", "cuda", "--power-limits", "low"], "watts, such as 200,250,300"),
        (["shipped", "--device", "cuda", "--clocks", "slow"], "MHz, such as 1200,1500"),
        (["shipped", "--device", "cuda", "--power-limits", "0"], "must be more than nothing"),
        (["shipped", "--ttft-under", "200ms"], "choose among --power-limits or --clocks"),
        (["shipped", "--device", "cuda", "--clocks", "900", "--tpot-under", "fast"], "--tpot-under fast: a time"),
    ],
)
def test_what_cannot_be_measured_says_why_with_exit_code_2(tmp_path: Path, arguments: list[str], why: str):
    result = run("bench", *arguments, "--save", tmp_path / "results")
    assert result.exit_code == 2
    assert why in " ".join(result.output.split())
    assert not (tmp_path / "results").exists()


def test_a_model_that_fails_is_named_and_the_exit_code_says_so(tmp_path: Path):
    result = run("bench", tmp_path / "no-model", *QUICK, "--save", tmp_path / "results")
    assert result.exit_code == 3
    assert "failed: no-model_1_batch1_out2_float32_cpu" in result.output

"""The study of devices: runs from files, each board with a gain of its own, against joules that are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import wattvlm
from tests.questions.virtual_runs import request_of
from wattvlm import questions
from wattvlm.answers import Answer, Finding
from wattvlm.bench import Cell
from wattvlm.cli import main
from wattvlm.questions import Asked, Run, devices
from wattvlm.report import Report
from wattvlm.testing import CostModel

CELL = Cell("saved")
FAST, SLOW = CostModel(), CostModel(decode_ns=30e6, decode_w=300.0)


def report(costs: CostModel, board: str, seed: int = 0, gain: float = 1.0, calls: int = 20) -> Report:
    return costs.report(request_of(CELL), calls, seed, gain=gain, board=board)


def compared(**reports: Report) -> Answer:
    runs = [Run(Cell("saved", device=name), each) for name, each in reports.items()]
    return devices.answer(runs, Asked().design())


def request(answer: Answer) -> Finding:
    return answer.finding("b: a request")


def test_the_quotient_of_two_devices_holds_the_truth_whatever_their_gains():
    truth = SLOW.truth_j(request_of(CELL))["call"] / FAST.truth_j(request_of(CELL))["call"]
    for seed, (one, other) in enumerate(((0.98, 1.02), (1.02, 0.98))):
        found = request(compared(a=report(FAST, "x", seed, one), b=report(SLOW, "y", seed + 9, other)))
        assert found.found is not None
        assert found.found.low < truth < found.found.high
        assert found.verdict == "does not hold"  # that b takes less
        assert "the sensors' gains may be ±" in found.words


def test_a_difference_that_gains_may_make_is_not_told():
    """5 % of joules apart as the boards read them, 0 % in truth: two gains of 2.5 % (one sigma) leave it open."""
    found = request(compared(a=report(FAST, "x", 1, 1.025), b=report(FAST, "y", 2, 0.975)))
    assert found.verdict == "cannot tell"


def test_on_one_board_the_gain_cancels_and_small_differences_are_told():
    thriftier = CostModel(decode_w=345.0)
    alike = request(compared(a=report(FAST, "x", 1, 1.025), b=report(thriftier, "x", 2, 1.025)))
    assert alike.verdict == "holds"
    apart = request(compared(a=report(FAST, "x", 1, 1.025), b=report(thriftier, "y", 2, 1.025)))
    assert apart.verdict == "cannot tell"


def test_one_run_alone_is_not_compared():
    assert "no two runs" in compared(a=report(FAST, "x", calls=5)).findings[0].words


def test_recordings_reports_and_folders_of_a_bench_are_read(tmp_path: Path):
    report(FAST, "x", calls=5).save(tmp_path / "one.json.gz")
    report(SLOW, "y", 3, calls=5).save(tmp_path / "two.json.gz")
    asked = Asked(models=(str(tmp_path / "one.json.gz"), str(tmp_path / "two.json.gz")))
    answer = questions.ask("devices", asked, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    assert answer.finding("two: time of a request").verdict == "does not hold"
    assert [row[0] for row in answer.tables[0].rows] == ["one", "two"]
    with pytest.raises(wattvlm.errors.WattvlmError, match="is no file and no folder"):
        questions.ask("devices", Asked(models=(str(tmp_path / "none.json"),)), tmp_path)


def test_the_command_compares_files_and_measures_nothing(tmp_path: Path):
    for name, costs in (("one", FAST), ("two", SLOW)):
        report(costs, name, calls=5).save(tmp_path / f"{name}.json")
    files = [str(tmp_path / f"{name}.json") for name in ("one", "two")]
    done = CliRunner().invoke(main, ["study", "devices", *files, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["study"] == "devices"
    assert "Runs are in" not in done.output

"""JSON: the report whole, as Report.save writes it."""

import json
from pathlib import Path

import pytest

from tests.renderers.sample_reports import SAMPLES, twenty_calls
from wattvlm.renderers import render
from wattvlm.report import Report


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_json_of_a_report_is_what_save_writes(sample: str, tmp_path: Path):
    report = SAMPLES[sample]()
    saved = tmp_path / "report.json"
    report.save(saved)
    assert json.loads(render(report, "json")) == json.loads(saved.read_text())


def test_the_json_of_a_report_can_be_loaded_as_that_report(tmp_path: Path):
    file = tmp_path / "run.json"
    file.write_text(str(render(twenty_calls(), "json", indent=2)))
    loaded = Report.load(file)
    assert loaded.joules_per_request.interval_j == twenty_calls().joules_per_request.interval_j

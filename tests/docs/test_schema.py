"""The JSON Schemas are what the nouns say, and every saved file obeys its own."""

import json
from pathlib import Path

import pytest

from docs.schema import FILES, FOLDER, text
from tests.renderers.sample_reports import SAMPLES
from wattvlm.calibration import Calibration
from wattvlm.errors import ReportFormatError
from wattvlm.recording import Recording
from wattvlm.renderers import render
from wattvlm.report import Report
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.units import NS_PER_MS

jsonschema = pytest.importorskip("jsonschema", reason="the schemas are checked with jsonschema (extra docs)")


def refused(name: str, content: object) -> bool:
    schema = json.loads((FOLDER / name).read_text())
    return not jsonschema.Draft202012Validator(schema).is_valid(content)


@pytest.mark.parametrize("name", FILES)
def test_the_schema_is_what_the_noun_says_today(name: str):
    assert (FOLDER / name).read_text() == text(name), "run python -m docs.schema"
    jsonschema.Draft202012Validator.check_schema(json.loads(text(name)))


@pytest.mark.parametrize("sample", ["one_unresolved_call", "without_calls", "with_curves"])
def test_a_report_that_is_saved_obeys_the_schema(sample: str):
    assert not refused("report.schema.json", json.loads(str(render(SAMPLES[sample](), "json"))))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("saved") / "run.rec.json"
    script = Script((ScriptedPhase("prefill", 200 * NS_PER_MS, {"gpu": 90.0}),), calls=2)
    simulate(script, [VirtualSensor("gpu-0/board", "gpu", max_power_w=600.0)]).recording.save(path)
    content: dict[str, object] = json.loads(path.read_text())
    return content


def test_a_recording_and_a_calibration_obey_theirs(recording: dict[str, object], tmp_path: Path):
    assert not refused("recording.schema.json", recording)
    path = tmp_path / "gpu-1.json"
    Calibration("gpu-1/board", "570", "2026-01-01T00:00:00Z", "square waves", "0.1", window_ns=(1, 2)).save(path)
    assert not refused("calibration.schema.json", json.loads(path.read_text()))


CHANGES = {
    "an unknown entry": lambda file: file | {"mood": "good"},
    "another version": lambda file: file | {"schema_version": 99},
    "another kind": lambda file: file | {"kind": "else"},
    "a number as text": lambda file: file | {"label": 7},
    "no calls": lambda file: {name: entry for name, entry in file.items() if name != "calls"},
    "a domain of its own": lambda file: file | {"idle": {"heart": file["idle"]["gpu"]}},
    "an interval of one end": lambda file: file | {"idle": {"gpu": file["idle"]["gpu"] | {"interval_w": [1.0]}}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_loader_refuses_the_schema_refuses_too(change: str, tmp_path: Path):
    file = json.loads(str(render(SAMPLES["one_unresolved_call"](), "json")))
    changed = CHANGES[change](file)
    assert refused("report.schema.json", changed)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(changed))
    with pytest.raises(ReportFormatError):
        Report.load(path)


def test_a_recording_is_no_report(recording: dict[str, object], tmp_path: Path):
    assert refused("report.schema.json", recording)
    assert Recording.from_dict({name: recording[name] for name in recording if name not in ("kind", "schema_version")})

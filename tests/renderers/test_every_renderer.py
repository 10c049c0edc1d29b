"""The contract of a renderer, held against every renderer that is found; and how renderers are found."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest

from tests.renderers.sample_reports import SAMPLES, twenty_calls
from wattvlm.plugins import own_modules
from wattvlm.renderers import render, renderers

MODULES = list(own_modules("wattvlm.renderers"))
NAMES = [module.FORMAT for module in MODULES]


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_a_renderer_names_its_format_and_its_kind_of_file(module: ModuleType):
    assert isinstance(module.FORMAT, str)
    assert module.FORMAT
    assert module.FILE_EXTENSION.startswith(".")
    assert module.IS_BINARY in (True, False)


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_a_renderer_turns_any_report_into_text_or_bytes_and_prints_nothing(module: ModuleType, sample: str):
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        rendered = module.render(SAMPLES[sample]())
    assert isinstance(rendered, bytes if module.IS_BINARY else str)
    assert rendered
    assert printed.getvalue() == ""


@pytest.mark.parametrize("format", NAMES)
def test_a_renderer_is_found_under_its_format_without_being_named_anywhere(format: str):
    assert format == renderers()[format].FORMAT
    assert render(twenty_calls(), format) == renderers()[format].render(twenty_calls())


def test_two_renderers_never_claim_one_format():
    assert len(set(NAMES)) == len(NAMES)


def test_an_unknown_format_is_refused_with_the_formats_there_are():
    with pytest.raises(
        ValueError, match=r"no renderer gives 'papyrus'; the formats here are console, csv, emissions, html"
    ):
        render(twenty_calls(), "papyrus")


def test_an_option_that_a_renderer_does_not_have_is_refused():
    with pytest.raises(TypeError, match="colour"):
        render(twenty_calls(), "json", colour=True)


@pytest.mark.parametrize("sample", SAMPLES)
def test_metrics_are_plain_numbers_that_any_tracker_takes(sample: str):
    metrics = SAMPLES[sample]().metrics()
    assert {type(value) for value in metrics.values()} <= {int, float, type(None)}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_str_of_a_report_is_the_console_summary_and_a_notebook_shows_the_table():
    report = twenty_calls()
    assert str(report) == render(report, "console")
    assert report._repr_html_() == render(report, "notebook")


def install(folder: Path, name: str, source: str) -> None:
    """A third party's package as pip leaves it: a module, and metadata with an entry point."""
    (folder / f"{name}_renderer.py").write_text(source)
    metadata = folder / f"{name}_renderer-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-renderer\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[wattvlm.renderers]\n{name} = {name}_renderer\n")


PAPYRUS = """
FORMAT, FILE_EXTENSION, IS_BINARY = "papyrus", ".papyrus", True
def render(report, ink="black"):
    return f"{ink}: {len(report.calls)} calls".encode()
"""


def test_a_third_partys_renderer_is_found_through_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, "papyrus", PAPYRUS)
    monkeypatch.syspath_prepend(tmp_path)
    assert render(twenty_calls(), "papyrus", ink="red") == b"red: 20 calls"
    assert "papyrus" in renderers()


def test_a_third_party_can_not_take_a_format_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, "impostor", PAPYRUS.replace('"papyrus"', '"json"'))
    monkeypatch.syspath_prepend(tmp_path)
    assert renderers()["json"].render(twenty_calls()) == render(twenty_calls(), "json")


def test_a_third_partys_renderer_that_cannot_be_loaded_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    install(tmp_path, "broken", "raise RuntimeError('no ink')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"'broken' is installed but cannot be loaded: RuntimeError\('no ink'\)"):
        render(twenty_calls(), "broken")

"""The pytest example and the GitHub workflow do what docs/pytest.md says of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.renderers._comparisons.test_every_format import dearer
from tests.renderers.sample_reports import twenty_calls

ROOT = Path(__file__).parents[2]
PLUGIN = ("-p", "wattvlm.pytest_plugin", "-p", "no:cacheprovider")


def pytest_run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A real pytest in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGIN, *options], cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


def test_the_example_passes_and_saves_a_baseline(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples/pytest_energy", tmp_path / "here", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "here/pytest.ini").write_text("[pytest]\n")
    done = pytest_run(tmp_path / "here", "-q", "--energy-save")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "here/energy-baselines/baseline.json").exists()
    assert "joules: 1 checks, 0 failed" in done.stdout


def test_the_workflow_is_yaml_with_known_options_and_its_comment_is_the_comparison(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / "examples/github-actions/energy.yml").read_text())
    steps = {step["name"]: step for job in workflow["jobs"].values() for step in job["steps"] if "name" in step}
    known = pytest_run(tmp_path, "--help").stdout
    options = {option for step in steps.values() for option in re.findall(r"--energy-[a-z-]+", step["run"])}
    assert options == {"--energy-require", "--energy-compare", "--energy-compare-fail"}
    assert all(option in known for option in options)
    twenty_calls().save(tmp_path / "before.json")
    dearer(twenty_calls()).save(tmp_path / "after.json")
    command = f'wattvlm() {{ {sys.executable} -c "from wattvlm.cli import main; main()" "$@"; }}\n'
    done = subprocess.run(["bash", "-e", "-c", command + steps["Better, worse, or cannot tell"]["run"]], cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "comment.md").read_text().startswith("### wattvlm compare before → after 20 calls each")


def test_the_options_that_the_page_names_are_those_of_the_plugin(tmp_path: Path) -> None:
    page = (ROOT / "docs/pytest.md").read_text()
    known = pytest_run(tmp_path, "--help").stdout
    named = set(re.findall(r"--energy-[a-z-]+[a-z]", page))
    assert named == set(re.findall(r"--energy-[a-z-]+[a-z]", known))

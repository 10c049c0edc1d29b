"""Every example runs as a user would run it, from a folder of its own, and prints a report."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs_and_prints_a_report(example: Path, tmp_path: Path) -> None:
    if "transformers" in example.read_text():
        pytest.importorskip("transformers", reason="needs the extra wattvlm[torch]")
    if "openai" in example.read_text():
        for package in ("openai", "uvicorn", "fastapi"):
            pytest.importorskip(package, reason="needs the extra wattvlm[engines]")
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "wattvlm" in done.stdout
    assert "Traceback" not in done.stderr


def test_there_are_the_five_examples_that_the_readme_names() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert len(EXAMPLES) >= 5
    assert all(example.name in readme for example in EXAMPLES)

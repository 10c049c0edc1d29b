"""What the pytest plugin costs those who measure nothing: collecting one test, with the plugin and without it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import children_cpu_s, package_version, show, spread

REPEATS = 21
PLUGIN = "wattvlm.pytest_plugin"
WAYS = (("without", ("-p", f"no:{PLUGIN}")), ("with", ("-p", PLUGIN)))
ALONE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Other plugins' start would drown the difference."""

_COUNT = """
import pytest, sys
pytest.main(["--co", "-q", *{options!r}])
print(len(sys.modules), sum(name.split(".")[0] == "wattvlm" for name in sys.modules))
"""


def run() -> None:
    """Fresh interpreters, in turn, in a folder with one test."""
    times_ms: dict[str, list[float]] = {name: [] for name, _ in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_one.py").write_text("def test_one():\n    pass\n")
        for _ in range(REPEATS):
            for name, options in WAYS:
                start_s = children_cpu_s()
                _python(["-m", "pytest", "--co", "-q", *options], folder)
                times_ms[name].append((children_cpu_s() - start_s) * 1e3)
        counts = {name: _modules(options, folder) for name, options in WAYS}
    rows = [(name, spread(times_ms[name], "ms", 0), str(counts[name][0]), str(counts[name][1])) for name, _ in WAYS]
    added = [after - before for before, after in zip(times_ms["without"], times_ms["with"], strict=True)]
    rows.append(("the plugin adds", spread(added, "ms", 1), str(counts["with"][0] - counts["without"][0]), ""))
    show(
        "Starting pytest",
        ("plugin", "CPU time of `pytest --co`, median [quartiles]", "modules", "of them wattvlm's"),
        rows,
        f"{REPEATS} fresh interpreters each, interleaved, no other plugins. pytest {package_version('pytest')}.",
    )


def _modules(options: tuple[str, ...], folder: str) -> tuple[int, int]:
    """(modules that are loaded when tests are collected, those of wattvlm)."""
    found, own = _python(["-c", _COUNT.format(options=options)], folder).split()[-2:]
    return int(found), int(own)


def _python(arguments: list[str], folder: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=ALONE, capture_output=True, text=True, check=True
    ).stdout


if __name__ == "__main__":
    run()

"""What importing costs: time and modules more than bare Python, for wattvlm and its peers, in one interleaved run."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

from benchmarks.tables import package_version, show, spread

REPEATS = 21
ZEUS_PYTHON = os.environ.get("ZEUS_PYTHON", sys.executable)
"""An interpreter that has zeus installed, where this one has not (its 31 packages would crowd our environment)."""

_PROGRAM = """
import sys, time
before = len(sys.modules)
start = time.perf_counter_ns()
{statement}
print(time.perf_counter_ns() - start, len(sys.modules) - before)
"""

STATEMENTS = (
    ("import wattvlm", sys.executable, "import wattvlm", "5 ms, 5 modules"),
    ("what meter() imports", sys.executable, "import wattvlm; wattvlm.meter()", "60 ms"),
    ("import codecarbon", sys.executable, "import codecarbon", ""),
    ("from zeus.monitor import ZeusMonitor", ZEUS_PYTHON, "from zeus.monitor import ZeusMonitor", ""),
)


def run() -> None:
    """Each statement in fresh interpreters, in turn."""
    found: dict[str, list[tuple[float, int]]] = {name: [] for name, *_ in STATEMENTS}
    for _ in range(REPEATS):
        for name, python, statement, _goal in STATEMENTS:
            if (once := _once(python, statement)) is not None:
                found[name].append(once)
    rows = [_row(name, goal, found[name]) for name, _python, _statement, goal in STATEMENTS]
    show(
        "Importing",
        ("statement", "time, median [quartiles]", "modules more", "goal: under"),
        rows,
        f"{REPEATS} fresh interpreters each, interleaved. codecarbon {package_version('codecarbon') or 'absent'}.",
    )


def _once(python: str, statement: str) -> tuple[float, int] | None:
    done = subprocess.run([python, "-c", _PROGRAM.format(statement=statement)], capture_output=True, text=True)
    if done.returncode:
        return None
    time_ns, modules = done.stdout.split()[-2:]
    return int(time_ns) / 1e6, int(modules)


def _row(name: str, goal: str, values: list[tuple[float, int]]) -> tuple[str, str, str, str]:
    if not values:
        return f"`{name}`", "cannot be imported here", "", goal
    modules = str(round(median(count for _, count in values)))
    return f"`{name}`", spread([time_ms for time_ms, _ in values], "ms"), modules, goal


if __name__ == "__main__":
    run()

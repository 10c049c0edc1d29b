"""What a metered call costs in instructions, which no other load disturbs: valgrind counts them. Takes ten minutes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from benchmarks.tables import show

FEW, MANY = 3, 13

PROGRAM = """
import sys, torch
torch.set_num_threads(1)
from benchmarks.call_overhead import shipped_call
from wattvlm.runtimes.transformers import RUNTIME
call, marks = shipped_call(max_new_tokens=8), []
if sys.argv[1] == "metered":
    RUNTIME.install(lambda *given: marks.extend(given))
for _ in range(int(sys.argv[2])):
    call()
"""


def run() -> None:
    """Instructions of one call, as the difference between many and few; marks stay in memory."""
    if shutil.which("valgrind") is None:
        print("\n## A metered call in instructions\n\nskipped: valgrind is not installed")
        return
    plain, metered = (_per_call(arm) for arm in ("plain", "metered"))
    show(
        "A metered call in instructions",
        ("model", "without", "with", "relative"),
        [("the shipped model, one answer", f"{plain / 1e6:.1f} M", f"{metered / 1e6:.1f} M",
          f"{100 * (metered / plain - 1):.1f} %")],
    )  # fmt: skip


def _per_call(arm: str) -> float:
    return (_instructions(arm, MANY) - _instructions(arm, FEW)) / (MANY - FEW)


def _instructions(arm: str, calls: int) -> int:
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", PROGRAM, arm,
         str(calls)],
        env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind told no count: {done.stderr[-300:]}")
    return int(found[1])


if __name__ == "__main__":
    run()

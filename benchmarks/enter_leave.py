"""What entering and leaving a meter takes, the first time and after, on virtual hardware."""

from __future__ import annotations

from benchmarks.tables import show, spread
from benchmarks.virtual_gpu import run_on

FRESH = 9

PROGRAM = """
import json, time
import wattvlm
meters = [wattvlm.meter() for _ in range(20)]
entering, leaving = [], []
for meter in meters:
    start = time.perf_counter_ns()
    meter.__enter__()
    entered = time.perf_counter_ns()
    time.sleep(0.02)
    left = time.perf_counter_ns()
    meter.__exit__(None, None, None)
    leaving.append((time.perf_counter_ns() - left) / 1e6)
    entering.append((entered - start) / 1e6)
print(json.dumps([entering, leaving]))
"""


def run() -> None:
    """Fresh processes; the real pynvml on a virtual library."""
    fresh = [run_on(PROGRAM) for _ in range(FRESH)]
    slow = [run_on(PROGRAM, init_delay_ms=2000) for _ in range(3)]
    show(
        "Entering and leaving",
        ("what", "time, median [quartiles]", "goal: under"),
        [
            ("enter, first time in a process", spread([entering[0] for entering, _ in fresh], "ms"), "150 ms"),
            ("enter, later", spread([each for entering, _ in fresh for each in entering[1:]], "ms", 3), "2 ms"),
            ("leave", spread([each for _, leaving in fresh for each in leaving], "ms", 3), "5 ms"),
            ("enter, first time, nvmlInit takes 2 s", spread([entering[0] for entering, _ in slow], "ms"), "250 ms"),
        ],
        f"{FRESH} fresh processes of 20 meters each.",
    )


if __name__ == "__main__":
    run()

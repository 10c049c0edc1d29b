"""What it takes to make a Report of a long recording: seconds and memory, by number of GPUs and of calls."""

from __future__ import annotations

import resource
import time

from benchmarks.tables import show
from wattvlm.attribution import analyze
from wattvlm.recording import Recording
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE
from wattvlm.units import NS_PER_MS

SIZES = ((1, 125), (1, 250), (1, 500), (1, 1_000), (8, 1_000))
"""(GPUs, calls); a thousand calls take an hour."""

GOAL = "8 GPUs, 1,000 calls, an hour of readings: at most 2 s and 500 MB on 2 cores"
_POWERS_W = {VISION_ENCODE: 310.0, PREFILL: 640.0, DECODE: 380.0}
_LENGTHS_MS = {VISION_ENCODE: 90, PREFILL: 45, DECODE: 600}


def session(gpus: int, calls: int) -> Recording:
    """Calls with pauses of 2.5 to 3.2 s between them, and one 100 ms counter a GPU."""
    loads = [f"gpu-{number}" for number in range(gpus)]
    phases = tuple(
        ScriptedPhase(name, ms * NS_PER_MS, dict.fromkeys(loads, _POWERS_W[name])) for name, ms in _LENGTHS_MS.items()
    )
    script = Script(
        phases=phases, calls=calls, idle_w=dict.fromkeys(loads, 70.0), between_w=dict.fromkeys(loads, 110.0),
        pause_ns=2_500 * NS_PER_MS, dither_ns=700 * NS_PER_MS, power_variation_fraction=0.03,
    )  # fmt: skip
    sensors = [
        VirtualSensor(f"{load}/board", phase_ns=number * 11 * NS_PER_MS, jitter_ns=3 * NS_PER_MS, latency_ns=150_000,
                      max_power_w=700.0, seed=number)
        for number, load in enumerate(loads)
    ]  # fmt: skip
    return simulate(script, sensors, 1).recording


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run() -> None:
    """Each size once, after a small one that loads what is needed."""
    analyze(session(1, 6))
    rows: list[tuple[str, ...]] = []
    for gpus, calls in SIZES:
        recording = session(gpus, calls)
        readings = sum(map(len, recording.readings.values()))
        before_mb, wall_s, cpu_s = _peak_mb(), time.perf_counter(), time.process_time()
        analyze(recording)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        rows.append((
            str(gpus), f"{calls:,}", f"{readings:,}", f"{wall_s:.2f} s", f"{cpu_s:.2f} s",
            f"{1e6 * cpu_s / readings:.1f} µs", f"{_peak_mb() - before_mb:.0f} MB", f"{_peak_mb():.0f} MB",
        ))  # fmt: skip
    header = ("GPUs", "calls", "readings", "time", "of a core", "a reading", "memory added", "memory at most")
    show("From a recording to a report", header, rows, f"Goal: {GOAL}.")


if __name__ == "__main__":
    run()

"""What the sampling process takes of a core once it has learned the ticks, and how long it learns."""

from __future__ import annotations

from benchmarks.tables import show
from benchmarks.virtual_gpu import CALL_LATENCY_NS, run_on

SECONDS = 20

PROGRAM = """
import json, os, tempfile, time
from pathlib import Path
import wattvlm
from wattvlm.sampling.discovery import sensors
from wattvlm.sampling.sampler import shared_sampler
from wattvlm.sensing import ProbeSource

SOURCES = {sources}
def cpu_s(pid):
    fields = Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

with wattvlm.meter(probes=SOURCES) as m:
    sampler = shared_sampler(SOURCES)
    time.sleep(3)
    start, start_cpu = time.monotonic(), cpu_s(sampler.child_pid)
    time.sleep({seconds})
    fraction = (cpu_s(sampler.child_pid) - start_cpu) / (time.monotonic() - start)
use = next((use for use in m.report.channels if use.channel.method == "counter"), None)
print(json.dumps([100 * fraction, use.ticks if use else None, use.observed_period_ns if use else None]))
"""

NVML = '[ProbeSource("wattvlm.probes.nvml:PROBE")]'
NVML_AND_RAPL = (
    '[ProbeSource("wattvlm.probes.nvml:PROBE"), ProbeSource("benchmarks.rapl_tree:probe", {"folder": '
    "tempfile.mkdtemp()})]"
)

ROWS = (
    ("nothing but the process", "[]", 1, 100, False, ""),
    ("one counter each 100 ms", NVML, 1, 100, False, "1.5 %"),
    ("one counter each 20 ms", NVML, 1, 20, False, "4 %"),
    ("two counters each 100 ms", NVML, 2, 100, False, "1 % more"),
    ("one counter each 100 ms, RAPL package and dram", NVML_AND_RAPL, 1, 100, False, "1 % more"),
    ("one GPU as a meter reads it: counter and power field", NVML, 1, 100, True, ""),
)


def run() -> None:
    """The real sampling process, the real pynvml, a virtual library."""
    rows: list[tuple[str, ...]] = []
    for name, sources, gpus, period_ms, has_fields, goal in ROWS:
        program = PROGRAM.format(sources=sources, seconds=SECONDS)
        percent, ticks, period_ns = run_on(program, gpus, period_ms, has_fields=has_fields)
        seen = "" if ticks is None else f"{ticks} ticks, one each {period_ns / 1e6:.1f} ms"
        rows.append((name, f"{percent:.2f} %", seen, goal))
    show(
        "The sampler",
        ("sensors", "of a core", "seen", "goal: at most"),
        rows,
        f"{SECONDS} s after 3 s of learning; each NVML call takes {CALL_LATENCY_NS // 1000} µs.",
    )


if __name__ == "__main__":
    run()

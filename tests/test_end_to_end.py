"""The whole path: the real pynvml, a virtual libnvidia-ml.so.1, the sampling process, attribution, and the table."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from wattvlm.testing import VirtualGpu, VirtualNvml, append_load

pytestmark = pytest.mark.alone

PROGRAM = """
import json, sys, time
from pathlib import Path
from typing import Any, cast
import wattvlm
from wattvlm.testing import append_load

load = Path(sys.argv[1])
with wattvlm.meter(label="end to end") as m:
    start_ns = time.monotonic_ns() + 50_000_000
    steps, at_ns = [], start_ns
    for name, power_w, duration_ms in (("vision_encode", 310.0, 400), ("prefill", 640.0, 500), ("decode", 380.0, 900)):
        steps.append((name, at_ns, at_ns + duration_ms * 1_000_000, power_w))
        at_ns += duration_ms * 1_000_000
    append_load(load, [(begin_ns, power_w) for _, begin_ns, _, power_w in steps] + [(at_ns, 70.0)])
    for name, begin_ns, end_ns, _ in steps:
        time.sleep(max(0, begin_ns - time.monotonic_ns()) / 1e9)
        with m.phase(name):
            time.sleep(max(0, end_ns - time.monotonic_ns()) / 1e9)
    m.tokens(visual_input=391, text_input=38, output=32, images=1)
call = m.recording.trace.calls[0]
print(json.dumps({
    "report": m.report.to_dict(),
    "table": str(m.report),
    "steps": steps,
    "phases": {phase.name: [phase.spans[0].start_ns, phase.spans[0].end_ns] for phase in call.phases},
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    available = VirtualNvml.available()
    if not available:
        pytest.skip(available.why_not)
    folder = tmp_path_factory.mktemp("nvml")
    load = folder / "gpu0.load"
    append_load(load, [])
    gpu = VirtualGpu(uuid="GPU-11111111-2222-3333-4444-555555555555", load=load, idle_w=70.0, limit_w=700.0,
                     max_limit_w=700.0, counter_jitter_ns=2_000_000)  # fmt: skip
    library = VirtualNvml(folder, [gpu])
    library.build()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(load)], env=library.environment(), capture_output=True, text=True,
        timeout=60, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return cast(dict[str, Any], json.loads(done.stdout))


def _truth_j(found: dict[str, Any], start_ns: int, end_ns: int) -> float:
    """The integral of the load between two times: the steps, and idle power around them."""
    steps = [(begin, end, power_w) for _, begin, end, power_w in found["steps"]]
    busy = [(max(start_ns, begin), min(end_ns, end), power_w) for begin, end, power_w in steps]
    busy_ns = sum(max(0, end - begin) for begin, end, _ in busy)
    busy_j = sum(max(0, end - begin) * power_w for begin, end, power_w in busy) / 1e9
    return float(busy_j + 70.0 * (end_ns - start_ns - busy_ns) / 1e9)


def test_the_bounds_of_each_phase_contain_the_joules_that_the_gpu_drew(found: dict[str, Any]) -> None:
    by_name = {part["name"]: part for part in found["report"]["calls"][0]["phases"]}
    for name, (start_ns, end_ns) in found["phases"].items():
        low_j, high_j = by_name[name]["energies"]["gpu"]["bounds_j"]
        assert low_j <= _truth_j(found, start_ns, end_ns) <= high_j, name


def test_the_long_phases_are_resolved_on_a_counter_that_ticks_each_100_ms(found: dict[str, Any]) -> None:
    decode = next(part for part in found["report"]["phases"] if part["name"] == "decode")
    assert decode["energies"]["gpu"]["resolved"]
    assert decode["energies"]["gpu"]["covers"] == ["decode"]


def test_the_counter_is_measured_and_its_tick_is_observed(found: dict[str, Any]) -> None:
    counter = next(use for use in found["report"]["channels"] if use["channel"]["method"] == "counter")
    assert found["report"]["block"]["energies"]["gpu"]["energy"]["method"] == "measured"
    assert counter["observed_period_ns"] == pytest.approx(100e6, rel=0.05)


def test_the_table_shows_the_measured_joules_and_the_sensor(found: dict[str, Any]) -> None:
    assert "GPU  measured  NVML energy counter" in found["table"]
    assert "391" in found["table"]
    assert "decode" in found["table"]
    assert "..." not in found["table"]


def test_the_power_field_beside_the_counter_is_read_at_its_values_and_adds_no_joule(found: dict[str, Any]) -> None:
    (use,) = [own for own in found["report"]["channels"] if own["channel"]["name"].endswith("/instant")]
    assert use["readings"] >= 6
    assert not use["in_totals"]

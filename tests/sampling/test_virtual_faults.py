"""What NVML does wrong while calls run, through the real pynvml and the real sampling process.

No exception reaches the calls, no joules are silently wrong (the truth lies inside the bounds, a line says what
happened, and the bounds are wider for it), and what was measured before the fault is kept.
"""

from __future__ import annotations

import time

import pytest

from tests.sampling.virtual_boards import Bench, Run, S
from wattvlm.testing.nvml_library import VirtualGpu, VirtualNvml

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "the virtual NVML can be built"
    ),
]

SOUND = "sound"
TOLD = {
    "reset": "started again",
    "backwards": "backwards",
    "stuck": "unchanged for",
    "flaky": "gaps",
    "gone for a while": "gap",
    "lost": "was lost",
}


def boards(load, middle_ns):
    """A board for each fault, which comes a second and a half after the first call begins."""
    facts = {
        SOUND: {},
        "reset": {"reload_at_ns": middle_ns},
        "backwards": {"falls_at_ns": middle_ns, "falls_by_j": 150.0},
        "stuck": {"stuck_ns": (middle_ns - S // 2, middle_ns + S // 2)},
        "flaky": {"flaky_fraction": 0.3},
        "gone for a while": {"unknown_ns": (middle_ns - S // 2, middle_ns)},
        "lost": {"lost_at_ns": middle_ns},
    }
    return [VirtualGpu(uuid=f"GPU-{fault}", load=load, has_fields=False, usage=None, **facts[fault]) for fault in facts]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        bench = started(tmp_path_factory.mktemp("boards"), patch)
        bench.build(*boards(bench.load, time.monotonic_ns() + 5 * S // 2))
        return bench.run(calls=6, prefill_s=0.3, decode_s=0.5)


def started(folder, patch):
    patch.setenv("LD_LIBRARY_PATH", str(folder / "lib"))
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Bench(folder)


def truths(run: Run, report):
    """(part, its true joules) of the block and of each phase."""
    found = [(report.block.energies["gpu"], run.block_j)]
    return found + [(report.phase(name).energies["gpu"], true_j) for name, true_j in run.phases_j.items()]


@pytest.mark.parametrize("fault", [SOUND, *TOLD])
def test_the_truth_of_the_block_and_of_each_phase_stays_inside_the_bounds(run, fault):
    for part, true_j in truths(run, run.of(f"gpu-{fault}")):
        low_j, high_j = part.bounds_j
        assert low_j - 0.01 <= true_j <= high_j + 0.01


@pytest.mark.parametrize("fault", [SOUND, *TOLD])
def test_a_number_that_is_given_is_near_the_truth_by_its_own_interval(run, fault):
    for part, true_j in truths(run, run.of(f"gpu-{fault}")):
        if part.stands_alone:
            assert abs(part.energy.middle_j - true_j) <= 2 * part.energy.half_width_j + 0.01 * true_j


@pytest.mark.parametrize("fault", TOLD)
def test_each_fault_is_told(run, fault):
    assert any(TOLD[fault] in note for note in run.of(f"gpu-{fault}").notes)


@pytest.mark.parametrize("fault", ["reset", "backwards", "stuck", "lost"])
def test_joules_that_a_counter_did_not_count_make_the_block_less_sure(run, fault):
    report, sound = run.of(f"gpu-{fault}"), run.of(f"gpu-{SOUND}")
    assert report.block.energies["gpu"].energy.half_width_j >= sound.block.energies["gpu"].energy.half_width_j


def test_what_was_measured_before_a_gpu_was_lost_is_kept(run):
    report = run.of("gpu-lost")
    assert report.calls[0].total.energies["gpu"].resolved
    assert not report.calls[-1].total.energies["gpu"].resolved


@pytest.mark.parametrize("period_ms", [100, 20])
def test_a_driver_whose_calls_take_5_ms_costs_width_and_no_truth(tmp_path, monkeypatch, period_ms):
    bench = started(tmp_path, monkeypatch)
    period_ns = period_ms * 1_000_000
    bench.build(VirtualGpu(uuid="GPU-slow", load=bench.load, latency_ns=5_000_000, counter_period_ns=period_ns))
    run = bench.run(calls=2, prefill_s=0.3, decode_s=0.7)
    assert run.is_inside_bounds
    assert any("too long to wait for its ticks" in note for note in run.report.notes)


def test_power_that_is_all_there_is_and_noisy_is_told_and_holds_the_truth(tmp_path, monkeypatch):
    bench = started(tmp_path, monkeypatch)
    bench.build(VirtualGpu(uuid="GPU-noisy", load=bench.load, has_counter=False, power_noise_w=10.0))
    run = bench.run(calls=2, prefill_s=0.3, decode_s=0.7)
    assert run.is_inside_bounds
    assert any("no energy counter" in absence.what for absence in run.report.absent)

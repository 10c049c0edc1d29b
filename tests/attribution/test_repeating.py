"""How many calls a precision needs: foretold from a few calls, then played, then compared."""

import random
from dataclasses import replace

import numpy as np
import pytest

from wattvlm.attribution import analyze
from wattvlm.errors import NotResolved
from wattvlm.report import Report
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
COUNTER = VirtualSensor("gpu-0/board", jitter_ns=3 * MS, latency_ns=150_000, max_power_w=700.0)
POWERS_W = {"vision_encode": 310.0, "prefill": 640.0, "decode": 380.0}


def report_of(seed, calls, prefill_ms=45, sensor=COUNTER, **settings):
    lengths_ms = {"vision_encode": 90, "prefill": prefill_ms, "decode": 450}
    phases = tuple(ScriptedPhase(name, ms * MS, {"gpu": POWERS_W[name]}) for name, ms in lengths_ms.items())
    usual = {"pause_ns": 30 * MS, "dither_ns": 130 * MS, "power_variation_fraction": 0.03}
    plan = Script(phases=phases, calls=calls, **{**usual, **settings})
    phase_ns = random.Random(seed).randrange(100 * MS)
    return analyze(simulate(plan, [replace(sensor, phase_ns=phase_ns, seed=seed)], seed).recording)


def reached(report: Report, part: str) -> float:
    """The half-width of the expected call over the calls that ran, as a fraction of its value."""
    scatter = report.scatter(part)
    assert not scatter.planned
    return scatter.half_width_j(len(report.calls)) / scatter.mean_j


@pytest.mark.parametrize("prefill_ms", [15, 45, 120])
@pytest.mark.parametrize("calls", [1, 5, 20])
def test_the_foretold_number_of_calls_gives_the_half_width_that_was_asked_for_within_a_factor_of_two(calls, prefill_ms):
    target = 0.04 if prefill_ms == 15 else 0.02
    foretold = [report_of(seed, calls, prefill_ms).calls_needed("prefill", relative=target) for seed in range(3)]
    played = report_of(77, int(np.median(foretold)), prefill_ms)
    assert target / 2 <= reached(played, "prefill") <= target * 2
    assert played.joules("prefill").half_width_j <= 1.1 * reached(played, "prefill") * float(played.joules("prefill"))


def test_means_of_that_many_calls_scatter_around_the_expected_call_as_foretold():
    calls = report_of(0, 20).calls_needed("prefill", relative=0.03)
    means_j = [float(report_of(seed, calls).joules("prefill")) for seed in range(100, 130)]
    expected_j = 640.0 * 0.045
    rms = float(np.sqrt(np.mean((np.array(means_j) / expected_j - 1.0) ** 2)))
    assert 0.03 / 1.96 / 2 <= rms <= 0.03 / 1.96 * 2


def test_one_call_foretells_how_many_tell_its_phases_apart():
    report = report_of(1, 1, 15)
    assert not report.phase("prefill").energies["gpu"].stands_alone
    assert report.scatter("prefill").planned
    calls = report.calls_needed("prefill", relative=0.1)
    assert 5 <= calls <= 30
    assert report_of(2, calls, 15).phase("prefill").energies["gpu"].stands_alone


def test_a_precision_finer_than_boundaries_are_sharp_needs_no_number_of_calls():
    report = report_of(3, 20, prefill_ms=15)
    with pytest.raises(NotResolved, match="no number of calls brings prefill to"):
        report.calls_needed("prefill", relative=0.001)


def test_a_finer_precision_needs_more_calls_and_the_whole_call_fewer_than_its_parts():
    report = report_of(4, 20)
    needed = [report.calls_needed("prefill", relative=each) for each in (0.05, 0.02, 0.01)]
    assert needed == sorted(set(needed))
    assert report.calls_needed("call", relative=0.02) <= report.calls_needed("prefill", relative=0.02)


def test_durations_that_differ_from_call_to_call_need_more_calls():
    same, different = report_of(5, 20), report_of(5, 20, duration_variation_fraction=0.1)
    assert different.calls_needed("decode", relative=0.02) > 2 * same.calls_needed("decode", relative=0.02)


def test_bounds_that_no_number_of_calls_narrows_are_not_promised_to_be_narrower():
    averaged = VirtualSensor("gpu-0/board", window_ns=25 * MS, max_power_w=700.0)
    with pytest.raises(NotResolved, match="more calls do not narrow"):
        report_of(6, 1, sensor=averaged).calls_needed("prefill")
    model = VirtualSensor("gpu-0/model", method="model", max_power_w=700.0)
    with pytest.raises(NotResolved, match="more calls do not narrow"):
        report_of(6, 10, sensor=model).calls_needed("prefill")


def test_calls_in_step_with_the_ticks_are_told_to_pause_at_random():
    report = report_of(0, 20, 10, replace(COUNTER, jitter_ns=0), dither_ns=0, pause_ns=46 * MS, gap_ns=1 * MS)
    assert not report.phase("prefill").energies["gpu"].stands_alone
    with pytest.raises(NotResolved, match="pauses of random length"):
        report.calls_needed("prefill", relative=0.1)


def test_what_more_calls_would_do_survives_a_file(tmp_path):
    report = report_of(8, 5)
    report.save(tmp_path / "report.json")
    loaded = Report.load(tmp_path / "report.json")
    assert loaded.scatter("prefill") == report.scatter("prefill")
    assert loaded.calls_needed("prefill") == report.calls_needed("prefill")

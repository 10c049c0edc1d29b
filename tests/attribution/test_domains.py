"""What makes up a domain: nothing twice, nothing mixed, nothing absent taken for zero."""

from dataclasses import replace

import pytest

from wattvlm.attribution import analyze
from wattvlm.errors import NotResolved
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
POWERS = {"gpu": 300.0, "cpu": 100.0, "node": 600.0, "cpu-0/core": 60.0, "ram": 20.0}


def report_of(*sensors, powers=POWERS):
    script = Script(
        phases=(ScriptedPhase("decode", 2000 * MS, powers),), idle_w={"gpu": 70.0, "cpu": 40.0, "ram": 20.0},
        between_w=powers, gap_ns=0,
    )  # fmt: skip
    return analyze(simulate(script, sensors).recording)


def middle_j(report, domain):
    return report.phase("decode").energies[domain].energy.mean_j


PACKAGE = VirtualSensor("cpu-0/package", "cpu", period_ns=MS, resolution=61e-6)
CORE = VirtualSensor("cpu-0/core", "cpu", period_ns=MS, resolution=61e-6, contained_in="cpu-0/package")
PSYS = VirtualSensor("psys-0/psys", "node", period_ns=MS, resolution=61e-6)
GPU = VirtualSensor("gpu-0/board", max_power_w=700.0, gain_std_fraction=0.02)
CPU_MODEL = VirtualSensor("cpu/model", "cpu", "model", gain_std_fraction=0.3)


def test_core_is_not_counted_twice_inside_package():
    report = report_of(PACKAGE, CORE)
    assert middle_j(report, "cpu") == pytest.approx(200.0, rel=0.01)
    assert [use.in_totals for use in report.channels] == [True, False]


def test_core_counts_where_its_package_is_absent():
    assert middle_j(report_of(replace(PACKAGE, denied=True), CORE), "cpu") == pytest.approx(120.0, rel=0.01)


def test_psys_is_no_second_cpu():
    report = report_of(PACKAGE, PSYS)
    assert middle_j(report, "cpu") == pytest.approx(200.0, rel=0.01)
    assert middle_j(report, "node") == pytest.approx(1200.0, rel=0.01)
    assert report.accelerator == "cpu"


def test_several_gpus_are_summed_and_not_averaged():
    powers = {"gpu-0": 300.0, "gpu-1": 100.0}
    second = replace(GPU, name="gpu-1/board", phase_ns=41 * MS)
    report = report_of(GPU, second, powers=powers)
    decode = report.phase("decode").energies["gpu"].energy
    assert decode.mean_j == pytest.approx(800.0, rel=0.05)
    assert decode.interval_j[0] <= 800.0 <= decode.interval_j[1]
    assert set(decode.gains_j) == {"gpu-0", "gpu-1"}
    assert decode.gains_j["gpu-0"] == pytest.approx(1.96 * 0.02 * 600.0, rel=0.05)


def test_watts_beside_a_counter_of_the_same_board_are_not_added():
    instant = VirtualSensor("gpu-0/instant", "gpu", "power", window_ns=25 * MS, resolution=0.001)
    report = report_of(GPU, instant)
    assert middle_j(report, "gpu") == pytest.approx(600.0, rel=0.05)
    assert [use.in_totals for use in report.channels] == [True, False]


def test_measured_beats_modelled_and_the_two_are_never_mixed():
    report = report_of(PACKAGE, CPU_MODEL)
    assert not report.is_modelled("cpu")
    assert middle_j(report, "cpu") == pytest.approx(200.0, rel=0.01)
    assert [use.in_totals for use in report.channels] == [True, False]


def test_a_model_is_never_called_measured_and_owns_its_error():
    report = report_of(CPU_MODEL, GPU)
    energy = report.phase("decode").energies["cpu"].energy
    assert energy.is_modelled
    assert energy.mean_j == pytest.approx(200.0, rel=0.02)
    assert energy.interval_j == pytest.approx((200.0 * (1 - 0.588), 200.0 * 1.588), rel=0.02)
    assert energy.gains_j == {}
    assert report.joules("decode", domains=("gpu", "cpu")).is_modelled
    assert report.idle["cpu"].modelled


def test_an_absent_sensor_is_absent_and_not_zero():
    report = report_of(replace(GPU, denied=True), PACKAGE)
    assert "gpu" not in report.block.energies
    assert "gpu" not in report.idle
    assert [absence.domain for absence in report.absent] == ["gpu"]
    with pytest.raises(NotResolved, match="gpu has no joules"):
        report.joules("decode", domains=("gpu",))


def test_a_counter_that_never_ticks_is_absent_and_its_model_serves():
    dead = replace(PACKAGE, stuck_ns=(0, 10**18))
    report = report_of(dead, CPU_MODEL)
    assert report.is_modelled("cpu")
    assert "gave no usable reading" in report.absent[0].what


def test_dram_is_read():
    dram = VirtualSensor("cpu-0/dram", "ram", period_ns=MS, resolution=61e-6)
    report = report_of(PACKAGE, dram)
    assert middle_j(report, "ram") == pytest.approx(40.0, rel=0.01)
    assert middle_j(report, "cpu") == pytest.approx(200.0, rel=0.01)


def test_no_sensor_at_all_still_gives_times_and_tokens():
    report = report_of()
    assert report.domains == ()
    assert report.accelerator is None
    assert report.latency_s == pytest.approx(2.0)
    with pytest.raises(NotResolved, match="wattvlm doctor"):
        report.joules("decode")

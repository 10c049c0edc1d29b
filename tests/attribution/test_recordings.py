"""Square waves as real boards showed them, and as virtual ones with the same parameters do: phases, totals."""

import random

import numpy as np
import pytest

from benchmarks import recordings
from benchmarks.recordings import HIGH, LOW, NAME, Vector
from wattvlm.attribution import analyze
from wattvlm.recording import Readings
from wattvlm.testing import PowerCurve, VirtualSensor

MS = 1_000_000
START_NS = 1_000_000 * MS


def recorded(name):
    """A recording of a real board; the project does not ship them."""
    if not (recordings.FOLDER / f"{name}_edges.json").exists():
        pytest.skip(f"{recordings.FOLDER} does not hold {name}: no recording of a real board to compare with")
    return recordings.vector(name)


def virtual(period_ms, levels_w, seconds, *, poll_ms, seed, **behaviour):
    """A square wave on a virtual board: 60 W, then high and low in turn, polled by a program with its own stamps."""
    chance = random.Random(seed)
    time_ns, edges, steps = START_NS, [], []
    while time_ns < START_NS + seconds * 1000 * MS:
        for power_w in levels_w:
            edges.append(time_ns)
            steps.append((time_ns, power_w))
            time_ns += round(period_ms / 2 * MS * chance.uniform(0.999, 1.001))
    edges.append(time_ns)
    curve = PowerCurve([*steps, (time_ns, 60.0)], before_w=60.0)
    sensor = VirtualSensor(
        NAME, **{"method": "power", "jitter_ns": MS, "noise_w": 0.5, "resolution": 0.01, "seed": seed, **behaviour}
    )
    rows, read_ns = [], START_NS - 1500 * MS
    while read_ns < time_ns + 200 * MS:
        rows.append((read_ns, sensor.shown(curve, read_ns)))
        read_ns += round(poll_ms * chance.uniform(0.9, 1.2) * MS)
    times = np.array([row[0] for row in rows], dtype=np.int64)
    readings = Readings(NAME, times, times, np.zeros_like(times), np.array([row[1] for row in rows]))
    meter_ns = np.arange(START_NS - 1000 * MS, time_ns + 200 * MS, MS // 5, dtype=np.int64)
    meter_w = np.array([curve.power_w(int(each)) for each in meter_ns])
    return Vector("A100_virtual", readings, np.array(edges), True, meter_ns, meter_w)


A100_LIKE = {"period_ns": 101_200_000, "gain": 0.954, "offset_w": -1.18}


@pytest.mark.parametrize("behaviour", [{"window_ns": 25 * MS}, {"rise_ns": 12 * MS}], ids=["boxcar", "first order"])
def test_phases_of_a_square_wave_are_found_through_an_unknown_part_time_window(behaviour):
    own = virtual(104.3, (190.0, 65.0), 4.0, poll_ms=13.0, seed=3, **A100_LIKE, **behaviour)
    report, true_j = analyze(recordings.recording_of(own)), recordings.truth_j(own)
    for name, most in ((HIGH, 0.03), (LOW, 0.09)):
        found = report.phase(name).energies["gpu"]
        assert found.stands_alone
        assert found.energy.middle_j == pytest.approx(true_j[name], rel=most)
        low_j, high_j = found.energy.absolute_interval_j
        assert low_j <= true_j[name] <= high_j
    assert any("found from the readings" in note for note in report.notes)


def test_phases_in_step_with_the_sensor_are_refused_and_the_total_stays_right():
    own = virtual(
        99.95, (240.0, 65.0), 5.0, poll_ms=7.0, seed=4, window_ns=100 * MS, gain=0.954, offset_w=-1.18,
        period_ns=99_950_000,
    )  # fmt: skip
    report = analyze(recordings.recording_of(own))
    assert not report.phase(HIGH).energies["gpu"].stands_alone
    assert not report.phase(LOW).energies["gpu"].stands_alone
    cycles = recordings.cycles_of(own)
    true_j = own.energy_j(cycles[0][0], cycles[-1][2])
    assert report.block.energies["gpu"].energy.middle_j == pytest.approx(true_j, rel=0.02)


def test_the_square_wave_of_a_real_a100_is_split_as_its_meter_says():
    own = recorded("A100_sq52")
    report = analyze(recordings.recording_of(own))
    as_metered, aligned = recordings.truth_j(own), recordings.truth_j(own, recordings.meter_late_ns(own))
    for name, most in ((HIGH, 0.03), (LOW, 0.09)):
        found = report.phase(name).energies["gpu"]
        assert found.stands_alone
        for true_j in (as_metered[name], aligned[name]):
            assert found.energy.middle_j == pytest.approx(true_j, rel=most)
        low_j, high_j = found.energy.absolute_interval_j
        assert low_j <= aligned[name] <= high_j


def test_the_square_wave_of_a_real_3090_in_step_with_its_sensor_is_refused():
    own = recorded("3090_sq52")
    report = analyze(recordings.recording_of(own))
    assert not report.phase(HIGH).energies["gpu"].stands_alone
    assert not report.phase(LOW).energies["gpu"].stands_alone
    cycles = recordings.cycles_of(own)
    true_j = own.energy_j(cycles[0][0], cycles[-1][2])
    assert report.block.energies["gpu"].energy.middle_j == pytest.approx(true_j, rel=0.02)


@pytest.mark.parametrize(("name", "period_ms", "window_ms"), [("A100_sq52", 101.2, 25.0), ("3090_sq52", 99.95, 100.0)])
def test_real_boards_are_identified_against_their_meter(name, period_ms, window_ms):
    found = recordings.identity_of(recorded(name), with_meter=True)
    assert found.update_period_ns == pytest.approx(period_ms * MS, rel=0.01)
    assert found.window_ns is not None
    assert sum(found.window_ns) / 2 == pytest.approx(window_ms * MS, rel=0.2)


def test_a_real_lone_step_identifies_no_window():
    found = recordings.identity_of(recorded("A100_step6s"))
    assert found.window_ns is None
    assert "lone step" in found.reason

"""What a sensor is, found from its readings of a load that switches: periods, windows, lags, and honest refusals."""

import random

import numpy as np
import pytest

from wattvlm.attribution.identify import identify
from wattvlm.recording import Readings
from wattvlm.testing import PowerCurve, VirtualMachine, VirtualSensor

MS = 1_000_000
HIGH_W, LOW_W, IDLE_W = 300.0, 90.0, 70.0


def square_wave(period_ms, seconds, dither_ms=0.0, seed=0):
    """(the edges of a load, its power curve): idle for 1.5 s, then high and low in turn."""
    chance = random.Random(seed)
    start_ns = time_ns = 1500 * MS
    edges, steps = [], []
    while time_ns < start_ns + seconds * 1000 * MS:
        for power_w in (HIGH_W, LOW_W):
            edges.append(time_ns)
            steps.append((time_ns, power_w))
            time_ns += round((period_ms / 2 + chance.uniform(0.0, dither_ms)) * MS)
    return np.array([*edges, time_ns]), PowerCurve([*steps, (time_ns, IDLE_W)], before_w=IDLE_W)


def polled(sensor, curve, until_ns, poll_ms=13.0, seed=0):
    """What a program sees that reads the value each few milliseconds, with its own stamps."""
    chance = random.Random(seed)
    rows, time_ns = [], 0
    while time_ns < until_ns:
        rows.append((time_ns, sensor.shown(curve, time_ns)))
        time_ns += round(poll_ms * chance.uniform(0.8, 1.3) * MS)
    times = np.array([row[0] for row in rows], dtype=np.int64)
    return Readings(sensor.name, times, times, np.zeros_like(times), np.array([row[1] for row in rows]))


def virtual(**behaviour):
    return VirtualSensor(
        **{"name": "gpu-0/power", "method": "power", "resolution": 0.1, "noise_w": 1.0, "jitter_ns": MS, **behaviour}
    )


@pytest.mark.parametrize(
    ("kind", "behaviour", "period_ms", "window_ms"),
    [
        ("boxcar", {"window_ns": 25 * MS}, 104.0, 25.0),
        ("boxcar", {"window_ns": 100 * MS}, 130.0, 100.0),
        ("boxcar", {"window_ns": 10 * MS, "period_ns": 20 * MS, "jitter_ns": MS // 4}, 26.0, 10.0),
        ("first-order", {"rise_ns": 60 * MS}, 260.0, 120.0),
    ],
    ids=["25 of 100 ms", "100 of 100 ms", "10 of 20 ms", "first order"],
)
def test_a_square_wave_identifies_period_window_and_kind(kind, behaviour, period_ms, window_ms):
    sensor = virtual(**behaviour, phase_ns=17 * MS, seed=1)
    edges, curve = square_wave(period_ms, 4.0, dither_ms=4.0, seed=1)
    poll_ms = 13.0 if sensor.period_ns > 50 * MS else 3.0
    found = identify(polled(sensor, curve, int(edges[-1]), poll_ms, 1), edges)
    assert found.update_period_ns == pytest.approx(sensor.period_ns, rel=0.01)
    assert found.response == kind, found.reason
    assert found.window_ns is not None
    assert sum(found.window_ns) / 2 == pytest.approx(window_ms * MS, rel=0.2)
    assert found.window_ns[0] <= window_ms * MS <= found.window_ns[1]
    assert found.residual_fraction is not None
    assert found.residual_fraction < 0.1


def test_a_one_second_mean_is_identified_by_a_slow_load():
    sensor = virtual(window_ns=1000 * MS, phase_ns=40 * MS)
    edges, curve = square_wave(740.0, 12.0, dither_ms=150.0)
    found = identify(polled(sensor, curve, int(edges[-1])), edges)
    assert found.response == "boxcar"
    assert found.window_ns is not None
    assert found.window_ns[0] <= 1000 * MS <= found.window_ns[1]


def test_an_exact_counter_is_told_from_one_that_adds_up_samples():
    edges, curve = square_wave(130.0, 8.0, dither_ms=10.0)
    counter = VirtualSensor("gpu-0/board", phase_ns=30 * MS, jitter_ns=MS, max_power_w=700.0)
    machine = VirtualMachine({"gpu": curve}, [counter])
    readings = machine.record(0, int(edges[-1])).readings["gpu-0/board"]
    found = identify(readings, edges, is_counter=True)
    assert found.response == "counter"
    sampled = virtual(window_ns=25 * MS, phase_ns=30 * MS, noise_w=0.0, resolution=0.001)
    ticks = np.arange(2, int(edges[-1] // (100 * MS)))
    times = np.array([sampled.tick_ns(int(tick)) for tick in ticks], dtype=np.int64)
    values = np.cumsum([sampled.shown(curve, int(time_ns)) * 0.1 for time_ns in times])
    poor = Readings("gpu-0/board", times, times - MS // 2, np.zeros_like(times), values)
    other = identify(poor, edges, is_counter=True)
    assert other.response == "boxcar"
    assert other.window_ns is not None
    assert other.window_ns[1] < 40 * MS


@pytest.mark.parametrize("window_ms", [25, 100])
def test_a_lone_step_does_not_identify_a_window(window_ms):
    edges = np.array([1500 * MS, 7500 * MS, 13_500 * MS])
    curve = PowerCurve([(1500 * MS, HIGH_W), (7500 * MS, LOW_W), (13_500 * MS, IDLE_W)], before_w=IDLE_W)
    found = identify(polled(virtual(window_ns=window_ms * MS), curve, 14_000 * MS), edges)
    assert found.window_ns is None
    assert "lone step" in found.reason
    assert found.update_period_ns == pytest.approx(100 * MS, rel=0.01)


def test_a_load_in_step_with_the_sensor_identifies_no_window():
    for period_ms in (50.0, 100.0, 200.0):
        edges, curve = square_wave(period_ms, 8.0)
        found = identify(polled(virtual(window_ns=100 * MS, phase_ns=20 * MS), curve, int(edges[-1])), edges)
        assert found.window_ns is None
        assert "in step" in found.reason


def test_a_trusted_meter_gives_gain_and_offset_and_a_window_even_nearly_in_step():
    edges, curve = square_wave(98.0, 5.0)
    sensor = virtual(window_ns=100 * MS, gain=0.95, offset_w=-2.0, phase_ns=20 * MS)
    times = np.arange(1000 * MS, int(edges[-1]), MS // 4)
    meter = times, np.array([curve.power_w(int(time_ns)) for time_ns in times])
    found = identify(polled(sensor, curve, int(edges[-1])), edges, meter=meter)
    assert found.gain == pytest.approx(0.95, abs=0.01)
    assert found.offset_w == pytest.approx(-2.0, abs=2.0)
    assert found.window_ns is not None
    assert sum(found.window_ns) / 2 == pytest.approx(100 * MS, rel=0.2)


def test_a_lag_between_marks_and_stamps_is_found():
    sensor = virtual(window_ns=25 * MS, jitter_ns=0)
    edges, curve = square_wave(104.0, 6.0, dither_ms=4.0)
    found = identify(polled(sensor, curve, int(edges[-1])), edges - 5 * MS)
    assert found.lag_ns is not None
    assert found.lag_ns[0] <= 5 * MS <= found.lag_ns[1]


def test_a_sensor_that_does_not_see_the_load_is_not_identified():
    edges, curve = square_wave(104.0, 4.0)
    flat = PowerCurve([(0, 100.0)])
    found = identify(polled(virtual(noise_w=0.0), flat, int(edges[-1])), edges)
    assert (found.response, found.window_ns) == ("unknown", None)
    noisy = identify(polled(virtual(noise_w=3.0), flat, int(edges[-1])), edges)
    assert noisy.window_ns is None
    assert identify(polled(virtual(), curve, int(edges[-1])), edges[:1]).reason

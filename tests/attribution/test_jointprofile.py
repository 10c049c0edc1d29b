"""One call, on a counter and a power field of the same board: both see one curve, and bounds are narrower for it."""

from dataclasses import replace

import pytest

from wattvlm.attribution import analyze
from wattvlm.attribution.responses import Boxcar, FirstOrder
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
LENGTHS_MS = {"vision_encode": 120, "prefill": 45, "decode": 420}
POWERS_W = {"vision_encode": 310.0, "prefill": 640.0, "decode": 380.0}
COUNTER = VirtualSensor(
    "gpu-0/board", max_power_w=700.0, resolution=0.001, period_ns=100 * MS, jitter_ns=3 * MS, phase_ns=37 * MS,
    latency_ns=150_000, seed=1,
)  # fmt: skip
FIELD = VirtualSensor(
    "gpu-0/instant", method="power", max_power_w=700.0, resolution=0.001, period_ns=100 * MS, jitter_ns=3 * MS,
    phase_ns=71 * MS, window_ns=25 * MS, latency_ns=150_000, contained_in="gpu-0/board", seed=2,
)  # fmt: skip
USED, LEFT_OUT = "sees the same powers and narrows them", "is left out"


def played_on(field, seed=0, **settings):
    phases = tuple(ScriptedPhase(name, ms * MS, {"gpu": POWERS_W[name]}) for name, ms in LENGTHS_MS.items())
    return simulate(Script(phases=phases, **settings), [replace(COUNTER, seed=seed), field], seed)


def hidden(recording):
    """Nobody says how often the sensors have a value, or over what time."""
    channels = tuple(replace(each, update_period_ns=None, window_ns=None) for each in recording.channels)
    return replace(recording, channels=channels)


def stated(recording):
    """The field says over what time it averages, as NVML's mean of 1 s does."""
    counter, field = hidden(recording).channels
    return replace(recording, channels=(counter, replace(field, window_ns=recording.channels[1].window_ns)))


def alone(recording):
    counter, _ = recording.channels
    return replace(recording, channels=(counter,), readings={counter.name: recording.readings[counter.name]})


def bounds_of(report, name="prefill"):
    return report.phase(name).energies["gpu"].bounds_j


def holds(report, played, name="prefill"):
    low_j, high_j = bounds_of(report, name)
    return low_j <= played.truth_j["gpu"][0][name] <= high_j


@pytest.mark.parametrize("window_ms", [25, 1000])
def test_a_field_beside_a_counter_narrows_the_bounds_of_one_call_and_they_hold(window_ms):
    widths = []
    for seed in range(2):
        played = played_on(replace(FIELD, window_ns=window_ms * MS, phase_ns=(29 * seed + 5) * MS), seed)
        both, counted = analyze(stated(played.recording)), analyze(alone(hidden(played.recording)))
        assert any(USED in note for note in both.notes)
        for name in LENGTHS_MS:
            assert holds(both, played, name)
            (low_j, high_j), (least_j, most_j) = bounds_of(both, name), bounds_of(counted, name)
            assert high_j - low_j <= (most_j - least_j) * 1.001
        (low_j, high_j), (least_j, most_j) = bounds_of(both), bounds_of(counted)
        widths.append((high_j - low_j) / (most_j - least_j))
    assert sum(widths) / len(widths) < 0.8


@pytest.mark.parametrize(("gain", "offset_w"), [(1.02, 2.0), (0.98, -2.0)])
def test_a_field_whose_gain_and_offset_are_off_takes_no_joule_from_the_counter(gain, offset_w):
    played = played_on(replace(FIELD, gain=gain, offset_w=offset_w))
    report = analyze(stated(played.recording))
    assert all(holds(report, played, name) for name in LENGTHS_MS)
    whole_j = report.phase("decode").energies["gpu"].energy.middle_j
    assert whole_j == pytest.approx(0.42 * 380.0, rel=0.01)
    (line,) = [note for note in report.notes if USED in note]
    assert f"{100 * (gain - 1):+.0f}" in line


@pytest.mark.parametrize("odd", [{"gain": 1.15}, {"offset_w": 60.0}, {"window_ns": 300 * MS}])
def test_a_field_that_does_not_show_the_counters_curve_is_left_out_and_the_report_says_so(odd):
    played = played_on(replace(FIELD, **odd))
    seen = stated(played.recording)
    seen = replace(seen, channels=(seen.channels[0], replace(seen.channels[1], window_ns=25 * MS)))
    report, counted = analyze(seen), analyze(alone(seen))
    assert any(LEFT_OUT in note and "gpu-0/instant" in note for note in report.notes)
    assert bounds_of(report) == bounds_of(counted)


@pytest.mark.parametrize("odd", [{"window_ns": 40 * MS}])
def test_bounds_hold_whatever_window_a_field_has(odd):
    played = played_on(replace(FIELD, **odd), 1)
    assert holds(analyze(hidden(played.recording)), played)


def test_a_field_that_is_read_once_a_second_changes_nothing():
    played = played_on(replace(FIELD, period_ns=1000 * MS), pause_ns=9_000 * MS)
    report, counted = analyze(hidden(played.recording)), analyze(alone(hidden(played.recording)))
    assert bounds_of(report) == bounds_of(counted)
    assert not any("gpu-0/instant" in note for note in report.notes)


def test_what_a_call_and_its_parts_have_adds_up_with_a_field_too():
    report = analyze(stated(played_on(FIELD).recording))
    (call,) = report.calls
    parts_j = sum(part.energies["gpu"].energy.middle_j for part in (*call.phases, call.between))
    assert call.total.energies["gpu"].energy.middle_j == pytest.approx(parts_j, rel=1e-6)


def test_a_response_jumps_by_as_much_as_it_weighs_in_all():
    boxcar, first_order = Boxcar(0.025), FirstOrder(0.02)
    assert sum(jump for _, jump in boxcar.jumps) == pytest.approx(2 / 0.025)
    assert [at_s for at_s, _ in first_order.jumps] == [0.0]
    assert first_order.jumps[0][1] == pytest.approx(50.0)

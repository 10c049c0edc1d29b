"""One call and a few on a mean of power over a second: found where powers are even, held by bounds, else refused."""

from dataclasses import replace

import pytest

from wattvlm.attribution import analyze
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark

MS = 1_000_000
SECOND = 1000 * MS


def power_field(seed, **behaviour):
    return VirtualSensor(
        **{"name": "gpu-0/power", "method": "power", "max_power_w": 700.0, "resolution": 0.001, "window_ns": SECOND,
           "jitter_ns": 3 * MS, "phase_ns": 23 * MS * seed, "seed": seed, **behaviour}
    )  # fmt: skip


def phases(prefill_ms, prefill_w):
    return (
        ScriptedPhase("vision_encode", 120 * MS, {"gpu": 310.0}),
        ScriptedPhase("prefill", prefill_ms * MS, {"gpu": prefill_w}),
        ScriptedPhase("decode", 420 * MS, {"gpu": 380.0}),
    )


def hidden(recording, skew_ns):
    """The recording without period and window, its marks off by a common skew."""
    (channel,) = recording.channels
    marks = tuple(replace(mark, time_ns=mark.time_ns + skew_ns) for mark in recording.marks)
    return replace(recording, channels=(replace(channel, update_period_ns=None, window_ns=None),), marks=marks)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("prefill_w", [500.0, 690.0])
def test_the_prefill_of_one_call_is_found_in_a_mean_over_a_second(seed, prefill_w):
    played = simulate(Script(phases=phases(45, prefill_w), calls=1), [power_field(seed)], seed)
    report = analyze(hidden(played.recording, (seed - 3) * MS))
    found = report.phase("prefill").energies["gpu"]
    truth_j = played.truth_j["gpu"][0]["prefill"]
    assert found.stands_alone
    assert found.energy.is_bounds
    low_j, high_j = found.energy.interval_j
    assert low_j <= truth_j <= high_j
    assert abs(found.energy.middle_j - truth_j) < 0.05 * truth_j
    assert any("one power inside each phase" in note and "found from the readings" in note for note in report.notes)


def test_parts_of_one_call_add_up_to_it():
    played = simulate(Script(phases=phases(45, 600.0), calls=1), [power_field(2)], 2)
    report = analyze(hidden(played.recording, MS))
    assert report.between is not None
    assert report.total is not None
    parts = [*(report.phase(name) for name in ("vision_encode", "prefill", "decode")), report.between]
    summed_j = sum(float(part.energies["gpu"].energy) for part in parts)
    assert summed_j == pytest.approx(float(report.total.energies["gpu"].energy), rel=1e-6)


def test_calls_of_different_powers_are_each_found():
    script = Script(phases=phases(120, 600.0), calls=2, power_variation_fraction=0.1)
    played = simulate(script, [power_field(3)], 3)
    report = analyze(hidden(played.recording, 2 * MS))
    for call, truth_j in zip(report.calls, played.truth_j["gpu"]):
        energy = next(part for part in call.phases if part.name == "decode").energies["gpu"].energy
        assert energy.interval_j[0] <= truth_j["decode"] <= energy.interval_j[1]
        assert energy.half_width_j < 0.2 * truth_j["decode"]


def test_a_window_shorter_than_its_period_that_nobody_states_keeps_its_wide_bounds():
    played = simulate(Script(phases=phases(45, 600.0), calls=1), [power_field(2, window_ns=25 * MS)], 2)
    report = analyze(hidden(played.recording, MS))
    assert not report.phase("prefill").energies["gpu"].stands_alone
    assert not any("one power inside each phase" in note for note in report.notes)


def test_powers_that_are_far_from_even_keep_the_bounds_of_any_curve():
    """Half of the decode draws 600 W, the other half 100 W: no one power a phase fits the readings."""
    curve = PowerCurve([(0, 70.0), (1050 * MS, 300.0), (1150 * MS, 500.0), (1200 * MS, 650.0), (1700 * MS, 75.0),
                        (2200 * MS, 70.0)], before_w=70.0)  # fmt: skip
    marks = [Mark(1000 * MS, "block_start", 1), Mark(1050 * MS, "call_start", 1, "scripted")]
    for name, start_ms, end_ms in (("vision_encode", 1050, 1150), ("prefill", 1150, 1200), ("decode", 1200, 2200)):
        marks += [Mark(start_ms * MS, "phase_start", 1, name), Mark(end_ms * MS, "phase_end", 1, name)]
    marks += [Mark(2200 * MS, "call_end", 1, text="returned"), Mark(2220 * MS, "block_end", 1)]
    recording = VirtualMachine({"gpu": curve}, [power_field(1)]).record(0, 3500 * MS, marks)
    report = analyze(hidden(recording, 0))
    assert not any("one power inside each phase" in note for note in report.notes)
    low_j, high_j = report.phase("prefill").energies["gpu"].bounds_j
    assert low_j <= 25.0 <= high_j


@pytest.mark.parametrize("seed", range(1, 4))
def test_reads_in_step_with_ticks_that_nobody_stamps_do_not_make_bounds_too_narrow(seed):
    sensor = power_field(seed, stamped=False, jitter_ns=0)
    played = simulate(Script(phases=phases(45, 600.0), calls=1), [sensor], seed)
    found = analyze(hidden(played.recording, MS)).phase("prefill").energies["gpu"]
    truth_j = played.truth_j["gpu"][0]["prefill"]
    assert found.bounds_j[0] <= truth_j <= found.bounds_j[1]
    assert found.bounds_j[1] - found.bounds_j[0] < 0.5 * 700.0 * 0.045


@pytest.mark.parametrize("seed", range(1, 4))
def test_power_that_drifts_inside_short_phases_is_held_by_the_bounds_of_one_call(seed):
    power_w = {"vision_encode": 300.0, "prefill": 560.0, "decode": 340.0}
    steps, time_ns, marks, truth_j = [(70.0, 3000 * MS)], 3000 * MS, [Mark(2900 * MS, "block_start", 1)], 0.0
    for (name, mean_w), length_ns in zip(power_w.items(), (120 * MS, 48 * MS, 400 * MS)):
        marks.append(Mark(time_ns, "phase_start", 0, name))
        for step in range(8):
            steps.append((mean_w * (1.0 + 0.18 * (step - 3.5) / 8), length_ns // 8))
            truth_j += steps[-1][0] * length_ns / 8e9 * (name == "prefill")
        time_ns += length_ns
        marks.append(Mark(time_ns, "phase_end", 0, name))
    steps.append((70.0, 1200 * MS))
    machine = VirtualMachine({"gpu": PowerCurve.of_segments(0, steps)}, [power_field(seed)])
    marks.append(Mark(time_ns + 10 * MS, "block_end", 1))
    recording = hidden(machine.record(2000 * MS, time_ns + 1150 * MS, marks), 0)
    found = analyze(recording).phase("prefill").energies["gpu"]
    assert found.stands_alone
    assert found.energy.interval_j[0] <= truth_j <= found.energy.interval_j[1]

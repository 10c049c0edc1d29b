"""Several calls on a power field whose window nobody states: phases are found, and their intervals hold the truth."""

import random
from dataclasses import replace

import numpy as np
import pytest

from wattvlm.attribution import analyze
from wattvlm.attribution.powerviews import power_chain
from wattvlm.attribution.responses import Boxcar
from wattvlm.attribution.timeline import timeline_of
from wattvlm.attribution.updates import Updates
from wattvlm.attribution.windows import Window
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark

MS = 1_000_000
PHASES = (
    ScriptedPhase("vision_encode", 90 * MS, {"gpu": 310.0}),
    ScriptedPhase("prefill", 45 * MS, {"gpu": 600.0}),
    ScriptedPhase("decode", 420 * MS, {"gpu": 330.0}),
)


def power_field(seed, **behaviour):
    return VirtualSensor(
        **{"name": "gpu-0/power", "method": "power", "max_power_w": 700.0, "noise_w": 1.0, "resolution": 0.1,
           "jitter_ns": 2 * MS, "phase_ns": 23 * MS * seed, "seed": seed, **behaviour}
    )  # fmt: skip


def hidden(recording, skew_ns):
    """The recording without period and window, its marks off by a common skew."""
    (channel,) = recording.channels
    marks = tuple(replace(mark, time_ns=mark.time_ns + skew_ns) for mark in recording.marks)
    return replace(recording, channels=(replace(channel, update_period_ns=None, window_ns=None),), marks=marks)


@pytest.mark.parametrize(
    ("behaviour", "words", "widest"),
    [
        ({"window_ns": 25 * MS}, "the mean of 25 ms", 0.06),
        ({"window_ns": 1000 * MS}, "the mean of 1000 ms", 0.12),
        ({"rise_ns": 50 * MS}, "first order, 50 ms", 0.12),
    ],
    ids=["25 of 100 ms", "1 s mean", "first order"],
)
def test_phases_of_twenty_calls_are_found_whatever_the_power_field_averages(behaviour, words, widest):
    script = Script(phases=PHASES, calls=20, power_variation_fraction=0.03, quiet_ns=1500 * MS, dither_ns=130 * MS)
    played = simulate(script, [power_field(2, **behaviour)], 2)
    report = analyze(hidden(played.recording, 2 * MS))
    assert any(words in note and "found from the readings" in note for note in report.notes), report.notes
    for name in ("vision_encode", "prefill", "decode"):
        energy = report.phase(name).energies["gpu"].energy
        truth_j = sum(call[name] for call in played.truth_j["gpu"]) / 20
        assert not energy.is_bounds
        assert abs(energy.middle_j - truth_j) <= 1.5 * energy.half_width_j
        assert energy.half_width_j < widest * truth_j


def test_a_window_that_is_stated_is_taken_as_it_is():
    script = Script(phases=PHASES, calls=8, power_variation_fraction=0.03, quiet_ns=1500 * MS)
    played = simulate(script, [power_field(3, window_ns=25 * MS)], 3)
    report = analyze(played.recording)
    assert any("the mean of 25 ms (known)" in note for note in report.notes)
    prefill = report.phase("prefill").energies["gpu"].energy
    truth_j = sum(call["prefill"] for call in played.truth_j["gpu"]) / 8
    assert prefill.interval_j[0] <= truth_j <= prefill.interval_j[1]


def test_a_block_s_joules_are_those_of_its_calls_and_of_the_time_between_them():
    """A field that sees a quarter of the time says little of a block by itself: 10 % and more to either side."""
    script = Script(phases=PHASES, calls=12, power_variation_fraction=0.03, quiet_ns=1500 * MS)
    played = simulate(script, [power_field(3, window_ns=25 * MS)], 3)
    report = analyze(played.recording)
    block, outside = (part.energies["gpu"].energy for part in (report.block, report.outside))
    assert abs(float(block) - played.block_j["gpu"]) <= 1.5 * block.half_width_j
    assert 0.0 < block.half_width_j < 0.01 * block.middle_j
    assert 12 * float(report.joules("call")) + float(outside) == pytest.approx(float(block), rel=1e-3)


def test_pauses_that_draw_now_this_and_now_that_keep_the_bounds_of_the_block():
    """Such as work that nobody marked: a quarter of it is seen, and no mean power stands for the rest."""
    chance = random.Random(1)
    time_ns, steps, marks = 1000 * MS, [(0, 70.0)], [Mark(900 * MS, "block_start", 1)]
    for call in range(1, 13):
        steps.append((time_ns, chance.uniform(80.0, 500.0)))
        time_ns += round(chance.uniform(60.0, 190.0) * MS)
        marks.append(Mark(time_ns, "call_start", call, "scripted"))
        for name, length_ms, power_w in (("prefill", 45, 600.0), ("decode", 420, 330.0)):
            marks.append(Mark(time_ns, "phase_start", call, name))
            steps.append((time_ns, power_w))
            time_ns += length_ms * MS
            marks.append(Mark(time_ns, "phase_end", call, name))
        marks.append(Mark(time_ns, "call_end", call, text="returned"))
    steps.append((time_ns, 70.0))
    marks.append(Mark(time_ns, "block_end", 1))
    curve = PowerCurve(steps, before_w=70.0)
    machine = VirtualMachine({"gpu": curve}, [power_field(3, window_ns=25 * MS)])
    report = analyze(machine.record(0, time_ns + 1000 * MS, marks))
    block = report.block.energies["gpu"].energy
    assert not report.phase("decode").energies["gpu"].energy.is_bounds
    assert block.is_bounds
    assert block.interval_j[0] <= curve.energy_j(900 * MS, time_ns) <= block.interval_j[1]


def test_a_decode_that_wanders_in_steps_is_held_by_its_interval():
    """Steps of 12 ms at 400 and 240 W, as one forward pass after the other draws them."""
    chance = random.Random(5)
    time_ns, steps, marks, truth_j = 1000 * MS, [(0, 70.0)], [Mark(900 * MS, "block_start", 1)], 0.0
    for call in range(1, 21):
        time_ns += round(chance.uniform(30.0, 160.0) * MS)
        marks += [Mark(time_ns, "call_start", call, "scripted"), Mark(time_ns, "phase_start", call, "prefill")]
        steps.append((time_ns, 600.0))
        time_ns += 45 * MS
        marks += [Mark(time_ns, "phase_end", call, "prefill"), Mark(time_ns, "phase_start", call, "decode")]
        for _ in range(20):
            steps += [(time_ns, 400.0), (time_ns + 12 * MS, 240.0)]
            time_ns += 24 * MS
        steps.append((time_ns, 110.0))
        marks += [Mark(time_ns, "phase_end", call, "decode"), Mark(time_ns, "call_end", call, text="returned")]
    marks.append(Mark(time_ns + 50 * MS, "block_end", 1))
    curve = PowerCurve(steps, before_w=70.0)
    recording = VirtualMachine({"gpu": curve}, [power_field(4, window_ns=25 * MS)]).record(
        0, time_ns + 1000 * MS, marks
    )
    report = analyze(hidden(recording, 0))
    for name, truth_j in (("prefill", 600.0 * 0.045), ("decode", 320.0 * 0.48)):
        found = report.phase(name).energies["gpu"]
        low_j, high_j = found.energy.interval_j if found.stands_alone else found.bounds_j
        assert low_j <= truth_j <= high_j


def test_what_ran_before_the_block_is_not_taken_for_idle():
    """Fifteen calls without a meter end just before the block, and a mean over a second still shows them in it."""
    session = simulate(
        Script(
            phases=(
                ScriptedPhase("vision_encode", 45_000_000, {"gpu": 310.0}),
                ScriptedPhase("prefill", 45_000_000, {"gpu": 640.0}),
                ScriptedPhase("decode", 60_000_000, {"gpu": 380.0}),
            ),
            calls=40,
            power_variation_fraction=0.03,
        ),
        [power_field(11, window_ns=1_000_000_000)],
        seed=11,
    )
    first = next(index for index, mark in enumerate(session.recording.marks) if mark.call_id == 16)
    begin = replace(session.recording.marks[0], time_ns=session.recording.marks[first].time_ns - 20_000_000)
    marks = (begin, *session.recording.marks[first:])
    report = analyze(hidden(replace(session.recording, marks=marks), 0))
    truth_j = sum(call["prefill"] for call in session.truth_j["gpu"][15:]) / 25
    low_j, high_j = report.joules("prefill").interval_j
    assert low_j <= truth_j <= high_j
    assert high_j - low_j < 0.2 * truth_j


def test_clusters_have_the_same_readings_at_each_lag_so_that_lags_can_be_compared():
    time_s = np.arange(0.0, 24.0, 0.1)
    updates = Updates(time_s, np.zeros(240), np.full(240, 300.0), None)
    parts = [{"prefill": (Window(start, start + 400 * MS),)} for start in range(2_000 * MS, 22_000 * MS, 990 * MS)]
    timeline = timeline_of(parts, (Window(1_900 * MS, 23_000 * MS),), 0, 24_000 * MS)
    assert timeline is not None
    rows = {
        tuple(np.sum(power_chain(timeline, updates, 0, Boxcar(1.0), lag_s, np.ones(240)).clusters[0].real, axis=1))
        for lag_s in (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)
    }
    assert len(rows) == 1

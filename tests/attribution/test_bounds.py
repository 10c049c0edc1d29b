"""Joules of phases as bounds: they contain the truth for any powers, and they add up.

Bounds for any power curve are those of a counter's own curve; a report of one call to four has closer ones, which rest
on power that is about even in each phase (`test_fewcounts.py`). Powers of these scripts are even.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wattvlm.attribution import analyze
from wattvlm.attribution.calls import call_windows
from wattvlm.attribution.counter import counter_curve
from wattvlm.attribution.joules import domain_joules
from wattvlm.attribution.windows import columns
from wattvlm.recording import Gap, Readings, Recording
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark

MS = 1_000_000
pytestmark = pytest.mark.filterwarnings("error")
LIMIT_W = 700.0
PHASES = ("vision_encode", "prefill", "decode")

watts = st.one_of(st.floats(0.0, LIMIT_W), st.sampled_from([0.0, 70.0, 690.0, LIMIT_W]))
durations = st.integers(1, 400).map(lambda ms: ms * MS)


def counter(**settings_):
    return VirtualSensor(**{"name": "gpu-0/board", "max_power_w": LIMIT_W, "resolution": 0.001, **settings_})


@st.composite
def sensors(draw):
    period_ns = draw(st.sampled_from([MS, 20 * MS, 100 * MS]))
    return counter(
        period_ns=period_ns,
        phase_ns=draw(st.integers(0, period_ns - 1)),
        jitter_ns=draw(st.sampled_from([0, period_ns // 30])),
        latency_ns=draw(st.sampled_from([0, 150_000, 2 * MS])),
        resolution=draw(st.sampled_from([1e-6, 0.001, 1.0])),
        max_power_w=draw(st.sampled_from([LIMIT_W, None])),
        seed=draw(st.integers(0, 1000)),
    )


@st.composite
def scripts(draw):
    phases = tuple(ScriptedPhase(name, draw(durations), {"gpu": draw(watts)}) for name in PHASES)
    return Script(
        phases=phases,
        calls=draw(st.integers(1, 3)),
        idle_w={"gpu": draw(st.floats(20.0, 100.0))},
        between_w={"gpu": draw(watts)},
        gap_ns=draw(st.sampled_from([0, 100_000, 7 * MS])),
        pause_ns=20 * MS,
        dither_ns=100 * MS,
        quiet_ns=500 * MS,
        power_variation_fraction=0.0,
    )


def parts_of(call):
    return {part.name: part for part in (*call.phases, call.between, call.total) if not part.unseen}


def lies_in(value, bounds, slack=1e-6):
    return bounds[0] - slack <= value <= bounds[1] + slack


def of_any_curve(recording):
    """What a counter's readings allow for each part of each call, whatever it drew when."""
    (channel,) = recording.channels
    curve = counter_curve(channel, recording.readings[channel.name], recording.start_ns)
    assert curve is not None
    for call in (call_windows(call, False) for call in recording.trace.calls):
        parts = {**call.phases, "between phases": call.between, "call": call.whole}
        joules = domain_joules([curve], "measured", columns(list(parts.values())))
        yield {name: joules.bounds(number) for number, name in enumerate(parts)}


@settings(max_examples=60, deadline=None)
@given(scripts(), sensors(), st.integers(0, 10_000), st.sampled_from([100_000, 500_000, 9 * MS]))
def test_the_truth_lies_inside_what_a_counter_allows_for_any_powers(script, sensor, seed, poll_ns):
    session = simulate(script, [sensor], seed, poll_ns=poll_ns)
    curve = counter_curve(sensor.channel, session.recording.readings[sensor.name], session.recording.start_ns)
    assume(curve is not None and not any("is assumed" in note for note in curve.notes))
    for bounds, truth in zip(of_any_curve(session.recording), session.truth_j["gpu"], strict=True):
        for name, own in bounds.items():
            assert lies_in(truth[name], own), name


def lies_about_in(value, interval):
    """Inside, or beyond an end by a quarter of the width at most.

    Bounds over all even powers hold at 95 %, so that a search for powers that lie just beyond them ends with some; the
    next test says how often they hold.
    """
    low, high = interval
    return low - (high - low) / 4 - 1e-6 <= value <= high + (high - low) / 4 + 1e-6


@settings(max_examples=15, deadline=None)
@given(scripts(), sensors(), st.integers(0, 10_000), st.sampled_from([100_000, 500_000, 9 * MS]))
def test_no_search_finds_even_powers_whose_truth_lies_far_from_the_bounds_of_a_row(script, sensor, seed, poll_ns):
    session = simulate(script, [sensor], seed, poll_ns=poll_ns)
    report = analyze(session.recording)
    assume(not any("is assumed" in note for note in report.notes))
    for call, truth in zip(report.calls, session.truth_j["gpu"], strict=True):
        for name, part in parts_of(call).items():
            found = part.energies["gpu"]
            assert lies_about_in(truth[name], found.bounds_j), name
            together = sum(truth[covered] for covered in found.covers)
            assert lies_about_in(together, found.energy.interval_j), found.covers
    assert lies_about_in(session.block_j["gpu"], report.block.energies["gpu"].energy.interval_j)
    assert report.between is not None
    assert report.total is not None
    for part in (*report.phases, report.between, report.total):
        if not part.unseen:
            mean_j = sum(call[part.name] for call in session.truth_j["gpu"]) / script.calls
            assert lies_about_in(mean_j, part.energies["gpu"].bounds_j), part.name


def test_bounds_of_calls_with_any_powers_hold_the_truth_of_nineteen_parts_in_twenty():
    inside = parts = 0
    for seed in range(24):
        chance = random.Random(seed)
        phases = tuple(
            ScriptedPhase(
                name, chance.randint(1, 400) * MS, {"gpu": chance.choice([chance.uniform(0, LIMIT_W), 690.0])}
            )
            for name in PHASES
        )
        script = Script(
            phases=phases, calls=chance.randint(1, 3), idle_w={"gpu": chance.uniform(20, 100)},
            between_w={"gpu": chance.uniform(0, LIMIT_W)}, gap_ns=chance.choice([0, 100_000, 7 * MS]), pause_ns=20 * MS,
            dither_ns=100 * MS, quiet_ns=500 * MS,
        )  # fmt: skip
        period_ns = chance.choice([MS, 20 * MS, 100 * MS])
        sensor = counter(
            period_ns=period_ns, phase_ns=chance.randrange(period_ns), jitter_ns=period_ns // 30, seed=seed
        )
        session = simulate(script, [sensor], seed)
        for call, truth in zip(analyze(session.recording).calls, session.truth_j["gpu"], strict=True):
            for name, part in parts_of(call).items():
                parts += 1
                inside += lies_in(truth[name], part.energies["gpu"].bounds_j)
    assert parts > 150
    assert inside >= 0.95 * parts


@settings(max_examples=12, deadline=None)
@given(scripts(), sensors(), st.integers(0, 10_000))
def test_phases_and_the_time_between_them_add_up_to_the_call(script, sensor, seed):
    report = analyze(simulate(script, [sensor], seed).recording)
    for call in report.calls:
        parts = parts_of(call)
        singles = {name: part.energies["gpu"].covers for name, part in parts.items()}
        middles = {covers: float(parts[name].energies["gpu"].energy) for name, covers in singles.items()}
        whole = middles.pop(("call",))
        assert sum(middles.values()) == pytest.approx(whole, abs=1e-6)
    calls = sum(float(call.total.energies["gpu"].energy) for call in report.calls)
    outside = float(report.outside.energies["gpu"].energy)
    assert calls + outside == pytest.approx(float(report.block.energies["gpu"].energy), abs=1e-6)


@settings(max_examples=12, deadline=None)
@given(scripts(), sensors(), st.integers(0, 10_000))
def test_the_middle_lies_inside_its_interval_and_is_never_negative(script, sensor, seed):
    report = analyze(simulate(script, [sensor], seed).recording)
    for call in report.calls:
        for part in parts_of(call).values():
            energy = part.energies["gpu"].energy
            assert energy.mean_j >= 0.0
            assert lies_in(energy.mean_j, energy.interval_j)


def test_a_prefill_at_690_of_700_watts_is_inside_its_bounds_and_these_are_narrower_than_all_powers():
    phases = (
        ScriptedPhase("vision_encode", 45 * MS, {"gpu": 310.0}),
        ScriptedPhase("prefill", 180 * MS, {"gpu": 690.0}),
        ScriptedPhase("decode", 900 * MS, {"gpu": 380.0}),
    )
    for seed in range(20):
        session = simulate(Script(phases=phases), [counter(phase_ns=seed * 5 * MS)], seed)
        found = analyze(session.recording).phase("prefill").energies["gpu"]
        assert lies_in(0.18 * 690.0, found.bounds_j)
        assert found.bounds_j[1] - found.bounds_j[0] < LIMIT_W * 0.18 * 0.5


def test_a_prefill_shorter_than_a_tick_is_not_resolved_and_not_zero():
    phases = (
        ScriptedPhase("prefill", 15 * MS, {"gpu": 640.0}),
        ScriptedPhase("decode", 900 * MS, {"gpu": 380.0}),
    )
    report = analyze(simulate(Script(phases=phases), [counter()]).recording)
    found = report.phase("prefill").energies["gpu"]
    assert not found.resolved
    assert lies_in(0.015 * 640.0, found.bounds_j)
    assert found.bounds_j[1] <= (0.015 + 0.009) * LIMIT_W
    assert report.phase("decode").energies["gpu"].stands_alone


def test_neighbours_that_cannot_be_told_apart_are_given_together_with_their_own_sum():
    phases = (
        ScriptedPhase("vision_encode", 45 * MS, {"gpu": 310.0}),
        ScriptedPhase("prefill", 30 * MS, {"gpu": 340.0}),
        ScriptedPhase("decode", 900 * MS, {"gpu": 380.0}),
    )
    joined = 0
    for seed in range(10):
        session = simulate(Script(phases=phases, gap_ns=0), [counter(phase_ns=seed * 10 * MS)], seed)
        report = analyze(session.recording)
        encode, prefill = (report.phase(name).energies["gpu"] for name in ("vision_encode", "prefill"))
        if len(encode.covers) > 1:
            joined += 1
            assert encode.covers == prefill.covers == ("vision_encode", "prefill")
            assert encode.energy.interval_j == prefill.energy.interval_j
            assert encode.resolved
            assert not encode.stands_alone
            width = encode.energy.interval_j[1] - encode.energy.interval_j[0]
            assert width < sum(each.bounds_j[1] - each.bounds_j[0] for each in (encode, prefill))
        assert report.phase("decode").energies["gpu"].stands_alone
    assert joined > 0


def test_constant_power_over_two_ticks_is_not_zero_joules():
    curve = PowerCurve([(0, 200.0)], before_w=200.0)
    for start_ms in range(0, 100, 7):
        marks = block_marks((500 + start_ms) * MS, (700 + start_ms) * MS)
        recording = VirtualMachine({"gpu": curve}, [counter()]).record(0, 1500 * MS, marks)
        energy = analyze(recording).block.energies["gpu"].energy
        assert energy.mean_j == pytest.approx(40.0, rel=0.02)
        assert lies_in(40.0, energy.interval_j)


def block_marks(*times_ns):
    """Blocks one after the other: marks of (start, end, start, end, ...)."""
    return [
        Mark(time_ns, "block_end" if index % 2 else "block_start", 1 + index // 2)
        for index, time_ns in enumerate(times_ns)
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(watts, durations), min_size=5, max_size=12), sensors(), st.floats(0.1, 0.9))
def test_splitting_a_window_sums(segments, sensor, where):
    length_ns = sum(duration_ns for _, duration_ns in segments)
    curve = PowerCurve.of_segments(1000 * MS, segments, after_w=50.0)
    machine = VirtualMachine({"gpu": curve}, [sensor])
    ends_ns = 1000 * MS, 1000 * MS + round(where * length_ns), 1000 * MS + length_ns

    def block_j(start_ns, end_ns):
        recording = machine.record(0, 2000 * MS + length_ns, block_marks(start_ns, end_ns))
        return analyze(recording).block.energies["gpu"].energy

    whole, first, second = block_j(ends_ns[0], ends_ns[2]), block_j(*ends_ns[:2]), block_j(*ends_ns[1:])
    assert first.mean_j + second.mean_j == pytest.approx(whole.mean_j, abs=1e-6)
    assert lies_in(first.interval_j[0] + second.interval_j[0], (-1.0, whole.interval_j[0]))
    assert whole.interval_j[1] <= first.interval_j[1] + second.interval_j[1] + 1e-6


def shifted(recording: Recording, by_ns: int) -> Recording:
    readings = {
        name: Readings(name, each.time_ns + by_ns, each.unchanged_at_ns + by_ns, each.took_ns, each.value)
        for name, each in recording.readings.items()
    }
    marks = tuple(replace(mark, time_ns=mark.time_ns + by_ns) for mark in recording.marks)
    gaps = tuple(Gap(gap.channel, gap.from_ns + by_ns, gap.to_ns + by_ns, gap.why) for gap in recording.gaps)
    return replace(
        recording, start_ns=recording.start_ns + by_ns, end_ns=recording.end_ns + by_ns, readings=readings, marks=marks,
        gaps=gaps,
    )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(scripts(), sensors(), st.integers(-(10**14), 10**15))
def test_shifting_time_changes_nothing(script, sensor, by_ns):
    recording = simulate(script, [sensor], start_ns=10**15).recording
    here, there = analyze(recording), analyze(shifted(recording, by_ns))
    for one, two in zip((here.block, *here.phases), (there.block, *there.phases), strict=True):
        if not one.unseen:
            assert one.duration_ns == two.duration_ns
            assert one.energies["gpu"].covers == two.energies["gpu"].covers
            pair = one.energies["gpu"].energy.interval_j, two.energies["gpu"].energy.interval_j
            assert pair[0] == pytest.approx(pair[1], abs=1e-6)


def test_a_gap_widens_the_interval_and_is_told():
    script = Script(phases=(ScriptedPhase("decode", 3000 * MS, {"gpu": 300.0}),))
    whole = simulate(script, [counter()])
    holed = simulate(script, [counter()], blind_ns=[(2000 * MS, 2600 * MS)])
    beside = simulate(script, [counter()], blind_ns=[(900 * MS, 1100 * MS)])
    width = {
        name: np.ptp(analyze(session.recording).phase("decode").energies["gpu"].energy.interval_j)
        for name, session in {"whole": whole, "holed": holed, "beside": beside}.items()
    }
    assert width["beside"] > width["whole"] + 1.0
    report = analyze(beside.recording)
    assert any("gap" in note and "gpu-0/board" in note for note in report.notes)
    assert report.channels[0].gaps == 1
    # A gap wholly inside a phase costs a counter's own bounds nothing: its joules are counted all the same.
    allowed = [next(of_any_curve(session.recording))["decode"] for session in (whole, holed)]
    assert np.ptp(allowed[1]) == pytest.approx(np.ptp(allowed[0]), abs=0.5)
    assert lies_in(900.0, analyze(holed.recording).phase("decode").energies["gpu"].energy.interval_j)


def test_boundaries_that_are_unsure_widen_the_bounds():
    script = Script(phases=(ScriptedPhase("prefill", 300 * MS, {"gpu": 600.0}),), between_w={"gpu": 50.0})
    session = simulate(script, [counter()])
    moved = tuple(
        replace(mark, time_ns=mark.time_ns + 4 * MS, value=3.0 * MS) if mark.kind.startswith("phase") else mark
        for mark in session.recording.marks
    )
    sure = analyze(session.recording).phase("prefill").energies["gpu"]
    unsure = analyze(replace(session.recording, marks=moved)).phase("prefill").energies["gpu"]
    assert np.ptp(unsure.bounds_j) > np.ptp(sure.bounds_j) + 1.0
    assert lies_in(180.0, unsure.bounds_j)


def test_a_counter_read_before_it_was_known_to_tick_says_nothing_of_when_it_did():
    """The first reading may be almost a period old: 60 J may have been used since its tick."""
    curve = PowerCurve([(0, 50.0), (1010 * MS, 650.0)], before_w=50.0)
    recording = VirtualMachine({"gpu": curve}, [counter()]).record(
        1095 * MS, 2000 * MS, block_marks(1095 * MS, 1300 * MS)
    )
    assert lies_in(0.205 * 650.0, analyze(recording).block.energies["gpu"].energy.interval_j)


def test_bounds_of_a_device_hold_for_marks_that_are_all_off_by_3_ms():
    phases = (
        ScriptedPhase("vision_encode", 90 * MS, {"gpu": 250.0}),
        ScriptedPhase("prefill", 120 * MS, {"gpu": 690.0}),
        ScriptedPhase("decode", 600 * MS, {"gpu": 200.0}),
    )
    for seed in range(12):
        session = simulate(Script(phases=phases), [counter(period_ns=20 * MS, phase_ns=seed * 5 * MS // 3)], seed)
        for by_ns in (-3 * MS, 3 * MS):
            marks = tuple(replace(mark, time_ns=mark.time_ns + by_ns) for mark in session.recording.marks)
            found = analyze(replace(session.recording, marks=marks)).phase("prefill").energies["gpu"]
            assert lies_in(0.12 * 690.0, found.bounds_j)
            assert found.bounds_j[1] - found.bounds_j[0] < 0.12 * LIMIT_W * 0.5

"""One call and a few on a counter: bounds that even powers allow hold for marks, ramps and drifts that are usual."""

import random
from dataclasses import replace

import pytest

from wattvlm.attribution import analyze
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark

MS = 1_000_000
NOTE = "one power inside each phase"
LENGTHS_MS = {"vision_encode": 120, "prefill": 45, "decode": 420}
POWERS_W = {"vision_encode": 310.0, "prefill": 690.0, "decode": 380.0}


def counter(period_ms, seed=1):
    period_ns = period_ms * MS
    return VirtualSensor(
        "gpu-0/board", max_power_w=700.0, resolution=0.001, period_ns=period_ns, jitter_ns=period_ns // 33,
        phase_ns=(seed * 23 * MS) % period_ns, latency_ns=150_000, seed=seed,
    )  # fmt: skip


def scripted(drift_fraction=0.0, **settings):
    phases = tuple(
        ScriptedPhase(name, ms * MS, {"gpu": POWERS_W[name] / (1.0 + abs(drift_fraction) / 2)}, drift_fraction)
        for name, ms in LENGTHS_MS.items()
    )
    return Script(phases=phases, **settings)


def skewed(recording, by_ns):
    return replace(recording, marks=tuple(replace(mark, time_ns=mark.time_ns + by_ns) for mark in recording.marks))


def each_moved(recording, chance):
    """Each boundary of a phase off by up to 3 ms on its own, in order."""
    latest_ns, moved = 0, []
    for mark in recording.marks:
        off_ns = chance.randint(-3 * MS, 3 * MS) if mark.kind.startswith("phase") else 0
        latest_ns = max(latest_ns, mark.time_ns + off_ns)
        moved.append(replace(mark, time_ns=latest_ns))
    return replace(recording, marks=tuple(moved))


def found_in(recording, name="prefill"):
    report = analyze(recording)
    assert any(NOTE in note for note in report.notes)
    return report.phase(name).energies["gpu"]


def holds(found, truth_j):
    return found.bounds_j[0] <= truth_j <= found.bounds_j[1]


@pytest.mark.parametrize(("period_ms", "widest_fraction"), [(100, 0.8), (20, 0.4), (1, 0.3)])
def test_a_prefill_at_690_of_700_watts_lies_in_bounds_far_narrower_than_all_powers(period_ms, widest_fraction):
    for seed in range(3):
        played = simulate(scripted(), [counter(period_ms, seed)], seed)
        found = found_in(skewed(played.recording, (seed - 1) * 3 * MS))
        assert holds(found, 0.045 * 690.0)
        assert found.bounds_j[1] - found.bounds_j[0] < widest_fraction * 0.045 * 700.0


@pytest.mark.parametrize("period_ms", [100, 20, 1])
def test_bounds_hold_where_each_boundary_is_off_on_its_own(period_ms):
    chance = random.Random(period_ms)
    held = []
    for seed in range(8):
        played = simulate(scripted(), [counter(period_ms, seed)], seed)
        held.append(holds(found_in(each_moved(played.recording, chance)), 0.045 * 690.0))
    assert sum(held) >= 7


@pytest.mark.parametrize("period_ms", [100, 20])
def test_bounds_hold_where_power_drifts_inside_phases(period_ms):
    for drift_fraction in (-0.15, 0.15):
        played = simulate(scripted(drift_fraction), [counter(period_ms)], 2)
        for name in LENGTHS_MS:
            assert holds(found_in(played.recording, name), played.truth_j["gpu"][0][name])


@pytest.mark.parametrize("period_ms", [100, 20])
def test_bounds_hold_for_what_a_phase_causes_where_power_follows_it_late(period_ms):
    played = simulate(scripted(rise_ns=2 * MS, fall_ns=MS), [counter(period_ms)], 3)
    assert holds(found_in(played.recording), played.caused_j["gpu"][0]["prefill"])


@pytest.mark.parametrize("seed", range(3))
def test_bounds_on_the_hosts_own_counter_hold_though_its_values_are_old(seed):
    """RAPL counts each millisecond, and a read shows what was counted up to two of these ago."""
    sensor = replace(counter(1), name="cpu-0/package", domain="cpu", max_power_w=250.0, phase_ns=333_000 * seed)
    watts = {"vision_encode": 90.0, "prefill": 240.0, "decode": 130.0}
    phases = tuple(ScriptedPhase(name, ms * MS, {"cpu": watts[name]}) for name, ms in LENGTHS_MS.items())
    played = simulate(Script(phases=phases, idle_w={"cpu": 30.0}, between_w={"cpu": 60.0}), [sensor], seed)
    report = analyze(played.recording)
    assert any(NOTE in note for note in report.notes)
    for part in report.calls[0].phases:
        assert holds(part.energies["cpu"], played.truth_j["cpu"][0][part.name])


def test_each_of_a_few_calls_has_bounds_of_its_own():
    played = simulate(scripted(calls=3, power_variation_fraction=0.1), [counter(20)], 4)
    report = analyze(played.recording)
    for call, truth_j in zip(report.calls, played.truth_j["gpu"], strict=True):
        for part in call.phases:
            assert holds(part.energies["gpu"], truth_j[part.name])


def test_a_gap_that_marks_have_closed_is_still_there():
    played = simulate(scripted(gap_ns=3 * MS), [counter(20)], 5)
    closed = tuple(
        replace(mark, time_ns=mark.time_ns + 3 * MS) if mark.kind == "phase_end" and mark.name == "prefill" else mark
        for mark in played.recording.marks
    )
    assert holds(found_in(replace(played.recording, marks=closed)), 0.045 * 690.0)


def test_powers_that_are_far_from_even_keep_the_bounds_of_any_curve():
    """The first half of the decode draws 600 W, the other one 100 W."""
    curve = PowerCurve([(0, 70.0), (1050 * MS, 300.0), (1150 * MS, 500.0), (1200 * MS, 650.0), (1700 * MS, 75.0),
                        (2200 * MS, 70.0)], before_w=70.0)  # fmt: skip
    marks = [Mark(1000 * MS, "block_start", 1), Mark(1050 * MS, "call_start", 1, "scripted")]
    for name, start_ms, end_ms in (("vision_encode", 1050, 1150), ("prefill", 1150, 1200), ("decode", 1200, 2200)):
        marks += [Mark(start_ms * MS, "phase_start", 1, name), Mark(end_ms * MS, "phase_end", 1, name)]
    marks += [Mark(2200 * MS, "call_end", 1, text="returned"), Mark(2220 * MS, "block_end", 1)]
    report = analyze(VirtualMachine({"gpu": curve}, [counter(20)]).record(0, 3500 * MS, marks))
    assert not any(NOTE in note for note in report.notes)
    assert holds(report.phase("prefill").energies["gpu"], 25.0)

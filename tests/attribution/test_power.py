"""Sensors that report watts: mean powers over windows, part-time windows, and unknown windows."""

import pytest

from wattvlm.attribution import analyze
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
PHASES = (
    ScriptedPhase("vision_encode", 45 * MS, {"gpu": 310.0}),
    ScriptedPhase("prefill", 60 * MS, {"gpu": 640.0}),
    ScriptedPhase("decode", 900 * MS, {"gpu": 280.0}),
)


def session(calls, seed, **behaviour):
    sensor = VirtualSensor(
        **{"name": "gpu-0/power", "method": "power", "max_power_w": 700.0, "phase_ns": 13 * MS * seed % (100 * MS),
           "seed": seed, **behaviour}
    )  # fmt: skip
    script = Script(phases=PHASES, calls=calls, power_variation_fraction=0.03, quiet_ns=2500 * MS)
    return simulate(script, [sensor], seed)


@pytest.mark.parametrize(
    ("behaviour", "widest"),
    [
        ({"window_ns": 100 * MS}, 0.03),
        ({"window_ns": 1000 * MS}, 0.2),
        ({"window_ns": 25 * MS}, 0.15),
        ({"window_ns": 25 * MS, "facts_known": False}, 0.25),
        ({"rise_ns": 60 * MS, "noise_w": 1.0, "stamped": False}, 0.25),
    ],
    ids=["100 of 100 ms", "1 s mean", "25 of 100 ms", "window unknown", "first order"],
)
def test_the_joules_of_a_long_block_are_covered_and_resolved(behaviour, widest):
    covered = 0
    for seed in range(6):
        simulation = session(20, seed, **behaviour)
        found = analyze(simulation.recording).block.energies["gpu"]
        truth_j = simulation.block_j["gpu"]
        covered += found.energy.interval_j[0] <= truth_j <= found.energy.interval_j[1]
        assert found.bounds_j[0] <= found.energy.interval_j[0]
        assert found.energy.interval_j[1] <= found.bounds_j[1]
        assert found.resolved
        assert found.energy.half_width_j < widest * truth_j
        assert abs(found.energy.middle_j - truth_j) <= 1.5 * found.energy.half_width_j
    assert covered >= 5


@pytest.mark.parametrize("window_ns", [25 * MS, 100 * MS, 1000 * MS])
def test_bounds_of_a_phase_hold_whatever_the_sensor_did_not_see(window_ns):
    for seed in range(10):
        simulation = session(3, seed, window_ns=window_ns)
        for call, truth in zip(analyze(simulation.recording).calls, simulation.truth_j["gpu"], strict=True):
            for part in (*call.phases, call.total):
                if not part.unseen:
                    low_j, high_j = part.energies["gpu"].bounds_j
                    assert low_j - 1e-6 <= truth[part.name] <= high_j + 1e-6


def test_a_short_phase_of_one_call_on_a_one_second_mean_is_held_by_closer_bounds_than_its_largest_power():
    played = session(1, 0, window_ns=1000 * MS)
    low_j, high_j = analyze(played.recording).phase("prefill").energies["gpu"].bounds_j
    assert low_j <= played.truth_j["gpu"][0]["prefill"] <= high_j
    assert high_j - low_j < 0.9 * 0.06 * 700.0


def test_a_gap_in_the_watts_widens_the_joules_of_the_block():
    whole = session(20, 1, window_ns=100 * MS)
    script = Script(phases=PHASES, calls=20, power_variation_fraction=0.03, quiet_ns=2500 * MS)
    sensor = VirtualSensor(
        "gpu-0/power", method="power", max_power_w=700.0, phase_ns=13 * MS, seed=1, window_ns=100 * MS
    )
    holed = simulate(script, [sensor], 1, blind_ns=[(5000 * MS, 7000 * MS)])
    one, two = (analyze(each.recording).block.energies["gpu"].energy for each in (whole, holed))
    assert two.half_width_j > one.half_width_j + 200.0
    assert two.interval_j[0] <= holed.block_j["gpu"] <= two.interval_j[1]


def test_idle_watts_are_seen_after_the_averaging_window_has_passed():
    report = analyze(session(2, 0, window_ns=1000 * MS).recording)
    assert report.idle["gpu"].power_w == pytest.approx(70.0, abs=0.5)
    assert report.idle["gpu"].interval_w[0] <= 70.0 <= report.idle["gpu"].interval_w[1]


def test_phases_of_a_power_sensor_add_up_to_the_call():
    report = analyze(session(2, 4, window_ns=25 * MS).recording)
    for call in report.calls:
        parts = [part for part in (*call.phases, call.between) if not part.unseen]
        by_cover = {part.energies["gpu"].covers: float(part.energies["gpu"].energy) for part in parts}
        assert sum(by_cover.values()) == pytest.approx(call.total.energies["gpu"].energy.mean_j)

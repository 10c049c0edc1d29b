"""Boundaries that are each off on their own: what marks say of it, what a tick shows of it, and what is covered."""

import random
from dataclasses import replace

import numpy as np
import pytest

from wattvlm.attribution import analyze
from wattvlm.attribution.timeline import timeline_of
from wattvlm.attribution.views import CounterView
from wattvlm.attribution.windows import Window
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate

MS = 1_000_000
TWENTY_MS = VirtualSensor("gpu-0/board", period_ns=20 * MS, jitter_ns=3 * MS, latency_ns=150_000, max_power_w=700.0)
LENGTHS_MS = {"vision_encode": 90, "prefill": 45, "decode": 450}


def marked(gap_ms, off_ms, calls, seed):
    """(a timeline of calls whose boundaries are off, kept in order; by how much each gap's two marks had crossed)."""
    chance, parts, crossed_ms, start_ns = np.random.default_rng(seed), [], [], 0
    for _ in range(calls):
        true_ms = np.array([100.0, 190.0, 190.0 + gap_ms, 300.0])
        raw_ms = true_ms + chance.normal(0.0, off_ms, 4)
        crossed_ms.append(raw_ms[1] - raw_ms[2])
        first, end, begin, last = (start_ns + round(each * MS) for each in np.maximum.accumulate(raw_ms))
        gap = (Window(end, begin),) if begin > end else ()
        parts.append({"encode": (Window(first, end),), "between": gap, "prefill": (Window(begin, last),)})
        start_ns += 400 * MS
    found = timeline_of(parts, (Window(0, start_ns),), 0, start_ns, "between")
    assert found is not None
    return found, np.array(crossed_ms)


def test_how_far_marks_would_have_crossed_is_found_where_they_were_kept_in_order():
    timeline, crossed_ms = marked(gap_ms=2.0, off_ms=1.7, calls=400, seed=1)
    lengths = timeline.lengths
    gaps = timeline.kind == timeline.kinds.index("between")
    closed = gaps & (timeline.end_ns == timeline.start_ns)
    assert np.sum(closed) == np.sum(crossed_ms >= 0.0)
    assert lengths.overlap_s[closed] * 1e3 == pytest.approx(np.mean(crossed_ms[crossed_ms >= 0.0]), rel=0.15)
    assert lengths.length_s2[gaps] * 1e6 == pytest.approx(2 * 1.7**2, rel=0.15)
    assert not np.any(lengths.overlap_s[~closed])


def test_marks_that_never_met_are_not_said_to_have_crossed():
    timeline, _ = marked(gap_ms=20.0, off_ms=1.0, calls=50, seed=2)
    assert not np.any(timeline.lengths.overlap_s)


def test_what_a_tick_shows_of_a_step_that_may_lie_around_it_is_a_line_and_a_rest_of_known_variance():
    over_s, offs_s = 3e-3, (-3.5e-3, -2e-3, -0.4e-3, 0.0, 1.1e-3, 2.9e-3, 4e-3)
    tick_s = np.array([[0.0, *(1.0 + np.array(offs_s))]])
    found_s2 = CounterView(tick_s).bent_s2(np.array([[1.0]]), np.array([[over_s]]))[0, :, 0]
    late_s = np.random.default_rng(3).uniform(-over_s, over_s, 200_000)
    for off_s, own_s2 in zip(offs_s, found_s2[1:], strict=True):
        before_s = np.maximum(off_s - late_s, 0.0)
        slope = -np.mean(late_s < off_s)
        assert own_s2 == pytest.approx(np.var(before_s - slope * late_s), rel=0.02, abs=1e-12)


def off_each_on_its_own(seed, sensor, gap_ns):
    """(a session whose phases' marks are off by up to 3 ms each, and kept in order; the truth of its prefill)."""
    chance = random.Random(seed)
    phases = tuple(
        ScriptedPhase(name, ms * MS, {"gpu": chance.uniform(0.3, 0.95) * 700.0}) for name, ms in LENGTHS_MS.items()
    )
    script = Script(
        phases=phases, calls=20, gap_ns=gap_ns, pause_ns=30 * MS, dither_ns=130 * MS,
        power_variation_fraction=(0.0, 0.03)[seed % 2],
    )  # fmt: skip
    played = simulate(script, [replace(sensor, phase_ns=chance.randrange(100 * MS), seed=seed)], seed)
    latest_ns, moved = 0, []
    for mark in played.recording.marks:
        off_ns = chance.randint(-3 * MS, 3 * MS) if mark.kind in ("phase_start", "phase_end") else 0
        latest_ns = max(latest_ns, mark.time_ns + off_ns)
        moved.append(replace(mark, time_ns=latest_ns))
    truth_j = float(np.mean([call["prefill"] for call in played.truth_j["gpu"]]))
    return replace(played.recording, marks=tuple(moved)), truth_j


@pytest.mark.parametrize(
    "sensor",
    [
        TWENTY_MS,
        VirtualSensor("gpu-0/board", period_ns=MS, latency_ns=100_000, max_power_w=700.0),
    ],
)
def test_marks_off_by_more_than_the_gaps_beside_them_and_the_ticks_between_them_are_covered(sensor):
    covered, errors = 0, []
    for seed in range(10):
        recording, truth_j = off_each_on_its_own(seed, sensor, gap_ns=2 * MS)
        energy = analyze(recording).phase("prefill").energies["gpu"].energy
        assert not energy.is_bounds
        covered += energy.interval_j[0] <= truth_j <= energy.interval_j[1]
        errors.append(float(energy) / truth_j - 1.0)
    assert covered >= 8
    assert abs(float(np.mean(errors))) < 0.008
    assert float(np.sqrt(np.mean(np.square(errors)))) < 0.015


def test_what_a_phase_causes_is_covered_where_power_rises_later_than_it_falls():
    covered, errors = 0, []
    for seed in range(6):
        chance = random.Random(seed)
        phases = tuple(
            ScriptedPhase(name, ms * MS, {"gpu": chance.uniform(0.3, 0.95) * 700.0}) for name, ms in LENGTHS_MS.items()
        )
        script = Script(
            phases=phases, calls=20, gap_ns=2 * MS, pause_ns=30 * MS, dither_ns=130 * MS, rise_ns=2 * MS, fall_ns=MS,
            power_variation_fraction=(0.0, 0.03)[seed % 2],
        )  # fmt: skip
        played = simulate(script, [replace(TWENTY_MS, phase_ns=chance.randrange(100 * MS), seed=seed)], seed)
        caused_j = float(np.mean([call["prefill"] for call in played.caused_j["gpu"]]))
        energy = analyze(played.recording).phase("prefill").energies["gpu"].energy
        covered += energy.interval_j[0] <= caused_j <= energy.interval_j[1]
        errors.append(float(energy) / caused_j - 1.0)
    assert covered >= 5
    assert abs(float(np.mean(errors))) < 0.007

"""Several calls together: intervals that are narrow and cover, sums that hold draw by draw, and refusal."""

import random
from dataclasses import replace

import numpy as np
import pytest

from wattvlm.attribution import analyze
from wattvlm.recording import Recording
from wattvlm.testing import PowerCurve, Script, ScriptedPhase, VirtualMachine, VirtualSensor, simulate
from wattvlm.trace import Mark

MS = 1_000_000
COUNTER = VirtualSensor("gpu-0/board", jitter_ns=3 * MS, latency_ns=150_000, max_power_w=700.0)
CALL_MS = {"vision_encode": 90, "prefill": 45, "decode": 450}
POWERS_W = {"vision_encode": 310.0, "prefill": 640.0, "decode": 380.0}


def script(calls, lengths_ms=CALL_MS, powers_w=POWERS_W, gpu="gpu", **settings):
    phases = tuple(ScriptedPhase(name, ms * MS, {gpu: powers_w[name]}) for name, ms in lengths_ms.items())
    usual = {"pause_ns": 30 * MS, "dither_ns": 130 * MS, "power_variation_fraction": 0.03}
    return Script(phases=phases, calls=calls, **{**usual, **settings})


def shifted(recording: Recording, by_ns: int) -> Recording:
    return replace(recording, marks=tuple(replace(mark, time_ns=mark.time_ns + by_ns) for mark in recording.marks))


def session(seed, calls=20, **settings):
    """A session with powers, counter phase and skew of its own: (recording, true mean joules by part)."""
    chance = random.Random(seed)
    powers_w = {name: chance.uniform(0.3, 0.97) * 700.0 for name in CALL_MS}
    sensor = replace(COUNTER, phase_ns=chance.randrange(100 * MS), seed=seed)
    played = simulate(script(calls, powers_w=powers_w, **settings), [sensor], seed)
    return shifted(played.recording, chance.randint(-3 * MS, 3 * MS)), mean_truth(played)


def mean_truth(played, load="gpu"):
    calls = played.truth_j[load]
    return {name: sum(call[name] for call in calls) / len(calls) for name in calls[0]}


def gpu(report, name):
    return report.phase(name).energies["gpu"]


def whole_call(report):
    assert report.total is not None
    return report.total.energies["gpu"]


def test_intervals_of_a_prefill_shorter_than_a_tick_are_narrow_and_cover_the_truth():
    errors, covered = [], 0
    for seed in range(24):
        recording, truth_j = session(seed, calls=10)
        found = gpu(analyze(recording), "prefill")
        assert found.stands_alone
        assert not found.energy.is_bounds
        assert found.energy.half_width_j < 0.1 * truth_j["prefill"]
        low_j, high_j = found.energy.interval_j
        covered += low_j <= truth_j["prefill"] <= high_j
        errors.append(float(found.energy) / truth_j["prefill"] - 1.0)
    assert covered >= 20
    assert float(np.sqrt(np.mean(np.square(errors)))) < 0.013


def test_phases_add_up_to_the_call_draw_by_draw_and_the_call_to_what_was_counted():
    recording, _ = session(3, gap_ns=0)
    report = analyze(recording)
    total = whole_call(report)
    added_j = np.sum([gpu(report, name).energy.draws_j for name in CALL_MS], axis=0)
    assert total.energy.draws_j == pytest.approx(added_j, rel=1e-9)
    assert total.bounds_j[0] < total.energy.interval_j[0] < total.energy.interval_j[1] < total.bounds_j[1]
    assert np.std(total.energy.draws_j) < 0.5 * np.std(gpu(report, "prefill").energy.draws_j) + 0.2


def test_the_total_over_calls_agrees_with_the_counters_own_difference():
    played = simulate(script(30), [replace(COUNTER, phase_ns=37 * MS)], 8)
    report = analyze(played.recording)
    total = whole_call(report).energy
    assert float(total) == pytest.approx(mean_truth(played)["call"], rel=0.002)
    assert total.interval_j[0] <= mean_truth(played)["call"] <= total.interval_j[1]


def test_fewer_than_five_calls_keep_their_bounds():
    for calls, is_bounds in ((4, True), (5, False)):
        report = analyze(session(1, calls=calls)[0])
        assert gpu(report, "decode").energy.is_bounds == is_bounds
        assert whole_call(report).energy.is_bounds == is_bounds
        assert any("pooled over" in note for note in report.notes) != is_bounds


def test_one_calls_own_joules_stay_bounds():
    report = analyze(session(2)[0])
    for call in report.calls:
        assert all(part.energies["gpu"].energy.is_bounds for part in (*call.phases, call.total))


def test_calls_in_step_with_the_ticks_leave_the_prefill_unknown():
    """Encode and prefill lie in the same place of the same tick in each call: only their sum was counted."""
    lengths_ms = {"vision_encode": 30, "prefill": 20, "decode": 542}
    told = 0
    for seed in range(6):

        def prefill(dither_ns, pause_ns, seed=seed):
            plan = script(20, lengths_ms, dither_ns=dither_ns, pause_ns=pause_ns)
            sensor = replace(COUNTER, jitter_ns=0, phase_ns=seed * 7 * MS)
            played = simulate(plan, [sensor], seed)
            return gpu(analyze(played.recording), "prefill"), mean_truth(played)["prefill"]

        found, truth_j = prefill(0, 200 * MS)
        if found.stands_alone:
            assert found.energy.interval_j[0] <= truth_j <= found.energy.interval_j[1]
            assert found.energy.half_width_j > 0.1 * truth_j
        told += found.stands_alone
        dithered, truth_j = prefill(130 * MS, 135 * MS)
        assert dithered.stands_alone
        assert dithered.energy.half_width_j < 0.1 * truth_j
    assert told < 6


def by_hand(calls=20, preempted=(), drift=0.0, seed=0):
    """A session of calls made by hand: (recording, true mean joules of prefill). preempted: (call, phase) at half."""
    chance = random.Random(seed)
    curve, marks, now_ns, truth_j = PowerCurve(before_w=70.0), [Mark(1000 * MS, "block_start", 1)], 1000 * MS, []
    for number in range(calls):
        curve.append(now_ns, 70.0)
        now_ns += chance.randrange(30 * MS, 160 * MS)
        marks.append(Mark(now_ns, "call_start", number + 1))
        for name, length_ms in CALL_MS.items():
            power_w = POWERS_W[name] * chance.gauss(1.0, 0.03) * (0.5 if (number, name) in preempted else 1.0)
            marks.append(Mark(now_ns, "phase_start", number + 1, name))
            for step in range(30 if name == "decode" else 1):
                curve.append(now_ns + step * length_ms * MS // 30, power_w * (1.0 + drift * step / 30))
            now_ns += length_ms * MS
            marks.append(Mark(now_ns, "phase_end", number + 1, name))
            truth_j += [power_w * length_ms / 1000] if name == "prefill" else []
        marks.append(Mark(now_ns, "call_end", number + 1, text="returned"))
    curve.append(now_ns, 70.0)
    marks.append(Mark(now_ns + 50 * MS, "block_end", 1))
    sensor = replace(COUNTER, phase_ns=seed * 13 * MS, seed=seed)
    return VirtualMachine({"gpu": curve}, [sensor]).record(0, now_ns + 1000 * MS, marks), float(np.mean(truth_j))


def test_calls_that_were_preempted_do_not_pull_the_estimate():
    for seed in range(4):
        recording, truth_j = by_hand(preempted={(3, "prefill"), (11, "prefill")}, seed=seed)
        energy = gpu(analyze(recording), "prefill").energy
        assert float(energy) == pytest.approx(truth_j, rel=0.02)
        assert energy.interval_j[0] <= truth_j <= energy.interval_j[1]


def test_power_that_drifts_while_decoding_is_not_taken_for_prefill():
    for seed in range(4):
        recording, truth_j = by_hand(drift=0.1, seed=seed)
        energy = gpu(analyze(recording), "prefill").energy
        assert float(energy) == pytest.approx(truth_j, rel=0.01)
        assert energy.interval_j[0] <= truth_j <= energy.interval_j[1]


def test_the_same_recording_gives_the_same_draws():
    recording, _ = session(4, calls=6)
    assert analyze(recording).to_dict() == analyze(recording).to_dict()


def test_joules_of_several_gpus_are_added_draw_by_draw():
    plan = script(10, gpu="gpu-0")
    plan = replace(
        plan,
        phases=tuple(replace(each, power_w={"gpu-0": 300.0, "gpu-1": 200.0}) for each in plan.phases),
        idle_w={"gpu-0": 70.0, "gpu-1": 60.0},
    )
    sensors = [replace(COUNTER, gain_std_fraction=0.02), replace(COUNTER, name="gpu-1/board", phase_ns=41 * MS, seed=2)]
    played = simulate(plan, sensors, 5)
    energy = gpu(analyze(played.recording), "decode").energy
    truth_j = mean_truth(played, "gpu-0")["decode"] + mean_truth(played, "gpu-1")["decode"]
    assert not energy.is_bounds
    assert energy.interval_j[0] <= truth_j <= energy.interval_j[1]
    assert energy.gains_j["gpu-0"] == pytest.approx(1.96 * 0.02 * mean_truth(played, "gpu-0")["decode"], rel=0.01)


def test_a_counter_that_started_again_between_calls_keeps_bounds():
    sensor = replace(COUNTER, resets_at_ns=1_000_000 * MS + 4_000 * MS)
    report = analyze(simulate(script(10), [sensor], 1).recording)
    assert whole_call(report).energy.is_bounds


def test_boundaries_that_are_each_unsure_widen_a_pooled_interval_and_move_no_joule_out_of_the_call():
    recording, truth_j = session(5, gap_ns=0)
    chance = random.Random(5)
    moved = tuple(
        replace(mark, value=0.3 * MS, time_ns=mark.time_ns + round(chance.gauss(0.0, 0.3 * MS)))
        if mark.kind.startswith("phase") else mark
        for mark in recording.marks
    )  # fmt: skip
    sure, unsure = analyze(recording), analyze(replace(recording, marks=moved))
    assert gpu(unsure, "prefill").energy.half_width_j > gpu(sure, "prefill").energy.half_width_j
    low_j, high_j = gpu(unsure, "prefill").energy.interval_j
    assert low_j <= truth_j["prefill"] <= high_j
    assert whole_call(unsure).energy.half_width_j < 2.0 * whole_call(sure).energy.half_width_j + 0.1


def with_boundaries_off(recording, seed, largest_ns):
    """Each boundary of a phase off on its own, unstated, and still in order."""
    chance, latest_ns, moved = random.Random(seed), 0, []
    for mark in recording.marks:
        off_ns = chance.randint(-largest_ns, largest_ns) if mark.kind in ("phase_start", "phase_end") else 0
        latest_ns = max(latest_ns, mark.time_ns + off_ns)
        moved.append(replace(mark, time_ns=latest_ns))
    return replace(recording, marks=tuple(moved))


def test_boundaries_that_are_off_by_3_ms_each_on_their_own_are_found_out_and_covered():
    covered, errors = 0, []
    for seed in range(12):
        recording, truth_j = session(seed, gap_ns=8 * MS, power_variation_fraction=(0.0, 0.03)[seed % 2])
        report = analyze(with_boundaries_off(recording, seed, 3 * MS))
        energy = gpu(report, "prefill").energy
        assert not energy.is_bounds
        covered += energy.interval_j[0] <= truth_j["prefill"] <= energy.interval_j[1]
        errors.append(float(energy) / truth_j["prefill"] - 1.0)
    assert covered >= 10
    assert float(np.sqrt(np.mean(np.square(errors)))) < 0.02


def test_boundaries_that_are_off_widen_the_interval_and_sharp_ones_do_not_pay():
    recording, _ = session(3)
    sharp = analyze(recording)
    unsure = analyze(with_boundaries_off(recording, 3, 3 * MS))
    sharp_j, unsure_j = (gpu(each, "prefill").energy.half_width_j for each in (sharp, unsure))
    assert unsure_j > 1.5 * sharp_j
    assert sharp_j < 0.015 * float(gpu(sharp, "prefill").energy)
    assert any("each boundary by under 50 µs" in note for note in sharp.notes)
    assert not any("each boundary by under 50 µs" in note for note in unsure.notes)


def test_two_preempted_calls_of_twenty_move_the_estimate_of_the_others_by_less_than_1_percent():
    for seed in range(3):
        plain, truth_j = by_hand(seed=seed)
        preempted, halved_j = by_hand(preempted={(3, "prefill"), (11, "prefill")}, seed=seed)
        others_j = float(gpu(analyze(preempted), "prefill").energy) + (truth_j - halved_j)
        assert others_j == pytest.approx(float(gpu(analyze(plain), "prefill").energy), rel=0.01)


def test_a_counter_that_ticks_each_millisecond_is_pooled_from_its_reads():
    fast = replace(COUNTER, period_ns=MS, jitter_ns=0, resolution=15.3e-6)
    for seed, known in ((1, True), (2, False)):
        played = simulate(script(10), [replace(fast, phase_ns=seed * 1000, facts_known=known, seed=seed)], seed)
        recording = shifted(played.recording, 2 * MS)
        energy = gpu(analyze(recording), "prefill").energy
        truth_j = mean_truth(played)["prefill"]
        assert not energy.is_bounds
        assert energy.interval_j[0] <= truth_j <= energy.interval_j[1]
        assert energy.half_width_j < 0.02 * truth_j

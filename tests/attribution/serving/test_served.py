"""Requests that run together: each pays for what it caused, and all of them for what the counter counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wattvlm import analyze
from wattvlm.attribution.serving.chunks import with_chunks
from wattvlm.attribution.serving.rules import RULES
from wattvlm.attribution.serving.work import PROMPT, Pieces, pieces_of
from wattvlm.breakdown import shares_of_block
from wattvlm.energy import Energy
from wattvlm.report import Report
from wattvlm.testing import VirtualSensor
from wattvlm.testing.serving import Served, ServerLimits, serve
from wattvlm.testing.traffic import ServedRequest, Traffic
from wattvlm.trace import Mark

SENSORS = (VirtualSensor("gpu-0/board", jitter_ns=3_000_000, max_power_w=700.0),)


@pytest.fixture(scope="module")
def served() -> Served:
    return serve(Traffic(6.0, 120).drawn(3), SENSORS, 3)


@pytest.fixture(scope="module")
def report(served: Served) -> Report:
    return analyze(served.recording)


def joules(report: Report) -> list[Energy]:
    return [call.total.energies["gpu"].energy for call in report.calls]


def test_requests_add_up_to_what_the_busy_device_drew(served, report):
    summed_j = sum(energy.middle_j for energy in joules(report))
    assert summed_j == pytest.approx(served.busy_j, rel=1e-3)
    assert report.joules("call").middle_j * len(report.calls) == pytest.approx(summed_j, rel=1e-9)


def test_each_request_has_the_joules_that_it_adds_to_a_batch(served, report):
    found = joules(report)
    error = np.array([energy.middle_j for energy in found]) / served.shapley_j - 1
    assert float(np.sqrt(np.mean(error**2))) < 0.02
    covered = [low <= true <= high for (low, high), true in zip([each.interval_j for each in found], served.shapley_j)]
    assert np.mean(covered) > 0.85


@pytest.mark.parametrize("name", ["text", "image", "video"])
def test_the_interval_of_a_class_holds_its_joules(served, report, name):
    own = [index for index, request in enumerate(served.requests) if request.name == name]
    draws_j = [draws for index in own if (draws := joules(report)[index].draws_j) is not None]
    summed = Energy.from_draws(np.sum(draws_j, axis=0), "measured")
    assert summed.interval_j[0] <= float(np.sum(served.shapley_j[own])) <= summed.interval_j[1]


def test_phases_of_a_request_add_up_to_it_and_waiting_has_no_joules(report):
    for call in report.calls[:20]:
        phases_j = sum(phase.energies["gpu"].energy.middle_j for phase in call.phases if phase.energies)
        assert phases_j == pytest.approx(call.total.energies["gpu"].energy.middle_j, rel=1e-9)
        assert call.between.energies["gpu"].energy.middle_j == 0.0


def test_the_report_says_by_which_rule_joules_were_split(report):
    assert any("split by what each did" in note for note in report.notes)
    assert not any("in equal shares a call" in note for note in report.notes)


def test_a_request_that_waits_for_a_neighbours_prompt_does_not_pay_for_it():
    short = [ServedRequest("short", 300_000_000 * number, 100, 60) for number in range(60)]
    long = [ServedRequest("long", 450_000_000 + 900_000_000 * number, 8_000, 2) for number in range(20)]
    served = serve([*short, *long], SENSORS, 5)
    found = np.array([energy.middle_j for energy in joules(analyze(served.recording))])
    is_long = np.array([request.name == "long" for request in served.requests])
    for own in (is_long, ~is_long):
        assert float(np.sum(found[own])) == pytest.approx(float(np.sum(served.shapley_j[own])), rel=0.03)


def test_the_same_request_is_cheaper_in_company_as_the_weights_are_read_once_for_all():
    def mean_j(running: int) -> float:
        requests = [
            ServedRequest("same", 1_500_000_000 * (number // running), 60, 80) for number in range(30 * running)
        ]
        served = serve(requests, SENSORS, 2)
        found = analyze(served.recording)
        assert found.joules("call").middle_j == pytest.approx(float(np.mean(served.shapley_j)), rel=0.02)
        return found.joules("call").middle_j

    assert mean_j(8) < 0.3 * mean_j(1)


def test_prompt_tokens_found_in_the_cache_are_not_paid_for():
    requests = [
        ServedRequest("cached" if number % 2 else "fresh", 400_000_000 * number, 3_000, 10, 0, 2_900 * (number % 2))
        for number in range(60)
    ]
    served = serve(requests, SENSORS, 4)
    found = np.array([energy.middle_j for energy in joules(analyze(served.recording))])
    fresh_j, cached_j = np.mean(found[::2]), np.mean(found[1::2])
    assert fresh_j - cached_j == pytest.approx(
        np.mean(served.shapley_j[::2]) - np.mean(served.shapley_j[1::2]), rel=0.05
    )


def test_a_chunks_tokens_are_found_where_the_engine_tells_only_when(served):
    told = serve(Traffic(10.0, 80, burst=20).drawn(2), SENSORS, 2, tells_tokens=True)
    untold = serve(Traffic(10.0, 80, burst=20).drawn(2), SENSORS, 2)
    found = [with_chunks(pieces) for each in (told, untold) if (pieces := pieces_of_recording(each)) is not None]
    assert len(np.unique(found[0].call)) == 80
    assert found[1].rate[:, PROMPT] == pytest.approx(found[0].rate[:, PROMPT])
    even = pieces_of_recording(untold)
    assert even is not None
    assert even.rate[:, PROMPT] != pytest.approx(found[0].rate[:, PROMPT], rel=0.1)


def pieces_of_recording(served: Served) -> Pieces | None:
    return pieces_of(served.recording.trace.calls, False, served.recording.start_ns)


def test_bursts_are_inside_their_intervals():
    covered = [inside(serve(Traffic(10.0, 100, burst=20).drawn(seed), SENSORS, seed)) for seed in (2, 4, 5)]
    assert np.mean(covered) > 0.9


def test_a_prompt_that_is_computed_again_is_paid_for_by_its_request():
    limits = ServerLimits(cache_tokens=10_000)
    told = serve(Traffic(8.0, 100).drawn(1), SENSORS, 1, limits=limits, tells_tokens=True)
    untold = serve(Traffic(8.0, 100).drawn(1), SENSORS, 1, limits=limits)
    assert told.preemptions > 5
    assert np.mean(inside(told)) > 0.9
    assert np.mean(inside(untold)) > 0.8


def inside(served: Served) -> list[bool]:
    intervals = [energy.interval_j for energy in joules(analyze(served.recording))]
    return [low <= true <= high for (low, high), true in zip(intervals, served.shapley_j)]


@pytest.mark.parametrize("rule", RULES)
def test_by_every_rule_requests_add_up_to_what_the_busy_device_drew(served, rule):
    found = joules(analyze(served.recording, share_by=rule))
    assert sum(energy.middle_j for energy in found) == pytest.approx(served.busy_j, rel=1e-3)


def test_shares_by_shapley_value_are_no_worse_and_shares_by_tokens_are_another_question(served, report):
    def error(found: Report) -> float:
        middles = np.array([energy.middle_j for energy in joules(found)])
        return float(np.sqrt(np.mean((middles / served.shapley_j - 1) ** 2)))

    by_tokens = analyze(served.recording, share_by="tokens")
    assert error(analyze(served.recording, share_by="shapley")) < 1.1 * error(report) < error(by_tokens)
    assert any("split by tokens computed" in note for note in by_tokens.notes)


def test_an_unknown_rule_is_refused_by_name(served):
    with pytest.raises(ValueError, match="'size' is no rule"):
        analyze(served.recording, share_by="size")


def test_waiting_while_none_is_at_work_has_a_row_and_the_sum_is_the_blocks():
    requests = [ServedRequest("same", 400_000_000 * (number + 2), 200, 20) for number in range(60)]
    served = serve(requests, SENSORS, 3)
    begun = {mark.call_id: mark for mark in served.recording.marks if mark.kind == "call_start"}
    earlier = [replace(mark, time_ns=mark.time_ns - 150_000_000) for mark in begun.values()]
    others = [mark for mark in served.recording.marks if mark.kind != "call_start"]
    overlapping = [replace(earlier[1], time_ns=earlier[0].time_ns), *(each for each in earlier if each != earlier[1])]
    found = analyze(replace(served.recording, marks=(*others, *overlapping)))
    (waiting,) = [part for part in found.own_phases if part.name == "waiting"]
    energy = waiting.energies["gpu"].energy
    assert waiting.duration_ns is not None
    assert waiting.duration_ns == pytest.approx(150e6 * 60 + 400e6, rel=0.05)
    assert energy.middle_j == pytest.approx(70.0 * waiting.duration_ns / 1e9, rel=0.01)
    assert energy.interval_j[0] < energy.middle_j < energy.interval_j[1]
    assert sum(each.middle_j for each in joules(found)) == pytest.approx(served.busy_j, rel=2e-3)
    shares = {share.phases: share.energy_j for share in shares_of_block(found, "gpu")}
    assert sum(shares.values()) == pytest.approx(found.block.energies["gpu"].energy.middle_j)
    assert shares["waiting",] == pytest.approx(energy.middle_j)


def test_inputs_prepared_on_the_host_meanwhile_change_nobodys_joules(served, report):
    begun = [mark for mark in served.recording.marks if mark.kind == "call_start"]
    prepared = [Mark(mark.time_ns, "phase_start", mark.call_id, "preprocess") for mark in begun]
    prepared += [Mark(mark.time_ns + 1_000_000, "phase_end", mark.call_id, "preprocess") for mark in begun]
    found = analyze(replace(served.recording, marks=(*served.recording.marks, *prepared)))
    assert [each.middle_j for each in joules(found)] == pytest.approx([each.middle_j for each in joules(report)])


def test_without_counts_requests_share_by_time_and_it_is_said(served):
    marks = tuple(mark for mark in served.recording.marks if mark.kind != "count")
    found = analyze(replace(served.recording, marks=marks))
    assert any("in equal shares a call" in note for note in found.notes)


def test_few_requests_share_by_time(served):
    few = serve(Traffic(6.0, 10).drawn(1), SENSORS, 1)
    assert any("in equal shares a call" in note for note in analyze(few.recording).notes)


def test_preempted_requests_and_small_chunks_keep_the_sum():
    served = serve(Traffic(8.0, 60).drawn(1), SENSORS, 1, limits=ServerLimits(tokens=512, cache_tokens=10_000))
    assert served.preemptions > 0
    found = analyze(served.recording)
    assert sum(energy.middle_j for energy in joules(found)) == pytest.approx(served.busy_j, rel=2e-3)

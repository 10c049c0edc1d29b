"""Requests that run together: each pays for what it caused, and all of them for what the counter counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wattvlm import analyze
from wattvlm.energy import Energy
from wattvlm.report import Report
from wattvlm.testing import VirtualSensor
from wattvlm.testing.serving import Served, ServedRequest, ServerLimits, Traffic, serve
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

"""Requests window by window: joules of a request are the sum of its joules in the windows that it was under way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.serving.lines import lines_of
from wattvlm import analyze
from wattvlm.energy import Energy
from wattvlm.serving.requests import Requests, Window, block_of
from wattvlm.testing import VirtualSensor
from wattvlm.testing.serving import Served, ServerLimits, serve
from wattvlm.testing.traffic import Traffic

SENSORS = (VirtualSensor("gpu-0/board", jitter_ns=3_000_000, max_power_w=700.0),)
WINDOW_NS = 10_000_000_000
FULL_AT = 2_048


def windows_of(served: Served) -> Iterator[Window]:
    """The windows that the worker would make."""
    requests = Requests(FULL_AT, served.recording.start_ns + 1_000_000_000)
    for time_ns, line in lines_of(served):
        requests.add(line)
        if requests.is_ready(time_ns, WINDOW_NS):
            yield requests.cut(time_ns - 4_000_000_000, time_ns - 1_500_000_000)
    yield requests.cut(requests.latest_ns + 1, requests.latest_ns + 1)


def joules_of(served: Served) -> tuple[list[Energy], list[Window]]:
    """Each request's joules over all windows."""
    found: dict[int, Energy] = {}
    windows = list(windows_of(served))
    for number, window in enumerate(windows, start=1):
        marks = block_of(windows[max(number - 4, 0) : number])
        for call in analyze(replace(served.recording, marks=tuple(marks))).calls:
            energy, request = call.total.energies["gpu"].energy, window.calls.get(call.call_id)
            if request is not None:
                key = request.number
                found[key] = energy if key not in found else found[key] + energy
    return [found[number] for number in sorted(found)], windows


@pytest.fixture(scope="module")
def served() -> Served:
    return serve(Traffic(6.0, 150).drawn(3), SENSORS, 3)


@pytest.fixture(scope="module")
def found(served: Served) -> tuple[list[Energy], list[Window]]:
    return joules_of(served)


def test_windows_follow_on_each_other_and_every_request_ends_in_one(served, found):
    windows = found[1]
    assert len(windows) > 2
    assert all(one.end_ns == two.start_ns for one, two in pairwise(windows))
    assert sum(len(window.over) for window in windows) == len(served.requests)
    assert {request.name for window in windows for request in window.over} == {
        f"{request.name}-{number}" for number, request in enumerate(served.requests)
    }


def test_joules_over_all_windows_are_what_the_busy_device_drew(served, found):
    assert sum(energy.middle_j for energy in found[0]) == pytest.approx(served.busy_j, rel=2e-3)


def test_each_request_has_what_it_adds_to_the_batch_although_it_was_cut_into_windows(served, found):
    middles = np.array([energy.middle_j for energy in found[0]])
    assert float(np.sqrt(np.mean((middles / served.shapley_j - 1) ** 2))) < 0.03
    inside = [low <= true <= high for (low, high), true in zip([e.interval_j for e in found[0]], served.shapley_j)]
    assert np.mean(inside) > 0.85


def test_tokens_of_a_request_over_its_windows_are_those_of_the_request(served, found):
    prompts = dict.fromkeys(range(1, len(served.requests) + 1), 0)
    decoded = dict.fromkeys(prompts, 0)
    for window in found[1]:
        for mark in window.marks:
            if mark.kind == "phase_end" and mark.name == "prefill":
                prompts[window.calls[mark.call_id].number] += int(mark.text)
            if mark.kind == "count" and mark.name == "decode_steps":
                decoded[window.calls[mark.call_id].number] += int(mark.value)
    for number, request in enumerate(served.requests, start=1):
        assert prompts[number] == pytest.approx(request.prompt_tokens - request.cached_tokens, abs=1)
        assert decoded[number] == request.output_tokens - 1


def test_a_prompt_computed_again_is_told_by_the_engines_preempted_queries():
    served = serve(Traffic(8.0, 120).drawn(1), SENSORS, 1, limits=ServerLimits(cache_tokens=10_000))
    assert served.preemptions > 5
    energies, windows = joules_of(served)
    assert sum(energy.middle_j for energy in energies) == pytest.approx(served.busy_j, rel=2e-3)
    again = {each.number for window in windows for request in window.over for each in request.again}
    lost = {number + 1 for step in served.steps for number in step.lost}
    assert len(again & lost) >= 0.9 * len(lost)
    inside = [low <= true <= high for (low, high), true in zip([e.interval_j for e in energies], served.shapley_j)]
    assert np.mean(inside) > 0.8


def test_a_prompt_whose_pictures_were_not_seen_is_not_counted_as_text():
    requests = Requests(FULL_AT, 0)
    came = {"kind": "came", "id": "a", "name": "a", "time_ns": 1_000, "prompt": 40, "images": None, "parent": ""}
    requests.add({**came, "visual": None})
    requests.add({**came, "id": "b", "visual": 16})
    marks = requests.cut(9_000, 9_000).marks
    counted = {(mark.call_id, mark.name): mark.value for mark in marks if mark.kind == "count"}
    assert {name for call, name in counted if call == 1}.isdisjoint({"text_input", "visual_input"})
    assert (counted[2, "text_input"], counted[2, "visual_input"]) == (24, 16)

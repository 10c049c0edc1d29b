"""The worker for real: a process of its own on a counter of 100 W, told of an engine that is none."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.serving import shapes
from wattvlm import Recording
from wattvlm.serving.following import Following, start_worker, watch_arrivals
from wattvlm.serving.settings import Engine, Settings

pytest.importorskip("prometheus_client", reason="needs the extra wattvlm[prometheus]")
pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real worker on a counter of 100 W, told of an engine that answers one request after the other for 4 s."""
    folder = tmp_path_factory.mktemp("joules")
    probes = [["tests.sampling.tiny_probes:Counter", {}]]
    settings = Settings(str(folder), port=0, window_ns=1_000_000_000, probes=probes)
    following = Following(settings, Engine("tiny", 2048, ahead=False), start_worker)
    watched = type("Watched", (shapes.Processor,), {})
    watch_arrivals(watched, following)
    processor, until_s, number = watched(), time.monotonic() + 4.0, 0
    time.sleep(0.5)
    while time.monotonic() < until_s:
        name = f"request-{number}"
        processor.add_request(shapes.request(name, image=16 * (number % 2)), None)
        stats = processor.request_states[name].stats
        stats.scheduled_ts = time.monotonic()
        for token in range(10):
            time.sleep(0.01)
            iteration = shapes.IterationStats()
            iteration.num_generation_tokens = 1
            stats.num_generation_tokens, stats.last_token_ts = token + 1, time.monotonic()
            stats.first_token_ts = stats.first_token_ts or stats.last_token_ts
            following.iteration(shapes.SchedulerStats(1), iteration)
        del processor.request_states[name]
        number += 1
    following.close()
    return folder


def test_each_request_has_its_joules_in_the_journal(played):
    lines = [json.loads(line) for line in (played / "requests.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"request-{number}" for number in range(len(lines))]
    assert len(lines) > 10
    for line in lines[1:-1]:
        energy = line["joules"]["gpu"]
        lasted_s = line["ended_s"] - line["arrived_s"]
        assert energy["low_j"] <= 100.0 * lasted_s * 1.5
        assert energy["high_j"] >= 100.0 * lasted_s * 0.6
        assert (line["output"], line["images"]) == (10, int(line["id"][8:]) % 2)
    summed_j = sum(line["joules"]["gpu"]["middle_j"] for line in lines)
    assert summed_j == pytest.approx(sum(100.0 * (line["ended_s"] - line["arrived_s"]) for line in lines), rel=0.2)


def test_the_latest_windows_are_recordings_that_a_report_can_be_made_of(played):
    recording = Recording.load(sorted(played.glob("window-*.json.gz"))[-1])
    assert {call.label[:8] for call in recording.trace.calls} == {"request-"}
    assert all(call.runtime == "vllm" for call in recording.trace.calls)

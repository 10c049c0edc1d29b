"""A Recording played back as a sensor."""

import json

import numpy as np
import pytest

from wattvlm.errors import ProbeLost, ProbeUnavailable
from wattvlm.probes.replay import ReplayProbe
from wattvlm.sensing import EnergyReading, Reading
from wattvlm.testing import FakeClock, PowerCurve, VirtualMachine, VirtualSensor

MS = 1_000_000
S = 1_000_000_000
COUNTER = VirtualSensor("gpu-0/board", max_power_w=700.0)
POWER = VirtualSensor("gpu-0/power", method="power", window_ns=25 * MS)


@pytest.fixture(params=["run.json", "run.json.gz"])
def saved(request, tmp_path):
    recording = VirtualMachine({"gpu": PowerCurve([(0, 300.0)])}, [COUNTER, POWER]).record(5 * S, 8 * S)
    recording.save(tmp_path / request.param)
    return recording, tmp_path / request.param


def test_all_readings_come_again_once_and_in_time_shifted_to_now(saved):
    recording, path = saved
    clock = FakeClock(100 * S)
    probe = ReplayProbe(path, clock)
    channels = probe.open().channels
    assert channels == recording.channels
    played: dict[str, list[Reading]] = {channel.name: [] for channel in channels}
    for _ in range(30):
        clock.advance(100 * MS)
        for channel in channels:
            if len(played[channel.name]) < len(recording.readings[channel.name]):
                played[channel.name] += probe.read(channel)
    for name, readings in played.items():
        expected = recording.readings[name]
        assert [reading.time_ns for reading in readings] == (expected.time_ns + 95 * S).tolist()
    counts = [reading for reading in played["gpu-0/board"] if isinstance(reading, EnergyReading)]
    assert [reading.energy_j for reading in counts] == recording.readings["gpu-0/board"].value.tolist()
    brackets = [reading.unchanged_at_ns for reading in counts]
    assert np.array_equal(brackets, recording.readings["gpu-0/board"].unchanged_at_ns + 95 * S)


def test_a_reading_is_not_played_before_its_time(saved):
    _, path = saved
    clock = FakeClock()
    probe = ReplayProbe(path, clock)
    channel = probe.open().channels[0]
    first = probe.read(channel)
    assert all(reading.time_ns <= clock.now_ns for reading in first)
    assert probe.read(channel) == []


def test_after_the_last_reading_the_channel_is_lost(saved):
    _, path = saved
    clock = FakeClock()
    probe = ReplayProbe(path, clock)
    channel = probe.open().channels[0]
    clock.advance(10 * S)
    assert len(probe.read(channel)) > 20
    with pytest.raises(ProbeLost, match="ends here"):
        probe.read(channel)
    probe.close()
    probe.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8bbroken",
        b"[1, 2]",
        json.dumps({"kind": "wattvlm report", "schema_version": 1}).encode(),
        json.dumps({"kind": "wattvlm recording", "schema_version": 1}).encode(),
        json.dumps({"kind": "wattvlm recording", "channels": [{"name": 1}], "start_ns": 0}).encode(),
        json.dumps({"kind": "wattvlm recording", "channels": [], "readings": 3, "start_ns": "x"}).encode(),
    ],
)
def test_what_is_no_recording_is_unavailable_with_the_cure(tmp_path, content):
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(ProbeUnavailable, match=r"Recording\.save"):
        ReplayProbe(path).open()


def test_a_file_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(ProbeUnavailable):
        ReplayProbe(tmp_path / "nothing.json").open()

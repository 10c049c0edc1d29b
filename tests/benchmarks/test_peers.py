"""The programs that other meters are driven by: what was drawn, when the meter was told, what it added."""

import pytest

from benchmarks.peers.environments import PEERS
from benchmarks.peers.plan import LIMIT_W, SENSORS, sessions
from benchmarks.peers.running import length_s, run_one
from wattvlm.testing import VirtualNvml

needs_library = pytest.mark.skipif(
    not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "the virtual NVML can be built"
)


def test_all_meters_are_given_the_same_calls():
    assert sessions(45, 20, 2) == sessions(45, 20, 2)
    phases = [phase for session in sessions(45, 20, 5) for call in session["calls"] for phase in call["phases"]]
    assert all(0 < power_w <= LIMIT_W for _, _, power_w in phases)
    assert [name for name, _, _ in phases[:3]] == ["vision_encode", "prefill", "decode"]


def test_a_plan_takes_its_rest_its_pauses_its_phases_and_a_second_for_the_report():
    (session,) = sessions(100, 1, 1)
    assert length_s([session]) == pytest.approx(2.8 + session["calls"][0]["pause_ns"] / 1e9)


@needs_library
@pytest.mark.parametrize("name", ["nothing", "wattvlm"])
def test_the_truth_of_a_phase_is_what_was_drawn_between_its_boundaries(name, tmp_path):
    planned = sessions(60, 2, 1)
    run = run_one(name, tmp_path, tmp_path / "unused", SENSORS["counter-20ms"].settings, {"sessions": planned})
    assert (run.raised, run.ended) == ("", "")
    for call, truth in zip(planned[0]["calls"], run.sessions[0]["calls"]):
        for phase, duration_ns, power_w in call["phases"]:
            told = truth[phase]
            beside_ns = told["to_ns"] - told["from_ns"] - duration_ns
            assert told["joules"] * 1e9 == pytest.approx(power_w * duration_ns + 110.0 * beside_ns)


@needs_library
def test_a_meter_that_cannot_be_installed_is_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    run = run_one("pyjoules", tmp_path / "run", tmp_path / "environments", {}, {"sessions": []})
    assert run.sessions == ()
    assert run.ended.startswith("not run: pyJoules 0.5.1 cannot be installed")


def test_every_row_names_the_version_that_is_pinned():
    for peer in PEERS.values():
        if peer.requirements:
            name, version = peer.requirements[0].split("==")
            assert name.lower() in peer.words.lower()
            assert version in peer.words or version.startswith(peer.words.split()[1].rstrip(","))

"""The session that the demo shows: virtual in every word, and its phases resolved."""

import pytest

from wattvlm.attribution import analyze
from wattvlm.testing import data_centre_session


@pytest.mark.parametrize("seed", range(5))
def test_the_data_centre_session_resolves_its_phases_and_covers_the_truth(seed):
    simulation = data_centre_session(seed)
    report = analyze(simulation.recording)
    for name in ("vision_encode", "prefill", "decode"):
        found = report.phase(name).energies["gpu"]
        truth_j = sum(call[name] for call in simulation.truth_j["gpu"]) / len(report.calls)
        assert found.stands_alone
        low_j, high_j = found.energy.absolute_interval_j
        assert low_j <= truth_j <= high_j
    assert report.joules_per_visual_token.middle_j > 0


def test_everything_in_it_is_said_to_be_virtual():
    report = analyze(data_centre_session(0, calls=1).recording)
    assert report.virtual
    assert "virtual" in report.host.name
    assert all("VIRTUAL" in use.channel.device and "virtual" in use.channel.sensor for use in report.channels)
    assert all(not report.is_modelled(domain) for domain in ("gpu", "cpu"))
    assert report.is_modelled("ram")
    assert "permission denied" in report.absent[0].what


def test_without_a_seed_each_session_is_another():
    one, two = (data_centre_session(None, calls=1).recording.marks for _ in range(2))
    assert one != two

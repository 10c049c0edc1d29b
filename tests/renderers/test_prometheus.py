"""Prometheus' text, read back by prometheus_client's own parser."""

import math

import pytest

from tests.renderers.sample_reports import SAMPLES
from wattvlm.renderers import render
from wattvlm.report import Report
from wattvlm.units import NS_PER_S

parser = pytest.importorskip("prometheus_client.parser", reason="needs the extra wattvlm[prometheus]")


def samples(report: Report) -> list[tuple[str, dict[str, str], float]]:
    text = render(report, "prometheus")
    families = parser.text_string_to_metric_families(text)
    return [(each.name, each.labels, each.value) for family in families for each in family.samples]


@pytest.fixture(scope="module")
def session() -> Report:
    import wattvlm
    from wattvlm.testing.scenarios import data_centre_session

    return wattvlm.analyze(data_centre_session(seed=1).recording)


def test_joules_over_all_phases_are_those_of_the_block(session):
    for domain in session.domains:
        found = [value for name, labels, value in samples(session)
                 if name == "wattvlm_energy_joules_total" and labels["domain"] == domain]  # fmt: skip
        assert math.fsum(found) == pytest.approx(session.block.energies[domain].energy.middle_j, rel=1e-9)


def test_each_energy_lies_in_its_bounds_and_says_how_it_is_known(session):
    found = samples(session)
    bounds = {tuple(sorted(labels.items())): value for name, labels, value in found if name.endswith("bound_joules")}
    energies = [(labels, value) for name, labels, value in found if name == "wattvlm_energy_joules_total"]
    assert len(bounds) == 2 * len(energies) == 36
    for labels, value in energies:
        low, high = (bounds[tuple(sorted((*labels.items(), ("bound", end))))] for end in ("low", "high"))
        assert low <= value <= high
        assert labels["method"] == ("modelled" if labels["domain"] == "ram" else "measured")
        assert labels["device"]


def test_a_metric_has_the_name_that_it_has_everywhere(session):
    shown = {name.removeprefix("wattvlm_"): value for name, _, value in samples(session)}
    for name, value in session.metrics().items():
        if not name.endswith("_tokens") and name not in ("requests", "images"):
            assert shown.get(name) == value
    tokens = {labels["kind"]: value for name, labels, value in samples(session) if name == "wattvlm_tokens_total"}
    assert tokens["visual_input"] == session.metrics()["visual_input_tokens"]


def test_power_times_time_is_the_block(session):
    watts = {labels["domain"]: value for name, labels, value in samples(session) if name == "wattvlm_power_watts"}
    for domain, power_w in watts.items():
        energy_j = session.block.energies[domain].energy.middle_j
        assert power_w * session.block.duration_ns / NS_PER_S == pytest.approx(energy_j)


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_series_is_given_twice_and_no_counter_is_negative_whatever_the_report(sample):
    found = samples(SAMPLES[sample]())
    series = [(name, tuple(sorted(labels.items()))) for name, labels, _ in found]
    assert len(series) == len(set(series))
    assert all(value >= 0 for name, _, value in found if name.endswith("_total"))

"""Grams and money are worked out beside the joules, from factors that name their source."""

import json

import pytest

from wattvlm.energy import Energy
from wattvlm.factors import UnknownFactor, co2_factor, price_factor

MEASURED = Energy(3600.0, (3500.0, 3700.0), "measured")


def test_a_number_of_grams_a_kwh_is_taken_as_it_is():
    factor = co2_factor("475")
    assert factor.of(MEASURED) == pytest.approx(0.475)
    assert factor.line(MEASURED, "request") == "0.475 g CO2 per request, at 475 g CO2 a kWh (given by you)"


def test_a_country_is_looked_up_in_codecarbons_table_and_named_as_the_source(tmp_path):
    table = tmp_path / "data/private_infra"
    table.mkdir(parents=True)
    (table / "global_energy_mix.json").write_text(json.dumps({"FRA": {"carbon_intensity": 56.0}, "XXX": {}}))
    factor = co2_factor("fra", installed=tmp_path)
    assert factor.per_kwh == 56.0
    assert "codecarbon's figure for FRA" in factor.line(MEASURED, "request")
    with pytest.raises(UnknownFactor, match="no country 'XXX'"):
        co2_factor("XXX", installed=tmp_path)


def test_the_installed_codecarbon_knows_a_country():
    pytest.importorskip("codecarbon", reason="codecarbon is not installed")
    assert 0 < co2_factor("FRA").per_kwh < co2_factor("POL").per_kwh


def test_a_table_that_cannot_be_read_names_the_cure(tmp_path):
    with pytest.raises(UnknownFactor, match="give grams a kWh"):
        co2_factor("FRA", installed=tmp_path)


@pytest.mark.parametrize("nonsense", ["-3", "nan", "inf"])
def test_a_factor_that_is_no_amount_is_refused(nonsense):
    with pytest.raises(UnknownFactor, match="must be zero or more"):
        co2_factor(nonsense)


def test_grams_of_modelled_joules_are_marked_as_modelled():
    modelled = Energy(3600.0, (1800.0, 5400.0), "modelled")
    assert price_factor(0.30, "EUR").line(modelled, "request").startswith("~0.000300 EUR")


def test_joules_do_not_change_when_factors_are_applied():
    co2_factor("475").of(MEASURED)
    assert MEASURED.middle_j == 3600.0

"""Grams of CO2 and money: factors of the user's own, or codecarbon's country table; never mixed into joules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import util
from math import isfinite
from pathlib import Path

from wattvlm.energy import Energy
from wattvlm.errors import WattvlmError
from wattvlm.units import J_PER_KWH, format_significant


class UnknownFactor(WattvlmError):
    """A country or a number that gives no factor."""


@dataclass(frozen=True, slots=True)
class Factor:
    """So much per kilowatt-hour: grams of CO2, or money. `source` says whose figure it is."""

    per_kwh: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if not isfinite(self.per_kwh) or self.per_kwh < 0:
            raise UnknownFactor(f"{self.per_kwh} {self.unit} a kWh is no factor: it must be zero or more")

    def of(self, energy: Energy) -> float:
        """The amount, in `unit`, that the middle of an energy stands for."""
        return energy.middle_j / J_PER_KWH * self.per_kwh

    def line(self, energy: Energy, what: str) -> str:
        """One line for people: '0.066 g CO2 per request, at 475 g CO2 a kWh (given by you)'."""
        tilde = "~" if energy.is_modelled else ""
        amount = format_significant(self.of(energy), 3)
        return f"{tilde}{amount} {self.unit} per {what}, at {self.per_kwh:g} {self.unit} a kWh ({self.source})"


def co2_factor(given: str, installed: Path | None = None) -> Factor:
    """The Factor for grams of CO2 a kWh: a number of yours, or a country's ISO code ("FRA") by codecarbon's table.

    installed: codecarbon's folder (default: where it is installed). UnknownFactor names the cure.
    """
    try:
        return Factor(float(given), "g CO2", "given by you")
    except ValueError:
        pass
    folder = installed if installed is not None else _codecarbon_folder()
    if folder is None:
        raise UnknownFactor(
            f"{given!r} is no number, and country figures are codecarbon's, which is not installed. "
            "Cure: give grams a kWh, or pip install 'wattvlm[carbon]'"
        )
    countries = _country_table(folder)
    if given.upper() not in countries:
        raise UnknownFactor(f"codecarbon's table has no country {given!r}. Cure: an ISO code such as FRA, or a number")
    return Factor(countries[given.upper()], "g CO2", f"codecarbon's figure for {given.upper()}")


def price_factor(per_kwh: float, currency: str = "money") -> Factor:
    """The Factor for money a kWh, in a currency of yours."""
    return Factor(per_kwh, currency, "given by you")


def _codecarbon_folder() -> Path | None:
    found = util.find_spec("codecarbon")
    return Path(found.origin).parent if found is not None and found.origin else None


def _country_table(folder: Path) -> dict[str, float]:
    """ISO code -> grams of CO2 a kWh of its electricity; codecarbon is read, not imported (importing it logs)."""
    try:
        table = json.loads((folder / "data/private_infra/global_energy_mix.json").read_text(encoding="utf-8"))
        return {code: float(entry["carbon_intensity"]) for code, entry in table.items() if "carbon_intensity" in entry}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UnknownFactor(
            f"this codecarbon's country table cannot be read ({error}). Cure: give grams a kWh"
        ) from error

"""What an answer may take: run with `pytest`, and against a baseline with `pytest --energy-compare`."""

import os
from collections.abc import Callable

import pytest

from wattvlm.regression.session import EnergyBenchmark


@pytest.mark.energy(joules_per_request=90)
def test_an_answer_stays_within_its_joules(energy_benchmark: EnergyBenchmark, answer: Callable[[float], str]) -> None:
    assert energy_benchmark(answer, float(os.environ.get("EXAMPLE_POWER_W", "300"))) == "a cat"

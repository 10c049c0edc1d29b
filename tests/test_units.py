"""Units: each factor once, and numbers as people read them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm import units
from wattvlm.units import energy_scale, format_j, format_ns, format_significant, format_w

ROOT = Path(__file__).parents[1]


def test_the_factors_are_those_of_the_units() -> None:
    assert pytest.approx(1.0) == units.NS_PER_S * units.S_PER_NS
    assert pytest.approx(1.0) == units.NS_PER_MS * units.MS_PER_NS
    assert units.NS_PER_S == 1000 * units.NS_PER_MS == 1_000_000 * units.NS_PER_US
    assert units.J_PER_KWH == 1000 * units.J_PER_WH == 3.6e6
    assert units.J_PER_MILLIJOULE == units.W_PER_MILLIWATT == 1000 * units.J_PER_MICROJOULE
    assert pytest.approx(12.0) == units.SQRT_12**2


@pytest.mark.parametrize(
    ("energy_j", "text"),
    [(503.5, "503.5 J"), (0.0975, "97.50 mJ"), (5.24, "5.240 J"), (0.0, "0 J"), (-2.5, "-2.500 J"),
     (0.00002, "20.00 µJ"), (25_000.0, "25.00 kJ"), (3.6e6, "3.600 MJ"), (9_999.0, "9999 J")],
)  # fmt: skip
def test_an_energy_is_written_in_the_unit_that_reads_best(energy_j: float, text: str) -> None:
    assert format_j(energy_j) == text


def test_power_and_time_are_written_with_their_units() -> None:
    assert format_w(68.0) == "68.0 W"
    assert [format_ns(time_ns) for time_ns in (140_000, 1_900_000, 52_000_000, 2_410_000_000, -2_410_000_000)] == [
        "140 µs", "1.9 ms", "52 ms", "2.41 s", "-2.41 s",
    ]  # fmt: skip


@given(value=st.floats(1e-4, 1e12), digits=st.integers(1, 6))
def test_a_number_written_with_some_digits_is_off_by_less_than_one_of_the_last(value: float, digits: int) -> None:
    text = format_significant(value, digits)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


@given(energy_j=st.floats(-1e9, 1e9))
def test_the_scale_of_an_energy_never_changes_its_joules(energy_j: float) -> None:
    factor, unit = energy_scale(energy_j)
    assert factor == {"MJ": 1e-6, "kJ": 1e-3, "J": 1.0, "mJ": 1e3, "µJ": 1e6}[unit]


def test_no_other_file_multiplies_or_divides_by_a_conversion_factor() -> None:
    factors = {1e-6, 1e-3, 1e6, 1e9, 3600.0, 3.6e6}  # "per 1,000 requests" is a count, 1e-9 a tolerance
    files = [path for folder in ("wattvlm", "probes") for path in (ROOT / folder).glob("**/*.py")]
    assert len(files) > 20
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        if path.name != "units.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div, ast.FloorDiv))
        for side in (node.left, node.right)
        if isinstance(side, ast.Constant) and isinstance(side.value, (int, float)) and side.value in factors
    ]
    assert found == []

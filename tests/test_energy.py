"""Energy: joules with an interval, a provenance, and sums that keep what is shared."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wattvlm.energy import DRAWS, Energy, Provenance, format_with_half_width, total

METHODS: st.SearchStrategy[Provenance] = st.sampled_from(("measured", "modelled"))
JOULES = st.floats(-1e6, 1e6, allow_nan=False)


def draws(seed: int, mean_j: float = 100.0, std_j: float = 5.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(mean_j, std_j, DRAWS)


def drawn(seed: int, mean_j: float = 100.0, std_j: float = 5.0, method: Provenance = "measured") -> Energy:
    return Energy.from_draws(draws(seed, mean_j, std_j), method)


def bounds(low_j: float, high_j: float, mean_j: float | None = None, method: Provenance = "measured") -> Energy:
    return Energy(mean_j, (low_j, high_j), method)


def pieces(energy: Energy) -> NDArray[np.float64]:
    assert energy.draws_j is not None
    return energy.draws_j


@st.composite
def bounded(draw: st.DrawFn) -> tuple[Energy, float]:
    """Bounds and a joule inside them."""
    low_j, inside_j, high_j = sorted(draw(st.tuples(JOULES, JOULES, JOULES)))
    return bounds(low_j, high_j), inside_j


@given(seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)), means=st.tuples(JOULES, JOULES))
def test_sums_and_differences_are_formed_draw_by_draw(seeds: tuple[int, int], means: tuple[float, float]) -> None:
    left, right = (drawn(seed, mean_j) for seed, mean_j in zip(seeds, means))
    assert np.array_equal(pieces(left + right), pieces(left) + pieces(right))
    assert np.array_equal(pieces(left - right), pieces(left) - pieces(right))
    assert (left + right).middle_j == pytest.approx(left.middle_j + right.middle_j)


@given(seed=st.integers(0, 99), mean_j=JOULES)
def test_an_energy_less_itself_is_exactly_no_joule(seed: int, mean_j: float) -> None:
    energy = Energy.from_draws(draws(seed, mean_j), "measured", {"board": 5.0})
    nothing = energy - energy
    assert (nothing.mean_j, nothing.interval_j, nothing.gain_j) == (0.0, (0.0, 0.0), 0.0)


def test_phases_that_share_their_draws_add_up_to_a_call_surer_than_they_are() -> None:
    prefill_j = draws(1, 40.0, 8.0)
    prefill = Energy.from_draws(prefill_j, "measured")
    decode = Energy.from_draws(500.0 - prefill_j, "measured")
    assert (prefill + decode).half_width_j < 1e-9
    assert prefill.half_width_j > 14


def test_energies_of_independent_solves_add_in_quadrature() -> None:
    half_widths = [(drawn(2 * seed, std_j=3.0) + drawn(2 * seed + 1, std_j=4.0)).half_width_j for seed in range(100)]
    assert float(np.mean(half_widths)) == pytest.approx(1.96 * 5.0, rel=0.1)


@given(first=bounded(), second=bounded())
def test_sums_and_differences_of_bounds_contain_what_the_bounds_contained(
    first: tuple[Energy, float], second: tuple[Energy, float]
) -> None:
    (left, left_j), (right, right_j) = first, second
    for result, truth_j in ((left + right, left_j + right_j), (left - right, left_j - right_j)):
        assert result.is_bounds
        assert result.interval_j[0] <= truth_j <= result.interval_j[1]


@given(first=bounded(), seed=st.integers(0, 99))
def test_bounds_and_draws_together_are_bounds_as_wide_as_both(first: tuple[Energy, float], seed: int) -> None:
    left, right = first[0], drawn(seed)
    for result in (left + right, left - right, right - left):
        assert result.is_bounds
        assert result.mean_j is None
        assert result.half_width_j >= left.half_width_j
        wide_j = (left.interval_j[1] - left.interval_j[0]) + (right.interval_j[1] - right.interval_j[0])
        assert result.interval_j[1] - result.interval_j[0] == pytest.approx(wide_j, abs=1e-6)


@given(methods=st.tuples(METHODS, METHODS))
def test_a_modelled_joule_never_turns_measured(methods: tuple[Provenance, Provenance]) -> None:
    left, right = bounds(1, 2, method=methods[0]), drawn(1, method=methods[1])
    expected = "modelled" if "modelled" in methods else "measured"
    assert {(left + right).method, (left - right).method, (right - left).method} == {expected}
    assert left.scaled(0.5).method == left.per(3).method == methods[0]


def test_gain_errors_of_one_board_add_and_those_of_two_boards_add_in_quadrature() -> None:
    phase = Energy(10.0, (9.0, 11.0), "measured", {"gpu-0": 3.0})
    same = Energy(10.0, (9.0, 11.0), "measured", {"gpu-0": 4.0})
    other = Energy(10.0, (9.0, 11.0), "measured", {"gpu-1": 4.0})
    assert (phase + same).gain_j == pytest.approx(7.0)
    assert (phase - same).gain_j == pytest.approx(1.0)
    assert (phase + other).gain_j == pytest.approx(5.0)
    assert (phase - other).gain_j == pytest.approx(5.0)
    assert (phase + same).gain_fraction == pytest.approx(7.0 / 20.0)
    assert Energy(0.0, (0.0, 0.0), "measured", {"gpu-0": 1.0}).gain_fraction == 0.0


def test_the_absolute_interval_holds_the_sensors_interval_and_the_gain() -> None:
    sure = Energy(100.0, (97.0, 104.0), "measured", {"gpu-0": 4.0}, np.full(DRAWS, 100.0))
    assert sure.absolute_interval_j == pytest.approx((100 - 5.0, 100 + sqrt(32.0)))
    assert Energy(None, (97.0, 104.0), "measured", {"gpu-0": 4.0}).absolute_interval_j == pytest.approx((93.0, 108.0))


def test_nothing_measured_is_not_zero_joules() -> None:
    assert total([]) is None
    one = drawn(1)
    assert total([one]) is one
    summed = total([one, drawn(2), drawn(3)])
    assert summed is not None
    assert np.allclose(pieces(summed), draws(1) + draws(2) + draws(3))


@given(energy=bounded(), count=st.floats(1e-3, 1e6))
def test_joules_per_thing_times_the_things_are_the_joules_again(energy: tuple[Energy, float], count: float) -> None:
    again = energy[0].per(count).scaled(count)
    assert again.interval_j == pytest.approx(energy[0].interval_j, abs=1e-6)


@pytest.mark.parametrize("count", [0, -1, float("nan"), float("inf")])
def test_joules_per_no_thing_are_refused(count: float) -> None:
    with pytest.raises(ValueError, match="count must be positive"):
        drawn(1).per(count)


def test_a_negative_factor_keeps_the_interval_in_order() -> None:
    turned = bounds(1.0, 3.0).scaled(-2.0)
    assert turned.interval_j == (-6.0, -2.0)


@pytest.mark.parametrize(
    ("mean_j", "interval_j"),
    [(None, (2.0, 1.0)), (None, (float("nan"), 1.0)), (None, (0.0, float("inf"))), (float("nan"), (0.0, 1.0))],
)
def test_an_interval_that_is_none_is_refused(mean_j: float | None, interval_j: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        Energy(mean_j, interval_j, "measured")


def test_draws_of_another_number_are_refused_since_they_would_not_be_joint() -> None:
    with pytest.raises(ValueError, match="shape"):
        Energy(1.0, (0.0, 2.0), "measured", draws_j=np.ones(DRAWS + 1))


def test_bounds_without_a_middle_are_spoken_of_by_their_centre() -> None:
    energy = bounds(10.0, 30.0)
    assert (energy.middle_j, energy.half_width_j, float(energy)) == (20.0, 10.0, 20.0)
    assert bounds(10.0, 30.0, mean_j=12.0).half_width_j == 18.0
    assert repr(energy) == "Energy(20 J, bounds [10, 30], measured)"
    assert "95 %" in repr(drawn(1))


@pytest.mark.parametrize(
    ("mean_j", "half_j", "text"),
    [(503.5, 4.8, "503.5 ±4.8 J"), (0.0975, 0.0016, "97.5 ±1.6 mJ"), (5.24, 0.05, "5.24 ±0.05 J"),
     (458.0, 12.4, "458 ±13 J"), (23.42, 0.4, "23.4 ±0.4 J"), (12_345.0, 120.0, "12.35 ±0.12 kJ"),
     (0.0, 0.0, "0 ±0 J"), (250.0, 0.0, "250.0 ±0 J"), (-0.04, 3.0, "-40 ±3000 mJ"), (99.0, 9.46, "99.0 ±9.5 J")],
)  # fmt: skip
def test_value_and_half_width_are_written_with_the_same_decimals(mean_j: float, half_j: float, text: str) -> None:
    energy = Energy(mean_j, (mean_j - half_j, mean_j + half_j), "measured")
    assert str(energy) == f"{energy}" == text


def test_a_modelled_energy_is_written_with_a_tilde_and_a_plain_spec_gives_the_middle() -> None:
    energy = Energy(0.71, (0.3, 1.1), "modelled")
    assert f"{energy}".startswith("~")
    assert f"{energy:.3f}" == "0.710"


@given(value=st.floats(-1e5, 1e5), half_width=st.floats(1e-6, 1e5))
def test_a_written_half_width_never_claims_more_than_is_known(value: float, half_width: float) -> None:
    value_text, half_text = format_with_half_width(value, half_width)
    assert float(half_text) >= half_width * (1 - 1e-8)
    assert float(half_text) <= half_width * 1.6 + 1e-9
    assert len(half_text.partition(".")[2]) == len(value_text.partition(".")[2])
    assert abs(float(value_text) - value) <= 0.51 * 10.0 ** -len(value_text.partition(".")[2])
    assert value_text.strip("-0.") or not value_text.startswith("-")

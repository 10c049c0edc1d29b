"""How numbers are written: never more than is known, and the same in every renderer."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.energy import Energy, format_with_half_width
from wattvlm.renderers._numbers import (
    Amount,
    Parts,
    spans,
    write,
    write_column,
    write_count,
    write_duration,
    write_middle,
    write_period,
    write_range,
)
from wattvlm.units import NS_PER_MS, NS_PER_S, NS_PER_US

everyday = st.floats(-9.9e6, 9.9e6).filter(lambda value: value == 0.0 or abs(value) > 1e-6)
half_widths = st.floats(1e-3, 9.9e6)


def text_of(parts: Parts | None) -> str:
    assert parts is not None
    return "".join(span.text for span in spans(parts)).replace("\u00a0", " ")


def column(*amounts: tuple[float, float]) -> list[str]:
    return [text_of(each) for each in write_column([Amount(value, half) for value, half in amounts])]


def test_a_column_is_written_with_the_decimals_that_suit_most_of_it():
    assert column((3.9, 0.4), (16.8, 0.5), (458.0, 4.6), (503.5, 4.8)) == [
        "3.9 ±0.4", "16.8 ±0.5", "458.0 ±4.6", "503.5 ±4.8",
    ]  # fmt: skip


def test_a_number_far_finer_than_its_column_keeps_its_own_decimals():
    assert column((458.0, 4.6), (460.0, 4.7), (0.0123, 0.0004)) == ["458.0 ±4.6", "460.0 ±4.7", "0.0123 ±0.0004"]


def test_models_of_a_column_share_decimals_and_claim_no_interval():
    values = (0.7, 0.5, 0.6, 33.7, 0.2, 35.7)
    written = [text_of(each) for each in write_column([Amount(value, modelled=True) for value in values])]
    assert written == ["~0.7", "~0.5", "~0.6", "~33.7", "~0.2", "~35.7"]


def test_the_dust_of_a_models_difference_is_not_written_out():
    written = [text_of(each) for each in write_column([Amount(value, modelled=True) for value in (96.0, 121.0, 1e-13)])]
    assert written == ["~96", "~121", "~0.00"]


@given(st.lists(st.tuples(everyday, half_widths), min_size=1, max_size=8))
def test_value_and_half_width_have_the_same_decimals_and_the_half_width_is_rounded_up(amounts):
    for (value, half), written in zip(amounts, column(*amounts)):
        shown, shown_half = written.split(" ±")
        assert len(shown.partition(".")[2]) == len(shown_half.partition(".")[2])
        step = 10.0 ** -len(shown.partition(".")[2])
        assert abs(float(shown) - value) <= step * 0.5000001
        assert half * 0.9999999 <= float(shown_half) <= half + step * 1.0000001


@given(everyday, half_widths)
def test_rounding_up_never_doubles_a_half_width_that_the_value_can_show(value, half):
    shown_half = text_of(write(Amount(value, half))).split(" ±")[1]
    digits = len(re.sub(r"\D", "", f"{abs(value):.0f}"))
    if half >= 2.0 * 10.0 ** -max(0, min(6, 9 - digits)):
        assert float(shown_half) < 1.6 * half


@given(st.floats(1.0, 9e3), st.floats(0.02, 500.0))
def test_a_number_on_its_own_reads_as_the_energy_itself_does(value, half):
    assert text_of(write(Amount(value, half))) == " ±".join(format_with_half_width(value, half))


@given(everyday, st.floats(0.0, 1e6))
def test_a_printed_range_holds_the_whole_range(low, width):
    high = low + width
    shown_low, shown_high = (float(each) for each in write_range(low, high).replace("\u00a0", " ").split(" to "))
    assert shown_low <= low + 1e-6 * max(1.0, abs(low))
    assert shown_high >= high - 1e-6 * max(1.0, abs(high))


@given(st.floats(-1e300, 1e300), st.none() | st.floats(0, 1e300))
def test_any_number_whatever_is_written_in_few_columns(value, half):
    parts = write(Amount(value, half))
    assert float(parts.whole + parts.fraction) == pytest.approx(value, rel=0.06, abs=1e-6 + 0.5 * (half or 0.0))
    assert len(parts.whole) + len(parts.fraction) + len(parts.interval) <= 34


def test_no_minus_sign_stands_before_a_zero():
    assert text_of(write(Amount(-0.04, 3.0))) == "0.0 ±3.0"


@pytest.mark.parametrize(
    ("duration_ns", "coarse", "written"),
    [
        (2.41 * NS_PER_S, False, "2.41 s"), (138 * NS_PER_MS, False, "138 ms"), (25.4 * NS_PER_MS, False, "25.4 ms"),
        (25.4 * NS_PER_MS, True, "25 ms"), (6.5 * NS_PER_MS, True, "6.5 ms"), (140 * NS_PER_US, False, "140 µs"),
        (999.9 * NS_PER_MS, False, "1.00 s"), (0.0, False, "0.0 µs"), (9.96 * NS_PER_MS, True, "10 ms"),
    ],
)  # fmt: skip
def test_a_time_has_three_digits_and_its_unit(duration_ns: float, coarse: bool, written: str):
    assert write_duration(duration_ns, coarse).replace("\u00a0", " ") == written


def test_a_period_has_no_zeros_at_its_end():
    assert write_period(100.02 * NS_PER_MS).replace("\u00a0", " ") == "100 ms"
    assert write_period(1.0 * NS_PER_MS).replace("\u00a0", " ") == "1 ms"
    assert write_period(16.7 * NS_PER_MS).replace("\u00a0", " ") == "16.7 ms"


def test_a_count_has_its_thousands_apart_and_a_mean_count_one_decimal():
    assert [each.whole + each.fraction for each in map(write_count, (1564.0, 95.5, 1.0, 390.99))] == [
        "1,564", "95.5", "1", "391",
    ]  # fmt: skip


def test_a_middle_alone_has_at_most_four_digits_and_never_more_than_its_interval_allows():
    def shown(energy: Energy) -> str:
        return "".join(span.text for span in write_middle(energy)).replace("\u00a0", " ")

    assert shown(Energy(10_310.0, (10_305.0, 10_315.0), "measured")) == "10.31 kJ"
    assert shown(Energy(503.53, (498.7, 508.3), "measured")) == "503.5 J"
    assert shown(Energy(503.53, (403.7, 603.3), "measured")) == "504 J"
    assert shown(Energy(0.7, (0.3, 1.1), "modelled")) == "~700 mJ"

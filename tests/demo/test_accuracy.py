"""Accuracy and its interval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.demo.accuracy import Accuracy


def test_the_interval_is_wilsons() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263 and 0 of 20.
    assert Accuracy(81, 263, 263).interval_fraction == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Accuracy(0, 20, 20).interval_fraction == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_contains_the_fraction_and_stays_between_0_and_1(counts: tuple[int, int]) -> None:
    right, asked = counts
    accuracy = Accuracy(right, asked, asked)
    low, high = accuracy.interval_fraction
    assert 0 <= low <= accuracy.fraction + 1e-12
    assert accuracy.fraction - 1e-12 <= high <= 1


def test_three_answers_about_one_image_do_not_narrow_the_interval_like_three_images() -> None:
    per_answer, per_image = Accuracy(270, 300, 300), Accuracy(270, 300, 100)
    widths = [high - low for low, high in (per_answer.interval_fraction, per_image.interval_fraction)]
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize("counts", [(3, 2, 2), (-1, 2, 2), (0, 0, 0), (1, 2, 3)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is not possible"):
        Accuracy(*counts)

"""What a sensor saw of each segment: weights are integrals of its kernel over the segment, whatever the kernel is."""

from dataclasses import replace

import numpy as np
import pytest

from wattvlm.attribution.views import HEAD_SLOPE, LEVEL, SLOPE_S, TAIL_SLOPE, CounterView, Segments

TICK_S = np.array([[1.0, 1.1, 1.2, 1.3]])
START_S = np.array([[0.95, 1.04, 1.17, 1.22, 1.22, 0.95]])
END_S = np.array([[1.04, 1.17, 1.22, 1.60, 1.60, 1.04]])
SHAPE = np.array([[LEVEL, LEVEL, LEVEL, LEVEL, HEAD_SLOPE, TAIL_SLOPE]])
BEFORE = np.array([[-1, 0, 1, 2, -1, -1]])


def segments():
    none = np.zeros((1, 6), dtype=np.int64)
    return Segments(
        START_S,
        END_S,
        none,
        none,
        SHAPE,
        BEFORE,
        none,
        np.zeros((1, 6)),
        np.zeros((1, 6)),
        np.ones((1, 6)),
        np.zeros((1, 6)),
        np.zeros((1, 6)),
    )


def integrated(lag_s, column, row):
    """The kernel of a counter's row times the column's power of a watt, summed over fine steps."""
    time_s = np.linspace(1.0, TICK_S[0, row + 1], 200_001)
    low_s, high_s = START_S[0, column] + lag_s, END_S[0, column] + lag_s
    power_w = {LEVEL: 1.0, HEAD_SLOPE: (time_s - low_s) / SLOPE_S, TAIL_SLOPE: (high_s - time_s) / SLOPE_S}
    inside = (time_s >= low_s) & (time_s < high_s)
    return float(np.mean(inside * power_w[int(SHAPE[0, column])]) * (TICK_S[0, row + 1] - 1.0))


@pytest.mark.parametrize("lag_s", [0.0, 0.003, -0.004])
def test_a_counter_sees_of_each_segment_the_joules_of_a_watt_before_each_tick(lag_s):
    found = segments().weights(CounterView(TICK_S), lag_s)
    expected = [[integrated(lag_s, column, row) for column in range(6)] for row in range(3)]
    assert found[0] == pytest.approx(np.array(expected), abs=1e-5)
    assert np.sum(found[0, :, :4], axis=1) == pytest.approx([0.1, 0.2, 0.3])


def test_a_boundary_that_moves_changes_a_value_by_the_kernel_times_the_difference_of_powers():
    moved_s, view = 1e-4, CounterView(TICK_S)
    power_w = np.array([300.0, 640.0, 110.0, 380.0, 0.0, 0.0])
    own = segments()
    for column in range(1, 4):
        start_s, end_s = START_S.copy(), END_S.copy()
        start_s[0, column] += moved_s
        end_s[0, column - 1] += moved_s
        later = replace(own, start_s=start_s, end_s=end_s)
        change_j = (later.weights(view, 0.0) - own.weights(view, 0.0)) @ power_w
        expected_j = own.at_boundaries(view, 0.0, 1e-3)[:, :, column] * moved_s
        assert change_j == pytest.approx(expected_j * (power_w[column - 1] - power_w[column]), abs=1e-9)

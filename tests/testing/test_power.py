"""Power curves with an exact integral, and load files."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.testing import LoadFile, PowerCurve, append_load
from wattvlm.testing.power import ramp_steps

MS = 1_000_000

segments = st.lists(st.tuples(st.floats(0.0, 1000.0), st.integers(1, 10**9)), min_size=1, max_size=8)


@given(segments, st.integers(-(10**9), 9 * 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_joules_of_neighbouring_stretches_add_up(parts, start_ns, first_ns, second_ns):
    curve = PowerCurve.of_segments(0, parts, after_w=50.0)
    middle_ns, end_ns = start_ns + first_ns, start_ns + first_ns + second_ns
    whole = curve.energy_j(start_ns, end_ns)
    assert curve.energy_j(start_ns, middle_ns) + curve.energy_j(middle_ns, end_ns) == pytest.approx(whole, abs=1e-6)


@given(segments)
def test_the_integral_of_all_segments_is_power_times_time(parts):
    curve = PowerCurve.of_segments(10**12, parts)
    expected = sum(power_w * duration_ns * 1e-9 for power_w, duration_ns in parts)
    assert curve.energy_j(10**12, 10**13) == pytest.approx(expected)
    assert curve.power_w(10**12) == parts[0][0]


def test_before_the_first_step_a_stated_power_is_drawn():
    curve = PowerCurve([(1_000_000_000, 300.0)], before_w=70.0)
    assert curve.power_w(0) == 70.0
    assert curve.energy_j(0, 2_000_000_000) == pytest.approx(370.0)


def test_a_step_back_in_time_is_refused():
    curve = PowerCurve([(10, 1.0)])
    with pytest.raises(ValueError, match="comes after"):
        curve.append(9, 1.0)


def test_a_load_file_is_read_back_without_an_unfinished_record(tmp_path):
    file = LoadFile(tmp_path / "gpu.load")
    file.append(10, 70.0)
    file.append(20, 300.0)
    with file.path.open("ab") as raw:
        raw.write(b"torn")
    assert file.curve().steps == ((10, 70.0), (20, 300.0))


def test_load_files_are_those_of_the_virtual_nvml(tmp_path):
    file = LoadFile(tmp_path / "gpu.load")
    file.append(10, 70.0)
    append_load(file.path, [(20, 300.0)])
    assert file.path.read_bytes() == struct.pack("<qdqd", 10, 70.0, 20, 300.0)
    assert file.curve().steps == ((10, 70.0), (20, 300.0))


@given(
    from_w=st.floats(0.0, 700.0), to_w=st.floats(0.0, 700.0), ramp_ns=st.integers(1_000, 5 * MS),
    duration_ns=st.integers(1, 100 * MS),
)  # fmt: skip
def test_a_ramp_of_the_first_order_misses_its_step_times_its_time_constant(from_w, to_w, ramp_ns, duration_ns):
    steps, reached_w = ramp_steps("first order", from_w, to_w, ramp_ns, duration_ns)
    found_j = PowerCurve(steps, before_w=from_w).energy_j(0, duration_ns)
    late_j = (reached_w - from_w) * ramp_ns / 1e9
    expected_j = to_w * duration_ns / 1e9 - late_j
    assert found_j == pytest.approx(expected_j, abs=1e-4 * abs(to_w - from_w) * ramp_ns / 1e9 + 1e-9)


def test_a_linear_ramp_misses_half_of_its_step_and_goes_on_from_where_it_was_cut():
    steps, reached_w = ramp_steps("linear", 100.0, 500.0, 4 * MS, 10 * MS)
    assert reached_w == 500.0
    assert PowerCurve(steps).energy_j(0, 10 * MS) == pytest.approx(5.0 - 400.0 * 0.004 / 2)
    steps, reached_w = ramp_steps("linear", 100.0, 500.0, 4 * MS, 1 * MS)
    assert reached_w == pytest.approx(200.0)
    assert PowerCurve(steps).energy_j(0, 1 * MS) == pytest.approx(0.15)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wattvlm.sampling.records import ENERGY, GAP, SAMPLE_BYTES, Sample, decode_sample, encode_sample

times_ns = st.integers(0, 2**62 - 1)
whole_numbers = st.integers(-(2**63), 2**63 - 1)


@given(whole_numbers, times_ns, whole_numbers, st.floats(allow_nan=False), st.integers(0, 2**16 - 1))
def test_a_reading_takes_forty_bytes_and_comes_back_whole(from_ns, time_ns, took_ns, value, channel):
    record = encode_sample(ENERGY, channel, from_ns, time_ns, took_ns, value)
    assert len(record) == SAMPLE_BYTES <= 64
    if abs(from_ns) < 2**62:
        assert decode_sample(record) == Sample(ENERGY, channel, from_ns, time_ns, took_ns, value)


@given(st.integers(0, SAMPLE_BYTES - 1), st.integers(1, 255))
def test_a_damaged_reading_is_no_reading(place, change):
    record = bytearray(encode_sample(GAP, 3, 10, 20, 0, 0.0))
    record[place] ^= change
    assert decode_sample(bytes(record)) is None


def test_a_hole_of_zeros_is_no_reading():
    assert decode_sample(bytes(SAMPLE_BYTES)) is None

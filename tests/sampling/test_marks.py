from __future__ import annotations

from struct import error as StructError
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.sampling.marks import LONGEST_MARK_BYTES, MARK_BYTES, decode_marks, encode_mark
from wattvlm.trace import Mark, MarkKind

times_ns = st.integers(0, 2**62 - 1)
whole_numbers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(), max_size=300)
marks = st.builds(
    Mark,
    time_ns=times_ns,
    kind=st.sampled_from(get_args(MarkKind)),
    call_id=whole_numbers,
    name=texts,
    lane=whole_numbers,
    device=texts,
    value=st.floats(allow_nan=False),
    text=texts,
)


@given(marks)
def test_every_field_of_a_mark_survives_its_journal(mark):
    assert list(decode_marks(encode_mark(mark))) == [mark]


@given(st.lists(marks, max_size=8))
def test_marks_of_any_length_follow_each_other_without_mixing(several):
    assert list(decode_marks(b"".join(encode_mark(mark) for mark in several))) == several


@given(st.lists(marks, min_size=1, max_size=4), st.data())
def test_a_torn_end_costs_only_the_last_mark(several, data):
    content = b"".join(encode_mark(mark) for mark in several)
    last = len(encode_mark(several[-1]))
    cut = data.draw(st.integers(1, last))
    assert list(decode_marks(content[: len(content) - cut])) == several[:-1]


@given(st.lists(marks, min_size=1, max_size=4), st.data())
def test_a_damaged_byte_costs_one_mark_and_invents_none(several, data):
    content = bytearray(b"".join(encode_mark(mark) for mark in several))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    read = list(decode_marks(bytes(content)))
    assert len(read) == len(several) - 1
    assert all(mark in several for mark in read)


def test_a_lone_surrogate_of_a_foreign_file_name_survives():
    mark = Mark(1, "block_start", 1, "photo-\udcff.png")
    assert list(decode_marks(encode_mark(mark))) == [mark]


def test_the_usual_mark_is_one_record():
    assert len(encode_mark(Mark(2**60, "phase_start", 2**40, "vision_encode", 2**47, "cuda:0", 1.5))) == MARK_BYTES


def test_a_text_without_end_is_cut_and_its_mark_kept():
    endless = Mark(5, "note", 1, "name", 2, text="\N{HIGH VOLTAGE SIGN}" * LONGEST_MARK_BYTES)
    (read,) = decode_marks(encode_mark(endless))
    assert read.name == "name"
    assert endless.text.startswith(read.text)
    assert len(read.text) >= LONGEST_MARK_BYTES // 8
    assert len(encode_mark(endless)) < 1.2 * LONGEST_MARK_BYTES


def test_two_long_marks_of_the_same_moment_are_not_joined_where_a_record_is_missing():
    one, other = Mark(7, "note", text="a" * 400), Mark(7, "note", text="b" * 400)
    content = encode_mark(one)[:-MARK_BYTES] + encode_mark(other)
    assert list(decode_marks(content)) == [other]


def test_a_mark_that_no_record_can_hold_is_refused_not_bent():
    with pytest.raises(StructError):
        encode_mark(Mark(2**70, "note"))


def test_a_hole_of_zeros_is_no_mark():
    assert list(decode_marks(bytes(10 * MARK_BYTES))) == []

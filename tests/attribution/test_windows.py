"""Sets of time windows: union and difference keep every nanosecond once."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wattvlm.attribution.windows import Window, clipped, columns, difference, duration_ns, union

windows = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: Window(pair[0], pair[0] + pair[1])), max_size=8
)


def moments(parts):
    return {moment for window in parts for moment in range(window.start_ns, window.end_ns)}


@given(windows)
def test_a_union_has_each_moment_once(parts):
    joined = union(parts)
    assert moments(joined) == moments(parts)
    assert duration_ns(joined) == len(moments(parts))
    assert all(one.end_ns < two.start_ns for one, two in pairwise(joined))


@given(windows, windows)
def test_a_difference_has_the_moments_that_were_not_taken(parts, taken):
    left = difference(union(parts), union(taken))
    assert moments(left) == moments(parts) - moments(taken)
    assert duration_ns(left) == len(moments(left))


@given(windows, st.integers(0, 40), st.integers(0, 40))
def test_clipping_keeps_what_lies_inside(parts, start_ns, length_ns):
    inside = clipped(union(parts), start_ns, start_ns + length_ns)
    assert moments(inside) == {moment for moment in moments(parts) if start_ns <= moment < start_ns + length_ns}


def test_an_unsure_boundary_stays_unsure_in_what_is_left():
    left = difference((Window(0, 100),), (Window(40, 60, 3, 5),))
    assert left == (Window(0, 40, 0, 3), Window(60, 100, 5, 0))


def test_hulls_and_holes_of_a_part_make_up_its_windows():
    table = columns([(Window(0, 10), Window(20, 30)), (), (Window(5, 6),)])
    assert table.parts == 3
    assert table.part.tolist() == [0, 0, 2]
    assert (table.hulls().start_ns.tolist(), table.hulls().end_ns.tolist()) == ([0], [30])
    assert (table.holes().start_ns.tolist(), table.holes().end_ns.tolist()) == ([10], [20])
    assert table.holes().part.tolist() == [0]

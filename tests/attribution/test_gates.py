"""Which phases stand alone, and which are given together."""

from wattvlm.attribution.gates import is_resolved, merge, sub_runs, unresolved_runs

ORDER = ("preprocess", "vision_encode", "prefill", "decode")


def test_half_of_the_value_to_either_side_is_the_widest_that_counts_as_resolved():
    assert is_resolved(10.0, 5.0, 15.0)
    assert not is_resolved(10.0, 4.9, 12.0)
    assert not is_resolved(10.0, 8.0, 15.1)


def test_no_joules_with_any_width_are_not_resolved():
    assert not is_resolved(0.0, 0.0, 7.0)
    assert is_resolved(0.0, 0.0, 0.0)


def test_a_resolved_phase_is_never_merged_away():
    resolved = {"vision_encode", "decode"}
    assert unresolved_runs(ORDER, resolved.__contains__) == []
    assert unresolved_runs(ORDER, {"decode"}.__contains__) == [("preprocess", "vision_encode", "prefill")]


def test_neighbours_are_joined_where_their_sum_is_resolved():
    run = ("preprocess", "vision_encode", "prefill")
    sums = {("vision_encode", "prefill"), ("preprocess", "vision_encode", "prefill")}
    assert merge(run, sums.__contains__) == [("preprocess", "vision_encode", "prefill")]


def test_of_two_ways_that_leave_as_little_open_the_customary_pair_is_taken():
    run = ("vision_encode", "prefill", "decode")
    sums = {("vision_encode", "prefill"), ("prefill", "decode")}
    assert merge(run, sums.__contains__) == [("vision_encode", "prefill"), ("decode",)]


def test_more_rows_are_better_than_fewer():
    run = ("vision_encode", "projector", "prefill", "decode")
    sums = {("vision_encode", "projector"), ("prefill", "decode"), run}
    assert merge(run, sums.__contains__) == [("vision_encode", "projector"), ("prefill", "decode")]


def test_where_no_sum_is_resolved_each_phase_keeps_its_own_bounds():
    run = ("vision_encode", "prefill")
    assert merge(run, lambda _: False) == [("vision_encode",), ("prefill",)]


def test_sub_runs_are_all_neighbouring_groups():
    assert sub_runs(("a", "b", "c")) == [("a", "b"), ("a", "b", "c"), ("b", "c")]

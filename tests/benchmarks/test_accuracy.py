"""The accuracy benchmark: sessions hide what the engine must find, results survive a stop, goals can be missed."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulated import goals, results
from benchmarks.simulated.cells import HARDSHIPS, Cell, all_cells, chosen, docs_sessions
from benchmarks.simulated.drawn import LARGEST_SKEW_NS, session
from benchmarks.simulated.outcomes import Outcome, outcome
from benchmarks.simulated.summary import HEADER, Summary

CELL = Cell("counter-100ms", 45, 1)


def test_a_session_is_the_same_each_time_and_another_for_each_seed():
    first, again, other = session(CELL, 1), session(CELL, 1), session(CELL, 2)
    assert first.truth_j == again.truth_j != other.truth_j
    assert first.recording.marks == again.recording.marks


@pytest.mark.parametrize("sensor", ["counter-20ms", "counter-1ms", "mean-1s", "part-25ms"])
def test_the_engine_is_told_neither_period_nor_window(sensor):
    (channel,) = session(Cell(sensor, 45, 1), 0).recording.channels
    assert channel.update_period_ns is None
    assert channel.window_ns is None
    assert channel.max_power_w is not None


@pytest.mark.parametrize("hardship", [each for each in HARDSHIPS if each != "noise"])
def test_no_phase_passes_the_power_that_the_board_is_said_not_to_pass(hardship):
    for seed in range(12):
        drawn = session(Cell("counter-100ms", 120, 5, hardship), seed)
        readings = drawn.recording.readings["gpu-0/board"]
        steps_j, steps_s = np.diff(readings.value)[1:], np.diff(readings.time_ns)[1:] / 1e9  # the first read is no tick
        assert (steps_j <= drawn.limit_w * (steps_s + 0.01)).all()


def test_boundaries_that_are_off_each_on_their_own_stay_in_order():
    plain, moved = session(CELL, 3), session(replace(CELL, hardship="marks"), 3)
    times_ns = [mark.time_ns for mark in moved.recording.marks]
    assert times_ns == sorted(times_ns)
    lengths_ns = [
        end.time_ns - start.time_ns
        for start, end in zip(moved.recording.marks, moved.recording.marks[1:])
        if (start.kind, end.kind, start.name) == ("phase_start", "phase_end", "prefill")
    ]
    assert lengths_ns != [45_000_000]
    assert abs(lengths_ns[0] - 45_000_000) <= 2 * LARGEST_SKEW_NS
    assert plain.truth_j > 0


def test_an_outcome_weighs_the_sensor_s_word_with_its_gain_and_the_absolute_one_without():
    found = outcome(Cell("counter-100ms", 400, 20), 0)
    gain = session(Cell("counter-100ms", 400, 20), 0).gain
    assert (1 + found.absolute_error) / (1 + found.error) == pytest.approx(gain)
    assert found.absolute_half_width > found.half_width


def test_a_run_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    first = results.collect([(CELL, 0), (CELL, 1)], path, resume=False, jobs=1)
    with path.open("a") as stream:
        stream.write('{"cell": "cut sh')
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines) + "\n")
    both = results.collect([(CELL, seed) for seed in range(3)], path, resume=True, jobs=1)
    assert both[:2] == first
    assert [each.seed for each in both] == [0, 1, 2]
    with pytest.raises(SystemExit, match="--resume"):
        results.collect([(CELL, 0)], path, resume=False, jobs=1)


def test_outcomes_of_other_code_are_kept_only_where_they_come_out_the_same(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    (kept,) = results.collect([(CELL, 0)], path, resume=False, jobs=1)
    path.write_text(path.read_text().replace(results.fingerprint(), "another day"))
    assert results.collect([(CELL, 0)], path, resume=True, jobs=1) == [kept]
    path.write_text(path.read_text().replace(results.fingerprint(), "another day").replace(f"{kept.error}", "0.25"))
    assert results.collect([(CELL, 0)], path, resume=True, jobs=1) == [kept]


def found(cell, error, half_width, covers, variation=0.0):
    return Outcome(cell.key, 0, variation, error, half_width, covers, error, half_width, covers, True, False, 0.1)


def test_a_goal_that_is_missed_is_called_missed():
    cell = Cell("counter-100ms", 45, 20)
    good = Summary(cell, tuple(found(cell, 0.001, 0.0025, each > 4) for each in range(100)))
    bad = Summary(cell, tuple(found(cell, 0.02, 0.005, each > 40) for each in range(100)))
    assert {met for _, _, met in goals.judged([good])} == {"yes"}
    missed = [words for words, _, met in goals.judged([bad]) if met != "yes"]
    assert len(missed) == 6
    assert any("0.6%" in words for words in missed)
    assert any("half-widths" in words for words in missed)


def test_a_goal_says_how_many_cells_of_few_sessions_would_miss_it_by_chance():
    cell = Cell("counter-100ms", 45, 20)
    few = Summary(cell, tuple(found(cell, 0.001, 0.0025, each > 4) for each in range(20)))
    (said,) = [found for words, found, _ in goals.judged([few, few]) if words.startswith("coverage of the sensor")]
    assert said.endswith("below in 2 of 2, by chance in 0.2")


def test_coverage_where_power_ramps_is_told_beside_the_goal_and_not_judged_by_it():
    plain, ramps = Cell("counter-100ms", 45, 20), Cell("counter-100ms", 45, 20, "ramps-2ms")
    cells = [
        Summary(plain, tuple(found(plain, 0.001, 0.0025, True) for _ in range(20))),
        Summary(ramps, tuple(found(ramps, 0.001, 0.0025, each > 9) for each in range(20))),
    ]
    said = {words: (value, met) for words, value, met in goals.judged(cells)}
    assert next(met for words, (_, met) in said.items() if words.startswith("coverage of the sensor")) == "yes"
    ((value, met),) = [own for words, own in said.items() if words.startswith("beside the goals")]
    assert value.startswith("worst 50.0%")
    assert met == "no goal"


def test_a_row_has_a_number_for_each_column():
    cell = Cell("counter-100ms", 45, 20)
    assert len(Summary(cell, (found(cell, 0.01, 0.02, True),)).row()) == len(HEADER)


def test_the_docs_have_all_sessions_of_the_cells_that_goals_name():
    assert docs_sessions(Cell("counter-100ms", 15, 20), 400) == 400
    assert docs_sessions(Cell("mean-1s", 45, 1), 400) == 400
    assert all(0 <= docs_sessions(cell, 40) <= 40 for cell in all_cells())
    assert chosen(["mean-1s"], [45], [1], ["none"]) == [Cell("mean-1s", 45, 1)]

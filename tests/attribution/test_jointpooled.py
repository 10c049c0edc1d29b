"""Several calls on a counter and a power field of one board: rows of both, and what the field is, in one solution."""

from dataclasses import replace

import numpy as np
import pytest

from tests.attribution.test_jointprofile import (
    FIELD,
    LEFT_OUT,
    MS,
    POWERS_W,
    USED,
    alone,
    hidden,
    played_on,
    stated,
)
from wattvlm.attribution import analyze
from wattvlm.attribution.powerviews import PowerView
from wattvlm.attribution.responses import Boxcar


def interval_of(report, name="prefill"):
    return report.phase(name).energies["gpu"].energy.interval_j


def truth_j(played, name="prefill"):
    calls = played.truth_j["gpu"]
    return sum(call[name] for call in calls) / len(calls)


def calls_on(field, seed=0):
    return played_on(field, seed, calls=6, power_variation_fraction=0.03, dither_ns=130 * MS)


def test_a_field_that_nobody_describes_narrows_what_several_calls_say_and_takes_no_joule_from_the_counter():
    played = calls_on(replace(FIELD, gain=1.02, offset_w=-2.0))
    both, counted = analyze(hidden(played.recording)), analyze(alone(hidden(played.recording)))
    (line,) = [note for note in both.notes if USED in note]
    assert "the mean of 2" in line
    for name in POWERS_W:
        low_j, high_j = interval_of(both, name)
        assert low_j <= truth_j(played, name) <= high_j
    (low_j, high_j), (least_j, most_j) = interval_of(both), interval_of(counted)
    assert high_j - low_j < 0.5 * (most_j - least_j)


@pytest.mark.parametrize("odd", [{"gain": 1.15}, {"noise_w": 40.0}])
def test_a_field_of_another_curve_leaves_the_counters_intervals_as_they_were(odd):
    played = calls_on(replace(FIELD, **odd))
    report, counted = analyze(stated(played.recording)), analyze(alone(stated(played.recording)))
    assert not any(USED in note for note in report.notes)
    assert any(LEFT_OUT in note for note in report.notes) or "noise_w" in odd
    assert interval_of(report) == interval_of(counted)


def test_a_mean_of_a_second_says_nothing_of_one_cluster_of_ticks_and_is_no_news():
    played = calls_on(replace(FIELD, window_ns=1000 * MS))
    report, counted = analyze(stated(played.recording)), analyze(alone(stated(played.recording)))
    assert interval_of(report) == interval_of(counted)


def test_phases_and_what_is_between_add_up_to_the_call_in_each_draw_with_a_field_too():
    report = analyze(stated(calls_on(FIELD).recording))
    rows = [part for part in (*report.phases, report.between, report.total) if part is not None]
    parts = {part.name: part.energies["gpu"].energy.draws_j for part in rows}
    drawn = {name: own for name, own in parts.items() if own is not None}
    assert drawn.keys() == parts.keys()
    whole_j = drawn.pop("call")
    assert np.allclose(np.sum(list(drawn.values()), axis=0), whole_j)


def test_each_reading_of_a_power_stands_for_itself():
    view = PowerView(np.array([[0.1, 0.2, 0.3]]), Boxcar(0.025))
    assert view.counted == 3
    assert not view.bent_s2(np.zeros((1, 2)), np.ones((1, 2))).any()

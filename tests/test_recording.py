"""A Recording: columns of readings, windows of them, and a trace that is always made anew from its marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.recording import Gap, Readings, Recording, SamplerCost
from wattvlm.sensing import Channel
from wattvlm.trace import Mark, Trace

CHANNEL = Channel("cpu-0/package", "RAPL", "Xeon", "cpu", "counter")


def columns(*times_ns: int) -> Readings:
    time_ns = np.array(times_ns, dtype=np.int64)
    return Readings(CHANNEL.name, time_ns, time_ns - 1, np.ones_like(time_ns), time_ns.astype(np.float64))


def test_columns_of_different_lengths_are_refused() -> None:
    short = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="different lengths"):
        Readings("x/y", short, short, short, np.zeros(2))


@given(
    times_ns=st.lists(st.integers(0, 60), unique=True).map(sorted),
    window=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_a_window_has_its_readings_and_one_on_either_side(times_ns: list[int], window: tuple[int, int]) -> None:
    start_ns, end_ns = sorted(window)
    found = columns(*times_ns).between(start_ns, end_ns)
    before = [time_ns for time_ns in times_ns if time_ns <= start_ns][-1:]
    after = [time_ns for time_ns in times_ns if time_ns >= end_ns][:1]
    inside = [time_ns for time_ns in times_ns if start_ns < time_ns < end_ns]
    assert list(found.time_ns) == list(dict.fromkeys([*before, *inside, *after]))
    assert list(found.value) == [float(time_ns) for time_ns in found.time_ns]
    assert found.channel == CHANNEL.name


def test_readings_of_a_channel_that_nobody_described_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown channels"):
        Recording(0, 10, (), {CHANNEL.name: columns(1)})


def test_a_recording_cannot_end_before_it_starts() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        Recording(10, 9)


def test_a_loaded_recording_gives_the_same_trace_again(tmp_path: Path) -> None:
    marks = (
        Mark(0, "block_start", 1, "LLaVA"), Mark(1, "call_start", 1, "transformers", lane=3),
        Mark(2, "phase_start", 1, "prefill", lane=3), Mark(4, "phase_end", 1, "prefill", lane=3),
        Mark(5, "count", 1, "output", value=12.0, text="the length of the result"), Mark(9, "call_end", 1, lane=3),
    )  # fmt: skip
    recording = Recording(
        0, 10, (CHANNEL,), {CHANNEL.name: columns(1, 5)}, (Gap(CHANNEL.name, 2, 3, "late"),), marks=marks
    )
    recording.save(tmp_path / "run.json.gz")
    again = Recording.load(tmp_path / "run.json.gz")
    assert again.trace == recording.trace
    assert again.gaps == recording.gaps
    assert again.readings[CHANNEL.name].time_ns.dtype == np.int64
    assert again.trace.calls[0].tokens.output == 12
    assert Recording(0, 1).trace == Trace()


def test_what_sampling_cost_is_a_share_of_a_core() -> None:
    assert SamplerCost(cpu_ns=15, wall_ns=1000).core_fraction == pytest.approx(0.015)
    assert SamplerCost(cpu_ns=0, wall_ns=0).core_fraction == 0.0

"""The trace: counters of watts, slices of phases inside their calls, and one time base with torch.profiler."""

import json
import time
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from tests.renderers.sample_reports import SAMPLES, hostile, one_unresolved_call, with_curves
from wattvlm.clock import SystemClock, take_anchor
from wattvlm.errors import ReportFormatError
from wattvlm.renderers import render
from wattvlm.report import Report

PHASES = {"X", "M", "C", "i"}


def trace(report: Report, **options: object) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(render(report, "perfetto", **options))
    return loaded


def events(report: Report, kind: str, **options: object) -> list[dict[str, Any]]:
    return [event for event in trace(report, **options)["traceEvents"] if event["ph"] == kind]


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_event_is_what_the_trace_event_format_asks_for(sample: str):
    for event in trace(SAMPLES[sample]())["traceEvents"]:
        assert event["ph"] in PHASES
        assert isinstance(event["pid"], int)
        assert isinstance(event["name"], str)
        if event["ph"] != "M":
            assert isinstance(event["ts"], (int, float))
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert isinstance(event["tid"], int)
        if event["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in event["args"].values())


@pytest.mark.parametrize("sample", SAMPLES)
def test_slices_of_one_row_lie_inside_each_other_or_apart(sample: str):
    rows: dict[int, list[tuple[float, float]]] = {}
    for event in events(SAMPLES[sample](), "X"):
        rows.setdefault(event["tid"], []).append((event["ts"], -event["dur"]))
    for slices in rows.values():
        open_ends: list[float] = []
        for start, length in sorted(slices):
            while open_ends and open_ends[-1] <= start + 1e-3:
                open_ends.pop()
            assert not open_ends or start - length <= open_ends[-1] + 1e-3
            open_ends.append(start - length)


def test_the_counter_of_a_domain_rises_where_a_prefill_begins():
    report = with_curves()
    gpu = [(event["ts"], event["args"]["W"]) for event in events(report, "C") if event["name"] == "GPU W"]
    assert all(one[0] < two[0] for one, two in pairwise(gpu))
    prefill = next(event for event in events(report, "X") if event["name"] == "prefill")
    inside = [watts for ts, watts in gpu if prefill["ts"] - 1e-3 <= ts < prefill["ts"] + prefill["dur"] - 1e-3]
    assert inside == pytest.approx([520.0])
    assert {event["name"] for event in events(report, "C")} == {"GPU W", "CPU W", "RAM W (modelled)"}


def test_slices_carry_tokens_and_joules_and_no_number_that_is_not_known():
    first = next(event for event in events(with_curves(), "X") if event["name"] == "call 1")
    assert first["args"]["output_tokens"] == 96
    assert first["args"]["GPU J"] == pytest.approx(503.5, rel=1e-3)
    assert "RAM J" not in first["args"]
    assert "RAM J (modelled)" in first["args"]
    report = one_unresolved_call()
    phases = tuple(replace(part, spans_ns=((part.calls, 9),)) for part in report.calls[0].phases[1:])
    apart = replace(report, calls=(replace(report.calls[0], phases=phases),))
    prefill = next(event for event in events(apart, "X") if event["name"] == "prefill")
    assert "GPU J" not in prefill["args"]
    assert prefill["args"]["GPU J of vision_encode + prefill"] == pytest.approx(40.6)


def test_calls_that_overlap_stand_in_rows_of_their_own():
    report = with_curves()
    shifted = replace(report.calls[1], start_ns=report.calls[0].start_ns + 5, total=report.calls[0].total)
    both = replace(report, calls=(report.calls[0], shifted))
    assert len({event["tid"] for event in events(both, "X")}) == 2


def test_a_hostile_name_is_a_string_without_control_characters():
    assert "\\u001b" not in str(render(hostile(), "perfetto"))


def test_a_trace_without_a_time_base_and_a_report_without_a_clock_are_refused():
    with pytest.raises(ReportFormatError, match="baseTimeNanoseconds"):
        trace(with_curves(), torch_trace={"traceEvents": []})
    with pytest.raises(ReportFormatError, match="no moment on the wall clock"):
        trace(replace(with_curves(), wall_anchor=None), torch_trace={"traceEvents": [], "baseTimeNanoseconds": 5})


def test_a_merged_trace_keeps_torchs_events_and_lies_on_its_time_base(tmp_path):
    torch = pytest.importorskip("torch", reason="needs wattvlm[torch]")
    stamps: list[int] = []
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        anchor = take_anchor(SystemClock())
        for _ in range(20):
            stamps.append(time.monotonic_ns())
            with torch.profiler.record_function("marked"):
                torch.ones(8).sum()
    profiled.export_chrome_trace(str(tmp_path / "torch.json"))
    exported = json.loads((tmp_path / "torch.json").read_text())
    report = with_curves()
    calls = [replace(report.calls[0], total=replace(report.calls[0].total, spans_ns=((at, at + 9),)), phases=(),
                     label="stamped") for at in stamps]  # fmt: skip
    merged = trace(replace(report, calls=tuple(calls), wall_anchor=anchor), torch_trace=exported)
    assert merged["baseTimeNanoseconds"] == exported["baseTimeNanoseconds"]
    assert merged["traceEvents"][: len(exported["traceEvents"])] == exported["traceEvents"]
    theirs = sorted(event["ts"] for event in exported["traceEvents"] if event["name"] == "marked")
    ours = sorted(event["ts"] for event in merged["traceEvents"] if event["name"] == "stamped")
    assert len(theirs) == len(ours) == 20
    apart_us = median(abs(one - two) for one, two in zip(theirs, ours, strict=True))
    print(f"torch.profiler and wattvlm agree to {apart_us:.0f} microseconds")
    assert apart_us < 1000.0
    own = {event["pid"] for event in merged["traceEvents"] if event.get("cat") == "wattvlm"}
    assert own.isdisjoint(event.get("pid") for event in exported["traceEvents"])

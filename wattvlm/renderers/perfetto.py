"""A trace in Chrome's JSON format, for ui.perfetto.dev and chrome://tracing: watts over the phases of each call.

Times are microseconds after `baseTimeNanoseconds` of the wall clock, as torch.profiler writes them, so that its traces
and these can be laid on each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, cast

from wattvlm.errors import ReportFormatError
from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._text import legible
from wattvlm.report import CallReport, Part, PowerTrack, Report
from wattvlm.trace import COUNTED, TokenCounts
from wattvlm.units import NS_PER_US

FORMAT = "perfetto"
FILE_EXTENSION = ".trace.json"
IS_BINARY = False

Event = dict[str, Any]
Span = tuple[int, int]


def render(report: Report, torch_trace: Mapping[str, Any] | None = None) -> str:
    """The trace as one JSON object.

    torch_trace: what torch.profiler's export_chrome_trace wrote, as json.load gives it; its events come first and ours
    are moved onto its time base. ReportFormatError where it is none, or where the report has no wall clock.
    """
    if torch_trace is None:
        return json.dumps({"displayTimeUnit": "ms", **_whole(report, _base_ns(report), ())}, allow_nan=False)
    events: Any = torch_trace.get("traceEvents")
    base_ns = torch_trace.get("baseTimeNanoseconds")
    if not isinstance(events, list) or type(base_ns) is not int:
        raise ReportFormatError(
            "the trace to merge has no traceEvents with a baseTimeNanoseconds, so its times are unknown; nothing was "
            "merged. Cure: a trace that torch.profiler's export_chrome_trace wrote (torch 2.4 or newer)"
        )
    if report.wall_anchor is None:
        raise ReportFormatError(
            "this report has no moment on the wall clock, so it cannot be laid on another trace; nothing was merged. "
            "Cure: meter again with this wattvlm, or make the report of its recording again"
        )
    ours = _whole(report, base_ns, cast("list[object]", events))
    return json.dumps({**torch_trace, **ours}, allow_nan=False)


def _whole(report: Report, base_ns: int, others: Sequence[object]) -> Event:
    taken = {cast("Event", each).get("pid") for each in others if isinstance(each, dict)}
    free = (number for number in count(1) if number not in taken)
    power, calls = next(free), next(free)
    shift_ns = base_ns - _wall_shift_ns(report)
    ours = [*_power_events(report, power, shift_ns), *_call_events(report, calls, shift_ns)]
    return {"baseTimeNanoseconds": base_ns, "traceEvents": [*others, *ours]}


def _base_ns(report: Report) -> int:
    """The block's start on the wall clock, or on the monotonic one where no more is known."""
    spans_ns = report.block.spans_ns
    first_ns = spans_ns[0][0] if spans_ns else min((call.start_ns for call in report.calls), default=0)
    return first_ns + _wall_shift_ns(report)


def _wall_shift_ns(report: Report) -> int:
    anchor = report.wall_anchor
    return 0 if anchor is None else anchor.wall_ns - anchor.monotonic_ns


def _us(time_ns: int, shift_ns: int) -> float:
    return (int(time_ns) - shift_ns) / NS_PER_US


def _named(pid: int, name: str, order: int) -> list[Event]:
    return [
        {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}},
        {"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": order}},
    ]


def _power_events(report: Report, pid: int, shift_ns: int) -> Iterator[Event]:
    """A counter a domain, and the ticks of its sensors as marks; nothing of domains whose power is not known."""
    if report.power:
        yield from _named(pid, "wattvlm VIRTUAL power" if report.virtual else "wattvlm power", -2)
    for tid, track in enumerate(report.power, start=1):
        name = f"{DOMAIN_TITLES[track.domain]} W{' (modelled)' if track.modelled else ''}"
        for edge_ns, power_w in _points(track):
            yield {"ph": "C", "pid": pid, "name": name, "ts": _us(edge_ns, shift_ns), "args": {"W": power_w}}
        if len(track.tick_ns):
            named = {"name": f"{DOMAIN_TITLES[track.domain]} ticks"}
            yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": named}
        for tick_ns in track.tick_ns:
            yield {"ph": "i", "s": "t", "pid": pid, "tid": tid, "name": "tick", "ts": _us(tick_ns, shift_ns)}


def _points(track: PowerTrack) -> Iterator[tuple[int, float]]:
    """The start of each step with its watts, and the last step's watts again where it ends."""
    powers = [*track.power_w, track.power_w[-1]]
    for edge_ns, power_w in zip(track.edge_ns, powers, strict=True):
        yield int(edge_ns), float(power_w)


def _call_events(report: Report, pid: int, shift_ns: int) -> Iterator[Event]:
    """A slice a call with its phases inside, in as many rows as calls overlapped; then the user's own phases."""
    yield from _named(pid, f"wattvlm {legible(report.label or report.model.name)}".strip(), -1)
    rows = _Rows("calls")
    for call in sorted(report.calls, key=lambda call: _spans(call)[0]):
        tid = rows.place(_spans(call))
        name = legible(call.label) or f"call {call.call_id}"
        yield from _slices(name, _spans(call), _call_facts(call), pid, tid, shift_ns)
        for part in call.phases:
            yield from _slices(legible(part.name), part.spans_ns, _joules(part), pid, tid, shift_ns)
    own = _Rows("your phases", first=len(rows.ends_ns) + 1)
    for span_ns, name in sorted((span_ns, part.name) for part in report.own_phases for span_ns in part.spans_ns):
        yield from _slices(legible(name), (span_ns,), {}, pid, own.place((span_ns,)), shift_ns)
    for each in (rows, own):
        yield from each.names(pid)


class _Rows:
    """Rows of slices: what overlaps stands in rows of its own, since slices of one row must lie inside each other."""

    def __init__(self, name: str, first: int = 1) -> None:
        self.ends_ns: list[int] = []
        self._name = name
        self._first = first

    def place(self, spans_ns: Sequence[Span]) -> int:
        """The thread id of the first row that is free; spans are to come in order of their start."""
        start_ns, end_ns = spans_ns[0][0], max(end_ns for _, end_ns in spans_ns)
        free = (row for row, taken_ns in enumerate(self.ends_ns) if taken_ns <= start_ns)
        row = next(free, len(self.ends_ns))
        self.ends_ns[row : row + 1] = [end_ns]
        return self._first + row

    def names(self, pid: int) -> Iterator[Event]:
        for row in range(len(self.ends_ns)):
            name = self._name if not row else f"{self._name} {row + 1}"
            yield {"ph": "M", "pid": pid, "tid": self._first + row, "name": "thread_name", "args": {"name": name}}


def _spans(call: CallReport) -> Sequence[Span]:
    """When a call was; reports of before its spans were kept know its start and its time only."""
    return call.total.spans_ns or ((call.start_ns, call.start_ns + call.duration_ns),)


def _slices(
    name: str, spans_ns: Iterable[Span], facts: Mapping[str, Any], pid: int, tid: int, shift_ns: int
) -> Iterator[Event]:
    for start_ns, end_ns in spans_ns:
        yield {
            "ph": "X", "cat": "wattvlm", "name": name, "pid": pid, "tid": tid, "ts": _us(start_ns, shift_ns),
            "dur": (end_ns - start_ns) / NS_PER_US, "args": dict(facts),
        }  # fmt: skip


def _call_facts(call: CallReport) -> dict[str, Any]:
    counts = {"batch_size": call.batch_size, "images": call.images, "decode_steps": call.decode_steps}
    known = {name: value for name, value in {**counts, **_tokens(call.tokens)}.items() if value is not None}
    return {**known, "ended": legible(call.ended), **_joules(call.total)}


def _tokens(tokens: TokenCounts) -> dict[str, int | None]:
    return {f"{name}_tokens": getattr(tokens, name) for name in COUNTED}


def _joules(part: Part) -> dict[str, Any]:
    """Joules by domain with what bounds them; where only a sum is known, the sum under the names of its phases."""
    facts: dict[str, Any] = {}
    for domain, found in part.energies.items():
        title = f"{DOMAIN_TITLES[domain]} J{' (modelled)' if found.energy.is_modelled else ''}"
        low_j, high_j = found.energy.interval_j if found.stands_alone else found.bounds_j
        if found.stands_alone:
            facts[title] = found.energy.middle_j
        elif len(found.covers) > 1:
            facts[f"{title} of {' + '.join(map(legible, found.covers))}"] = found.energy.middle_j
        facts |= {f"{title}, least": low_j, f"{title}, most": high_j}
    return facts

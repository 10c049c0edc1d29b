"""`sweep`: reports of one model and input at several power limits or clocks, as one table with the best of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from wattvlm.comparison import Expected
from wattvlm.errors import NotComparable, NotResolved
from wattvlm.report import Report
from wattvlm.studies.choosing import between, candidates_of, knees_of, meets
from wattvlm.studies.comparable import identity_of, obstacles_between
from wattvlm.studies.compare import TIMES, notes_on_counts, refuse, seconds
from wattvlm.studies.expected import expected_of, expected_part, expected_ratio
from wattvlm.sweep import PhaseAt, Point, Setting, Sweep
from wattvlm.trace import MODEL_PHASES
from wattvlm.units import NS_PER_S

CALL = "call"


def sweep(
    reports: Sequence[Report], *, label: str = "", ttft_under_s: float | None = None, tpot_under_s: float | None = None
) -> Sweep:
    """What power limits or locked clocks did: joules and times a phase at each, the knees, and the best setting.

    The settings are those that the reports' own facts tell. The best one has the least joules a request of those whose
    mean TTFT and TPOT surely are under the bounds; its interval are all settings that may have less, with 95 % for all
    together. ValueError where there are not two settings, or one of them twice; NotComparable where the reports differ
    in more than their setting.
    """
    settings = _settings(reports)
    first, *others = (replace(identity_of(report), power_limits=()) for report in reports)
    found = tuple(dict.fromkeys(each for other in others for each in obstacles_between(first, other)))
    refuse(found, ())
    points = [_point(setting, report) for setting, report in zip(settings, reports)]
    ordered = tuple(sorted((_judged(each, ttft_under_s, tpot_under_s) for each in points), key=_order))
    noun = Sweep(label or reports[0].label, first, ordered, ttft_under_s, tpot_under_s, notes=notes_on_counts(reports))
    is_one_axis = len({each.power_limit_w for each in settings}) == 1 or len({e.core_clock_hz for e in settings}) == 1
    if is_one_axis:
        noun = replace(noun, knees=knees_of(ordered))
    if noun.is_modelled or first.provenance == "absent":
        return noun
    best, candidates = candidates_of(ordered)
    ends = between(ordered, candidates) if is_one_axis and best is not None else (None, None)
    return replace(noun, best=best, candidates=candidates, between=ends)


def _settings(reports: Sequence[Report]) -> list[Setting]:
    """The setting of each report, without an axis that is the same in all."""
    found = [setting_of(report) for report in reports]
    if len(set(found)) < len(found):
        raise ValueError("two reports are of one power limit and clock: a sweep takes one of each")
    if len(found) < 2:
        raise ValueError("one setting alone is no sweep. Cure: reports at two power limits or clocks, and more")
    limits, clocks = {each.power_limit_w for each in found}, {each.core_clock_hz for each in found}
    if len(limits) == 1:
        return [replace(each, power_limit_w=None) for each in found]
    return [replace(each, core_clock_hz=None) for each in found] if len(clocks) == 1 else found


def setting_of(report: Report) -> Setting:
    """The power limit and the locked clock of the report's GPUs; NotComparable where they have several."""
    boards = {
        use.channel.board
        for use in report.channels
        if use.in_totals and use.channel.domain == report.accelerator
    }  # fmt: skip
    found: list[float | None] = []
    for fact in ("limit_w", "locked_clock_hz"):
        values = {report.host.facts.get(f"{board} {fact}") for board in boards}
        if len(values) > 1:
            words = " and ".join(sorted(value or "not known" for value in values))
            raise NotComparable(f"the GPUs of one report have several settings ({fact}: {words})", ("power_limit",))
        value = values.pop() if values else None
        found.append(None if value is None else float(value))
    return Setting(*found)


def _order(point: Point) -> tuple[float, float]:
    highest = float("inf")
    return point.setting.power_limit_w or highest, point.setting.core_clock_hz or highest


def _point(setting: Setting, report: Report) -> Point:
    metrics: dict[str, Expected] = {}
    request = _known(lambda: expected_ratio(report, "request"))
    if request is not None:
        metrics["joules_per_request"] = request
    times = ((metric, expected_of(seconds(report, name))) for metric, name in TIMES.items())
    metrics |= {metric: each for metric, each in times if each is not None}
    return Point(setting, len(report.calls), tuple(_phases(report)), metrics)


def _phases(report: Report) -> Iterator[PhaseAt]:
    for part in report.phases:
        if part.name in MODEL_PHASES and not part.unseen:
            yield PhaseAt(part.name, _joules(report, part.name), expected_of(_seconds_of(report, part.name)))
    yield PhaseAt(CALL, _joules(report, CALL), expected_of(seconds(report, "duration_ns")))


def _seconds_of(report: Report, phase: str) -> list[float]:
    durations = (part.duration_ns for call in report.calls for part in call.phases if part.name == phase)
    return [duration_ns / NS_PER_S for duration_ns in durations if duration_ns is not None]


def _joules(report: Report, part: str) -> Expected | None:
    return _known(lambda: expected_part(report, part))


def _known(ask: Callable[[], Expected]) -> Expected | None:
    try:
        return ask()
    except NotResolved:
        return None


def _judged(point: Point, ttft_under_s: float | None, tpot_under_s: float | None) -> Point:
    bounds = ("ttft_s", ttft_under_s), ("tpot_s", tpot_under_s)
    said = {meets(point.metrics.get(metric), under) for metric, under in bounds if under is not None}
    if "no" in said:
        return replace(point, meets="no")
    return replace(point, meets="cannot tell") if "cannot tell" in said else point

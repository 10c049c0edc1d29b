"""Bounds on the parts of fewer calls than are pooled that even powers inside phases allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.calls import CallWindows
from wattvlm.attribution.counter import HOST_DOMAINS, LARGEST_SKEW_ON_HOST_S, CounterCurve
from wattvlm.attribution.countprofile import CountProblem, CountProfile
from wattvlm.attribution.countrows import count_rows
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.evenpowers import Columns, columns_of, seconds_in
from wattvlm.attribution.jointprofile import Joint, JointProblem
from wattvlm.attribution.joules import PartJoules, gain_error_j
from wattvlm.attribution.pooled import DOMAIN_WORDS, FEWEST_CALLS, has_ticks
from wattvlm.attribution.pooledpower import responses_of, usable_updates
from wattvlm.attribution.power import PowerCurve
from wattvlm.attribution.profile import Profile, ProfileProblem
from wattvlm.attribution.ticks import STALENESS_PERIODS, Floats, is_free_running
from wattvlm.attribution.timeline import Timeline, timeline_of
from wattvlm.attribution.updates import Updates, is_rare
from wattvlm.attribution.windows import Stretches
from wattvlm.recording import Recording
from wattvlm.sensing import Channel
from wattvlm.units import NS_PER_MS, S_PER_NS, format_ns

FEWEST_ROWS = 8
"""With fewer updates than this nothing is tried; how many more than unknowns are needed is another matter."""

NEAR_S, MOST_FAR = 1.5, 300
"""Updates within this of a boundary are all used, and so many of the others."""

COUNTED_STD_S, COUNTED_ON_HOST_STD_S = 0.0022, 0.0005
"""Beside a counter of a device, each boundary is taken to be off by this on its own (one sigma; up to 3 ms, any of them
alike, are 1.7 ms, and marks that are kept in order are off together), and by the other beside one of the host, whose
work and marks are on one clock."""

COUNTED_LAG_S = 0.005
"""And all marks together by this, to either side; those of the host by what old values may be late."""

MOST_UNKNOWNS = 100
"""Calls in pieces with more powers, drifts and boundaries than these keep bounds for any curve, which take no time."""

MOST_SLACK_NS = NS_PER_MS
"""Where a boundary is said to be off by more on its own, readings do not tell whose joules are beside it."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A power field beside a counter, and what both say together. known: how its response is."""

    name: str
    joint: Joint
    known: str

    def words(self, counter: str) -> str:
        """Whether it was used, for a report."""
        best = self.joint.best
        if self.joint.profile is None:
            return (
                f"{self.name} {self.joint.why} and is left out: bounds are those of {counter} alone. "
                "Cure: `wattvlm calibrate` finds what it is"
            )
        gain, offset_w = best.differs
        return (
            f"{self.name} sees the same powers and narrows them: it shows {100 * gain:+.1f} % and {offset_w:+.1f} W "
            f"beside {counter}, whose joules these are, and is taken for {best.response.words} ({self.known}), stamped "
            f"{format_ns(best.field_lag_s / S_PER_NS)} late"
        )


@dataclass(frozen=True, slots=True)
class _Fitted:
    """One sensor: all solutions that fit its readings, and those of the fields beside it.

    alone: of a counter, those that fit it where profile has those that fit a field too.
    """

    curve: PowerCurve | CounterCurve
    columns: Columns
    profile: Profile | CountProfile
    alone: CountProfile | None = None
    fields: tuple[_Field, ...] = ()

    def ends(self, seconds: Floats) -> tuple[float, float]:
        """The least and the most joules within seconds of each segment: what a field adds widens nothing."""
        least_j, most_j = self.profile.ends(seconds)
        if self.alone is not None:
            low_j, high_j = self.alone.ends(seconds)
            middle_j = self.profile.middle_j(seconds)
            least_j, most_j = min(max(least_j, low_j), middle_j), max(min(most_j, high_j), middle_j)
        return least_j, most_j

    @property
    def words(self) -> str:
        """What was taken of it, for a report."""
        return "; ".join([self._own_words, *(field.words(self.curve.channel.name) for field in self.fields)])

    @property
    def _own_words(self) -> str:
        channel = self.curve.channel
        lags = " to ".join(dict.fromkeys(format_ns(lag_s / S_PER_NS) for lag_s in self.profile.lags_s))
        if isinstance(self.profile, CountProfile):
            return f"the marks are off against {channel.name} by {lags}"
        known = "known" if channel.window_ns is not None else "found from the readings"
        words = " or ".join(dict.fromkeys(response.words for response in self.profile.responses))
        return f"{channel.name} is taken for {words} ({known}), stamped {lags} late"


@dataclass(frozen=True, slots=True)
class FewCalls:
    """The sensors of a domain, each with all solutions that fit. line: the method, in words."""

    fitted: tuple[_Fitted, ...]
    line: str

    def narrowed(self, joules: PartJoules, number: int, windows: Sequence[Stretches], divisor: float) -> PartJoules:
        """One part with the joules of windows over a divisor, where even powers narrow what readings alone allow."""
        middle_j = low_j = high_j = 0.0
        gains_j = {board: np.zeros(1) for board in joules.gains_j}
        for each in self.fitted:
            seconds = seconds_in(each.columns, list(_flat(windows)), each.curve.origin_ns) / divisor
            least_j, most_j = each.ends(seconds)
            own_j = each.profile.middle_j(seconds)
            middle_j, low_j, high_j = middle_j + own_j, low_j + least_j, high_j + most_j
            gain_j = gain_error_j(each.curve.channel, np.array([own_j]), np.array([float(np.sum(seconds))]))
            gains_j[each.curve.channel.board] = gains_j[each.curve.channel.board] + gain_j
        instead = any(isinstance(each.profile, CountProfile) for each in self.fitted)
        return joules.narrowed(number, middle_j, (low_j, high_j), gains_j, instead)


def few_calls(
    found: DomainCurves, calls: Sequence[CallWindows], between: str, block: Stretches, recording: Recording
) -> FewCalls | None:
    """All solutions for a domain and one call to four; None where bounds for any curve are all."""
    curves = [curve for curve in found.curves if isinstance(curve, PowerCurve | CounterCurve)]
    if len(curves) < len(found.curves) or found.method != "measured" or not 0 < len(calls) < FEWEST_CALLS:
        return None
    parts = [{**call.phases, between: call.between} for call in calls]
    if any(not _is_sure(windows) for call in parts for windows in call.values()):
        return None
    span_ns = recording.start_ns, recording.end_ns
    timeline = timeline_of(parts, block, *span_ns, between)
    apart = timeline_of(parts, block, *span_ns, between, is_few=True)
    if timeline is None or apart is None:
        return None
    fitted: list[_Fitted] = []
    for curve in curves:
        own = _fitted(curve, timeline if isinstance(curve, PowerCurve) else apart, between, recording)
        if own is None:
            return None
        beside = [field for field in found.beside if field.channel.contained_in == curve.channel.name]
        fitted.append(_joined(own, beside, apart, recording))
    return FewCalls(tuple(fitted), _line(found, fitted))


def _fitted(curve: PowerCurve | CounterCurve, timeline: Timeline, between: str, recording: Recording) -> _Fitted | None:
    """None where there is too little of a sensor, or no even powers fit; bounds hold all the same."""
    try:
        if isinstance(curve, PowerCurve):
            return _read(curve, timeline, between, recording)
        return _counted(curve, timeline, between, recording)
    except np.linalg.LinAlgError:  # readings so odd that no noise describes them
        return None


def _joined(own: _Fitted, beside: Sequence[PowerCurve], timeline: Timeline, recording: Recording) -> _Fitted:
    """A counter's solutions with the first of the power fields beside it that shows the same powers.

    Fields that show other ones are told of; those that were read too rarely are no news.
    """
    counted, told = own.profile, own
    if not isinstance(counted, CountProfile) or not isinstance(counted.problem, CountProblem):
        return own
    for curve in beside:
        joint = _joint(curve, counted, counted.problem, timeline, recording)
        if joint is None:
            continue
        known = "known" if curve.channel.window_ns is not None else "found from the readings"
        told = replace(told, fields=(*told.fields, _Field(curve.channel.name, joint, known)))
        if joint.profile is not None:
            return replace(told, profile=joint.profile, alone=counted)
    return told


def _joint(
    curve: PowerCurve, counted: CountProfile, problem: CountProblem, timeline: Timeline, recording: Recording
) -> Joint | None:
    """What a field and a counter say together; None where the field was read too rarely."""
    updates = usable_updates(curve, timeline, recording.readings[curve.channel.name], FEWEST_ROWS)
    if updates is None or is_rare(updates):
        return None
    is_known, resolution_w = curve.channel.window_ns is not None, curve.channel.resolution_w or 0.0
    try:
        joint = JointProblem(problem, _thinned(updates, problem.columns), resolution_w, is_known)
        return joint.solved(counted, responses_of(curve))
    except np.linalg.LinAlgError:  # readings so odd that no noise describes them
        return None


def _read(curve: PowerCurve, timeline: Timeline, between: str, recording: Recording) -> _Fitted | None:
    updates = usable_updates(curve, timeline, recording.readings[curve.channel.name], FEWEST_ROWS)
    if updates is None:
        return None
    columns = columns_of(timeline, between, curve.limit_w, curve.origin_ns)
    is_known = curve.channel.window_ns is not None
    updates = _thinned(updates, columns)
    problem = ProfileProblem(columns, updates, curve.channel.resolution_w or 0.0, is_known)
    profile = problem.solved(responses_of(curve))
    return None if profile is None else _Fitted(curve, columns, profile)


def _counted(curve: CounterCurve, timeline: Timeline, between: str, recording: Recording) -> _Fitted | None:
    """The same for a counter of exact joules whose ticks are seen, or that ticks faster than it is read."""
    if curve.limit_w is None or not has_ticks(curve):
        return None
    is_host = curve.channel.domain in HOST_DOMAINS
    columns = columns_of(
        timeline, between, curve.limit_w, curve.origin_ns, COUNTED_ON_HOST_STD_S if is_host else COUNTED_STD_S
    )
    if len(columns.low_w) + len(columns.boundary_std_s) > MOST_UNKNOWNS:
        return None
    lags_s = _lags_of(curve.channel)
    rows = count_rows(curve, timeline, columns, recording, max(-lags_s[0], lags_s[1]))
    if rows is None:
        return None
    problem = CountProblem(columns, rows, curve.channel.resolution_j or 0.0, curve.limit_w, lags_s)
    profile = problem.solved()
    return None if profile is None else _Fitted(curve, columns, profile)


def _lags_of(channel: Channel) -> tuple[float, float]:
    """From and to which a counter's ticks may all be late: a host's are on the marks' clock, and may be old values."""
    if channel.domain not in HOST_DOMAINS:
        return -COUNTED_LAG_S, COUNTED_LAG_S
    period_s = (channel.update_period_ns or 0) * S_PER_NS if is_free_running(channel) else 0.0
    return -LARGEST_SKEW_ON_HOST_S, LARGEST_SKEW_ON_HOST_S + STALENESS_PERIODS * period_s


def _thinned(updates: Updates, columns: Columns) -> Updates:
    """The updates near boundaries, and so many of the others: of a long phase, more of these tell no more."""
    at_s = np.sort(np.concatenate([columns.start_s[1:], columns.end_s[:-1]]))
    place = np.minimum(np.maximum(np.searchsorted(at_s, updates.time_s), 1), len(at_s) - 1)
    away_s = np.minimum(np.abs(updates.time_s - at_s[place - 1]), np.abs(updates.time_s - at_s[place]))
    far = np.flatnonzero(away_s > NEAR_S)
    if len(far) <= MOST_FAR:
        return updates
    kept = away_s <= NEAR_S
    kept[far[np.linspace(0, len(far) - 1, MOST_FAR).astype(np.int64)]] = True
    return replace(updates, time_s=updates.time_s[kept], std_s=updates.std_s[kept], value=updates.value[kept])


def _is_sure(windows: Stretches) -> bool:
    return all(
        window.share == 1.0 and max(window.start_slack_ns, window.end_slack_ns) <= MOST_SLACK_NS for window in windows
    )


def _flat(windows: Sequence[Stretches]) -> Iterator[tuple[int, int]]:
    for own in windows:
        yield from ((window.start_ns, window.end_ns) for window in own)


def _line(found: DomainCurves, fitted: Sequence[_Fitted]) -> str:
    words = DOMAIN_WORDS.get(found.domain, found.domain)
    return "; ".join([
        f"{words} phases: bounds hold for one power inside each phase (a long one may drift), and for any such powers "
        "up to the largest that fit the readings at 95 %; power that swings inside a phase can lie outside of them. "
        "Cure: five calls and more are pooled",
        *(each.words for each in fitted),
    ])  # fmt: skip


def windows_of(calls: Sequence[CallWindows], names: Sequence[str], whole: str, between: str) -> list[Stretches]:
    """The windows of parts in calls, where a call has them; the whole of a call and what is between have names too."""
    found: list[Stretches] = []
    for call in calls:
        own: Mapping[str, Stretches] = {**call.phases, whole: call.whole, between: call.between}
        found += [own[name] for name in names if name in own]
    return found

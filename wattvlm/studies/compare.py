"""`compare`: two reports, metric by metric, each difference with its interval and a verdict.

Runs are independent: the half-widths of both, as fractions, add in quadrature. Bounds do not add so; where one side is
bounds, the difference has bounds. The gain of a board is common to both runs on it and cancels; of two boards, both
gains are in the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from math import exp, isfinite, log, sqrt

from wattvlm.comparison import Comparison, Difference, Expected, Kind, Obstacle, Verdict
from wattvlm.errors import NotComparable, NotResolved
from wattvlm.report import Report
from wattvlm.studies.comparable import identity_of, obstacles
from wattvlm.studies.expected import expected_of, expected_part, expected_ratio
from wattvlm.units import NS_PER_S

RATIOS = (
    "request", "image", "visual_token", "prompt_token", "output_token", "answer_token", "reasoning_token",
    "decode_token", "total_token",
)  # fmt: skip
OF_REASONING = ("answer_token", "reasoning_token")
"""Compared only where a run has reasoning tokens: without them an answer token is an output token."""

COUNTS = ("visual_encoded", "visual_input", "visual_kept", "text_input", "audio_input", "cached_input", "output",
          "reasoning_output")  # fmt: skip
TIMES = {"ttft_s": "ttft_ns", "tpot_s": "tpot_ns", "latency_s": "duration_ns"}
"""Metrics of time by their one name, and the field of a call that has it."""

OVERALL_PARTS = ("call", "between phases")
MODELLED = "the joules are a model's, whose own error is not known"


def compare(before: Report, after: Report, *, allow: Collection[str] = ()) -> Comparison:
    """How a run differs from an earlier one: each metric with its change, the 95 % interval of it, and a verdict.

    allow: kinds of obstacles to pass over ("device", "driver", "power_limit", "virtual"). NotComparable where there
    are others. Measured and modelled joules are never compared: where these differ, only times and counts are.
    """
    found = obstacles(before, after)
    refuse(found, allow)
    has_joules = all(each.kind != "provenance" for each in found)
    differences = [
        *(_energies(before, after) if has_joules else ()), *_times(before, after), *_counts(before, after)
    ]  # fmt: skip
    names = before.label or "before", after.label or "after"
    identities = identity_of(before), identity_of(after)
    calls = len(before.calls), len(after.calls)
    return Comparison(*names, tuple(differences), found, notes_on_counts((before, after)), identities, calls)


def refuse(found: Sequence[Obstacle], allow: Collection[str]) -> None:
    """NotComparable where an obstacle was found that is not allowed."""
    refused = [each for each in found if each.kind not in allow]
    if refused:
        words = "; ".join(f"{each.what}: {each.effect}. Cure: {each.remedy}" for each in refused)
        raise NotComparable(words, tuple(each.kind for each in refused))


def _energies(before: Report, after: Report) -> list[Difference]:
    found = [
        _of_energy(
            "decode_joules_per_token" if what == "decode_token" else f"joules_per_{what}",
            before, after, partial(expected_ratio, what=what),
        )
        for what in RATIOS
        if what not in OF_REASONING or before.tokens.reasoning_output or after.tokens.reasoning_output
    ]  # fmt: skip
    names = dict.fromkeys(part.name for report in (before, after) for part in report.phases if not part.unseen)
    for name in (*names, *(OVERALL_PARTS if before.total is not None and after.total is not None else ())):
        metric = f"{name.replace(' ', '_')}_joules"
        found.append(_of_energy(metric, before, after, partial(expected_part, part=name)))
    return [each for each in found if each.before is not None or each.after is not None or each.why]


def _of_energy(metric: str, before: Report, after: Report, of: Callable[[Report], Expected]) -> Difference:
    sides: list[Expected | None] = []
    reasons: list[str] = []
    for words, report in (("before", before), ("after", after)):
        try:
            sides.append(of(report))
        except (NotResolved, KeyError) as error:
            sides.append(None)
            reasons.append(f"{words}: {error.args[0]}")
    found = difference(metric, "energy", "J", sides[0], sides[1], why="; ".join(reasons))
    domain = before.accelerator
    if found.interval_fraction is None or domain is None or not before.is_modelled(domain):
        return found
    return replace(found, interval_fraction=None, verdict="cannot tell", why=MODELLED)


def _times(before: Report, after: Report) -> list[Difference]:
    """Times of calls; less is better, and more tokens a second are."""

    found = [
        difference(metric, "time", "s", expected_of(seconds(before, name)), expected_of(seconds(after, name)))
        for metric, name in TIMES.items()
    ]
    rates = [[rate for call in report.calls if (rate := call.output_tokens_per_s) is not None]
             for report in (before, after)]  # fmt: skip
    found.append(difference("output_tokens_per_s", "rate", "1/s", expected_of(rates[0]), expected_of(rates[1])))
    return [each for each in found if each.before is not None or each.after is not None]


def seconds(report: Report, name: str) -> list[float]:
    """A time of each call that has it, in seconds."""
    values = [getattr(call, name) for call in report.calls]
    return [float(value) / NS_PER_S for value in values if value is not None]


def _counts(before: Report, after: Report) -> list[Difference]:
    """Counts a call: exact, so that any change is one."""
    found: list[Difference] = []
    for name in COUNTS:
        found.append(difference(f"{name}_tokens", "count", "", _tokens(before, name), _tokens(after, name)))
    found.append(difference("decode_steps", "count", "", _decode_steps(before), _decode_steps(after)))
    return [each for each in found if each.before is not None or each.after is not None]


def _tokens(report: Report, name: str) -> Expected | None:
    return _count(getattr(report.tokens, name), len(report.calls))


def _decode_steps(report: Report) -> Expected | None:
    steps = [call.decode_steps for call in report.calls]
    return _count(None if None in steps else sum(step or 0 for step in steps), len(steps))


def _count(total: int | None, calls: int) -> Expected | None:
    if total is None or not calls:
        return None
    return Expected(total / calls, total / calls, total / calls)


def difference(
    metric: str, kind: Kind, unit: str, before: Expected | None, after: Expected | None, why: str = ""
) -> Difference:
    """The difference of one metric with its verdict."""
    if before is None or after is None:
        missing = why or f"{'before' if before is None else 'after'}: not known"
        return Difference(metric, kind, unit, before, after, None, None, "cannot tell", missing)
    change = None if before.value == 0 else after.value / before.value - 1.0
    if kind == "count":
        verdict: Verdict = "same" if before.value == after.value else "changed"
        return Difference(metric, kind, unit, before, after, change, None, verdict)
    interval = change_interval(before, after)
    if interval is None or change is None:
        known = all(isfinite(end) for each in (before, after) for end in (each.low, each.high))
        reason = "an interval reaches zero" if known else "one call says nothing of how the next differs"
        return Difference(metric, kind, unit, before, after, change, None, "cannot tell", reason)
    lower_is_better = kind != "rate"
    verdict = "cannot tell"
    if interval[0] > 0.0:
        verdict = "worse" if lower_is_better else "better"
    elif interval[1] < 0.0:
        verdict = "better" if lower_is_better else "worse"
    return Difference(metric, kind, unit, before, after, change, interval, verdict)


def change_interval(before: Expected, after: Expected) -> tuple[float, float] | None:
    """The 95 % interval of after / before - 1, the gains included; None where an end is not positive and finite."""
    ends = before.low, before.high, after.low, after.high
    if not all(isfinite(end) and end > 0.0 for end in (*ends, before.value, after.value)):
        return None
    gain = gain_fraction(before, after)
    if before.is_bounds or after.is_bounds:
        return (after.low / before.high) / (1.0 + gain) - 1.0, (after.high / before.low) * (1.0 + gain) - 1.0
    middle = log(after.value / before.value)
    up = sqrt(log(after.high / after.value) ** 2 + log(before.value / before.low) ** 2 + log(1.0 + gain) ** 2)
    down = sqrt(log(after.value / after.low) ** 2 + log(before.high / before.value) ** 2 + log(1.0 + gain) ** 2)
    return exp(middle - down) - 1.0, exp(middle + up) - 1.0


def gain_fraction(before: Expected, after: Expected) -> float:
    """What the gains of boards leave: one board's error is common to both runs and cancels as far as it is equal."""
    earlier, later = dict(before.gain_fractions), dict(after.gain_fractions)
    boards = dict.fromkeys([*earlier, *later])
    return sqrt(sum((later.get(board, 0.0) - earlier.get(board, 0.0)) ** 2 for board in boards))


def notes_on_counts(reports: Sequence[Report]) -> tuple[str, ...]:
    """What a reader may take wrongly where runs differ in their counts a request."""
    notes: list[str] = []
    visual, output = (_different(reports, name) for name in ("visual_input", "output"))
    if visual:
        notes.append(
            f"the runs have {visual} visual tokens a request: judge by joules_per_image and joules_per_request; "
            "joules_per_visual_token rises when tokens are taken away"
        )
    if output:
        notes.append(
            f"the runs have {output} output tokens a request: joules_per_request differs by that alone. Cure: force "
            "equal lengths (min_new_tokens = max_new_tokens)"
        )
    return tuple(notes)


def _different(reports: Sequence[Report], name: str) -> str:
    """'576 and 144': a count a request of each run, where all are known and not all are equal; else ""."""
    counts = [per_request(report, name) for report in reports]
    values = list(dict.fromkeys(f"{count:g}" for count in counts if count))
    return " and ".join(values) if all(counts) and len(values) > 1 else ""


def per_request(report: Report, name: str) -> float | None:
    """Tokens of one kind a request; None where they are not known."""
    count: int | None = getattr(report.tokens, name)
    return None if count is None or not report.requests else count / report.requests

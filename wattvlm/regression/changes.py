"""A test held against its baseline: what changed, whether that is over a threshold, and what may not be compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wattvlm.comparison import Difference, Expected, Obstacle
from wattvlm.regression.bounds import NO_SENSOR, Check, kind_of, one_name, unchecked, unknown_metric
from wattvlm.regression.summary import Metric, Summary
from wattvlm.studies.comparable import obstacles_between
from wattvlm.studies.compare import difference

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


@dataclass(frozen=True, slots=True)
class Threshold:
    """How far a metric may get worse: as a fraction of the baseline, or as an amount of its own unit."""

    metric: str
    amount: float
    is_fraction: bool

    def fraction_of(self, before: Expected) -> float:
        """The allowed change as a fraction of the baseline's value."""
        return self.amount if self.is_fraction else self.amount / abs(before.value) if before.value else self.amount

    def __str__(self) -> str:
        return f"{self.amount * 100:g} %" if self.is_fraction else f"{self.amount:g}"


def thresholds_of(text: str) -> tuple[Threshold, ...]:
    """Those of "joules_per_output_token:5%,visual_input:0"; ValueError for anything else."""
    found: list[Threshold] = []
    for entry in text.split(","):
        name, _, amount = entry.strip().partition(":")
        metric, parsed = one_name(name.strip()), _AMOUNT.fullmatch(amount.strip())
        unknown = unknown_metric(metric)
        if unknown:
            raise ValueError(f"--energy-compare-fail: {unknown}")
        if parsed is None:
            raise ValueError(
                f"--energy-compare-fail={entry.strip()!r} has no threshold. Cure: {metric}:5% (of the baseline), or an "
                f"amount, {metric}:0"
            )
        found.append(Threshold(metric, float(parsed[1]) / (100.0 if parsed[2] else 1.0), bool(parsed[2])))
    return tuple(found)


def check_changes(before: Summary, after: Summary, thresholds: Sequence[Threshold]) -> Iterator[Check]:
    """Each threshold, and every count that the baseline knows: these may not change at all unless one allows it."""
    stated = {each.metric: each for each in thresholds}
    for metric, known in before.metrics.items():
        if known.kind == "count":
            allowed = stated.pop(metric, Threshold(metric, 0.0, is_fraction=False))
            yield _check_count(metric, known, after.metrics.get(metric), allowed)
    found = refusal(before, after)
    refused: list[Threshold] = []
    for threshold in stated.values():
        metric = threshold.metric
        earlier, later = before.metrics.get(metric), after.metrics.get(metric)
        kind = kind_of(metric)
        reason = "" if kind == "count" else _no_joules(before, after)
        reason = reason or ("" if found else unchecked(after, later, kind))
        if reason or kind == "count":
            yield Check(metric, kind, "not checked", reason or "not in the baseline")
        elif found:
            refused.append(threshold)
        elif earlier is None or earlier.expected is None:
            yield Check(metric, kind, "not checked", "not in the baseline")
        else:
            yield _check_change(_difference(metric, earlier, later), threshold)
    if refused:
        names = ", ".join(each.metric for each in refused)
        yield Check(names, "energy", "failed", f"{names} cannot be held against the baseline: {found}")


def refusal(before: Summary, after: Summary) -> str:
    """Why joules of the baseline and of this run may not be compared; "" where they may, or where there are none."""
    if _no_joules(before, after):
        return ""
    return "; ".join(_words(each) for each in obstacles_between(before.identity, after.identity))


def _words(obstacle: Obstacle) -> str:
    cure = "save a baseline of its own here with --energy-save=NAME, and compare with that one"
    return f"{obstacle.what}: {obstacle.effect}. Cure: {cure}"


def _no_joules(before: Summary, after: Summary) -> str:
    if not after.has_sensor and before.identity.provenance != after.identity.provenance:
        return NO_SENSOR
    if before.identity.provenance == "absent" and after.identity.provenance != "absent":
        return "the baseline was saved without a sensor"
    return ""


def change_of(before: Summary, after: Summary, metric: str) -> Difference | None:
    """The change of a metric that may be compared; None where it may not, or is not known."""
    earlier, later = before.metrics.get(metric), after.metrics.get(metric)
    if earlier is None or later is None or _no_joules(before, after) or refusal(before, after):
        return None
    if not after.has_sensor or after.too_short or earlier.expected is None or later.expected is None:
        return None
    return _difference(metric, earlier, later)


def _difference(metric: str, earlier: Metric, later: Metric | None) -> Difference:
    return difference(metric, earlier.kind, earlier.unit, earlier.expected, None if later is None else later.expected)


def _check_count(metric: str, earlier: Metric, later: Metric | None, allowed: Threshold) -> Check:
    before = earlier.expected
    after = None if later is None else later.expected
    if before is None:
        return Check(metric, "count", "not checked", "not in the baseline")
    cure = "Cure: undo what changed it, or accept it with --energy-save"
    if after is None:
        return Check(metric, "count", "failed", f"{metric} was {before.value:g} a call and is not known now. {cure}")
    if abs(after.value - before.value) <= allowed.fraction_of(before) * abs(before.value or 1.0) + 1e-9:
        return Check(metric, "count", "passed")
    words = f"{metric} went from {before.value:g} to {after.value:g} a call; counts are exact, and {allowed} is allowed"
    return Check(metric, "count", "failed", f"{words}. {cure}")


def _check_change(found: Difference, threshold: Threshold) -> Check:
    metric, kind = found.metric, found.kind
    before, after, change, interval = found.before, found.after, found.change_fraction, found.interval_fraction
    if before is None or after is None or change is None or interval is None:
        return Check(metric, kind, "not checked", found.why or "its interval reaches zero")
    allowed = threshold.fraction_of(before)
    worse, surely = (-change, -interval[1]) if kind == "rate" else (change, interval[0])
    if not (worse > allowed and surely > allowed):
        return Check(metric, kind, "passed")
    unit = f" {found.unit}".rstrip()
    sure = "bounds" if before.is_bounds or after.is_bounds else "95 % interval"
    words = (
        f"{metric} changed by {change * 100:+.3g} % ({sure} {interval[0] * 100:+.3g} to {interval[1] * 100:+.3g} %), "
        f"from {before.value:.4g} to {after.value:.4g}{unit}: all of it is over the threshold of {threshold}. Cure: "
        "undo the change that costs it, or accept it with --energy-save"
    )
    return Check(metric, kind, "failed", words)

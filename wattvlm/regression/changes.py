"""A test held against its baseline: what changed, whether that is over a threshold, and what may not be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wattvlm.comparison import Difference, Obstacle
from wattvlm.regression.bounds import NO_SENSOR, Check, kind_of, unchecked
from wattvlm.regression.summary import Metric, Summary
from wattvlm.regression.thresholds import Threshold, check_change
from wattvlm.studies.comparable import obstacles_between
from wattvlm.studies.compare import difference

ACCEPT_COUNT = "undo what changed it, or accept it with --energy-save"
ACCEPT_CHANGE = "undo the change that costs it, or accept it with --energy-save"


def check_changes(before: Summary, after: Summary, thresholds: Sequence[Threshold]) -> Iterator[Check]:
    """Each threshold, and every count that the baseline knows: these may not change at all unless one allows it."""
    stated = {each.metric: each for each in thresholds}
    for metric, known in before.metrics.items():
        if known.kind == "count":
            allowed = stated.pop(metric, Threshold(metric, 0.0, is_fraction=False))
            yield check_change(_difference(metric, known, after.metrics.get(metric)), allowed, ACCEPT_COUNT)
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
            yield check_change(_difference(metric, earlier, later), threshold, ACCEPT_CHANGE)
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

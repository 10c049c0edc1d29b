"""Thresholds of a regression, "joules_per_request:5%,visual_input:0", and what a change says against one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wattvlm.comparison import Difference, Expected
from wattvlm.regression.bounds import Check, one_name, unknown_metric

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


@dataclass(frozen=True, slots=True)
class Threshold:
    """How far a metric may get worse: as a fraction of the earlier value, or as an amount of its own unit."""

    metric: str
    amount: float
    is_fraction: bool

    def fraction_of(self, before: Expected) -> float:
        """The allowed change as a fraction of the earlier value."""
        return self.amount if self.is_fraction else self.amount / abs(before.value) if before.value else self.amount

    def __str__(self) -> str:
        return f"{self.amount * 100:g} %" if self.is_fraction else f"{self.amount:g}"


def thresholds_of(text: str, option: str = "--energy-compare-fail") -> tuple[Threshold, ...]:
    """Those of "joules_per_output_token:5%,visual_input:0"; ValueError, which names the option, for anything else."""
    found: list[Threshold] = []
    for entry in text.split(","):
        name, _, amount = entry.strip().partition(":")
        metric, parsed = one_name(name.strip()), _AMOUNT.fullmatch(amount.strip())
        unknown = unknown_metric(metric)
        if unknown:
            raise ValueError(f"{option}: {unknown}")
        if parsed is None:
            raise ValueError(
                f"{option}={entry.strip()!r} has no threshold. Cure: {metric}:5% (of the earlier value), or an "
                f"amount, {metric}:0"
            )
        found.append(Threshold(metric, float(parsed[1]) / (100.0 if parsed[2] else 1.0), bool(parsed[2])))
    return tuple(found)


def check_change(found: Difference, threshold: Threshold, cure: str) -> Check:
    """Failed only where a metric got worse by more than the threshold, and its whole interval says so.

    Counts are exact: any change beyond the threshold fails, in either direction. cure: what the message ends with.
    """
    if found.kind == "count":
        return _check_count(found, threshold, cure)
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
        f"from {before.value:.4g} to {after.value:.4g}{unit}: all of it is over the threshold of {threshold}. "
        f"Cure: {cure}"
    )
    return Check(metric, kind, "failed", words)


def _check_count(found: Difference, allowed: Threshold, cure: str) -> Check:
    metric, before, after = found.metric, found.before, found.after
    if before is None:
        return Check(metric, "count", "not checked", "not in the earlier run")
    if after is None:
        words = f"{metric} was {before.value:g} a call and is not known now"
    elif abs(after.value - before.value) <= allowed.fraction_of(before) * abs(before.value or 1.0) + 1e-9:
        return Check(metric, "count", "passed")
    else:
        words = (
            f"{metric} went from {before.value:g} to {after.value:g} a call; counts are exact, and {allowed} is allowed"
        )
    return Check(metric, "count", "failed", f"{words}. Cure: {cure}")

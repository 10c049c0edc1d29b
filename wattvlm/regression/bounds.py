"""Upper bounds of `@pytest.mark.energy(joules_per_request=520, ...)`, and what a check of anything says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from wattvlm.comparison import Expected, Kind
from wattvlm.regression.summary import Metric, Summary
from wattvlm.studies.compare import COUNTS, RATIOS

State = Literal["passed", "failed", "not checked"]

NO_SENSOR = "no sensor"

METRICS = (
    *("decode_joules_per_token" if name == "decode_token" else f"joules_per_{name}" for name in RATIOS),
    "ttft_s", "tpot_s", "latency_s",
    *(f"{name}_tokens" for name in COUNTS), "decode_steps",
)  # fmt: skip
"""Names that a bound or a threshold may have, beside "<phase>_joules"."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one check of a test found: words say it, or why there was no check."""

    metric: str
    kind: str
    state: State
    words: str = ""


def one_name(metric: str) -> str:
    """The metric's one name: a count may be given as the field of TokenCounts ("visual_input")."""
    return f"{metric}_tokens" if metric in COUNTS else metric


def unknown_metric(metric: str) -> str:
    """The message for a name that is no metric, or ""."""
    if metric in METRICS or metric.endswith("_joules"):
        return ""
    return f"{metric!r} is no metric; there are {', '.join(METRICS)}, and <phase>_joules"


def kind_of(metric: str) -> Kind:
    """What a metric is of, by its name; also of one that was not measured."""
    if "joules" in metric:
        return "energy"
    if metric == "output_tokens_per_s":
        return "rate"
    return "time" if metric.endswith("_s") else "count"


def check_bounds(summary: Summary, bounds: Mapping[str, float]) -> Iterator[Check]:
    """Each bound held against what was measured: over it only where the whole 95 % interval is."""
    for name, bound in bounds.items():
        metric = one_name(name)
        measured = summary.metrics.get(metric)
        kind = kind_of(metric)
        reason = unchecked(summary, measured, kind)
        if reason or measured is None or measured.expected is None:
            yield Check(metric, kind, "not checked", reason)
        elif measured.expected.low > bound:
            yield Check(metric, kind, "failed", _over(metric, measured.unit, measured.expected, bound, kind))
        else:
            yield Check(metric, kind, "passed")


def unchecked(summary: Summary, measured: Metric | None, kind: str) -> str:
    """Why a metric of a test cannot be checked; "" where it can."""
    if kind == "energy" and not summary.has_sensor:
        return NO_SENSOR
    if kind == "energy" and summary.too_short:
        return f"too short: {summary.too_short}"
    if measured is None or measured.expected is None:
        return "not known" if measured is None or not measured.why else measured.why
    return ""


def _over(metric: str, unit: str, found: Expected, bound: float, kind: str) -> str:
    unit = f" {unit}".rstrip()
    if kind == "count":
        return (
            f"{metric} is {found.value:g} a call, over the bound of {bound:g}. Cure: find what changed the count, or "
            "raise the bound in @pytest.mark.energy"
        )
    sure = "bounds" if found.is_bounds else "95 % interval"
    return (
        f"{metric} is {found.value:.4g}{unit} ({sure} {found.low:.4g} to {found.high:.4g}{unit}): all of it is over "
        f"the bound of {bound:g}{unit}. Cure: find which phase draws more (print energy_benchmark.report), or raise "
        "the bound in @pytest.mark.energy"
    )

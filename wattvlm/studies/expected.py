"""Metrics of a run for the *expected* call: what another run of the same calls would have to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, pi, sqrt, tan
from statistics import NormalDist, fmean, stdev

from wattvlm.comparison import Expected
from wattvlm.energy import Energy
from wattvlm.errors import NotResolved
from wattvlm.ratios import reasoning_share, share_by_tokens
from wattvlm.repeating import CallScatter
from wattvlm.report import Report
from wattvlm.trace import DECODE, PREFILL, PROJECTOR, VISION_ENCODE

NORMAL_95 = NormalDist().inv_cdf(0.975)

PARTS_OF_RATIO = {
    "request": ("call",),
    "output_token": ("call",),
    "answer_token": ("call",),
    "total_token": ("call",),
    "prompt_token": (PREFILL,),
    "decode_token": (DECODE,),
}
"""Whose joules a ratio divides; those per image and per visual token add the encoder and a share of prefill."""


def student_95(degrees: float) -> float:
    """The 97.5 % quantile of Student's t; nan below one degree of freedom."""
    return student(0.975, degrees)


def student(probability: float, degrees: float) -> float:
    """A quantile of Student's t, from 0.5 on, by its expansion in 1 / degrees; nan below one degree of freedom.

    Abramowitz and Stegun 26.7.5: to 1 % from 3 degrees on at 97.5 %. One and two degrees are exact.
    """
    if degrees < 1:
        return nan
    if degrees < 2:
        return tan(pi * (probability - 0.5))
    if degrees < 3:
        return (2.0 * probability - 1.0) / sqrt(2.0 * probability * (1.0 - probability))
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4.0
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96.0
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384.0
    return z + first / degrees + second / degrees**2 + third / degrees**3


def expected_part(report: Report, part: str) -> Expected:
    """Joules a call of a part on the accelerator; NotResolved where the report has none."""
    energy = report.joules(part)
    return _expected(energy, _scatter(report, (part,), (1.0,)), len(report.calls))


def expected_ratio(report: Report, what: str) -> Expected:
    """Joules per request, image, visual_token and so on; NotResolved as in `Report.per`."""
    energy = report.per(what)
    count = report.ratio(what).count or 1.0
    names, shares = _numerator(report, what)
    scatter = _scatter(report, names, shares)
    return _expected(energy, None if scatter is None else _scaled(scatter, 1.0 / count), len(report.calls))


def _numerator(report: Report, what: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    if what in PARTS_OF_RATIO:
        names = PARTS_OF_RATIO[what]
        return names, (1.0,) * len(names)
    if what == "reasoning_token":
        return (DECODE,), (reasoning_share(report),)
    encoders = tuple(part.name for part in report.phases if part.name in (VISION_ENCODE, PROJECTOR))
    least, most = share_by_tokens(report)
    return (*encoders, PREFILL), (*(1.0 for _ in encoders), (least + most) / 2)


def _scatter(report: Report, names: Sequence[str], shares: Sequence[float]) -> CallScatter | None:
    """How the joules of some parts together scatter from call to call; None where that is not known."""
    added: CallScatter | None = None
    for name, share in zip(names, shares):
        try:
            own = _scaled(report.scatter(name), share)
        except NotResolved:
            return None
        added = own if added is None else added.plus(own)
    return None if added is None or added.planned else added


def _scaled(scatter: CallScatter, factor: float) -> CallScatter:
    return CallScatter(
        scatter.mean_j * factor,
        scatter.calls_std_j * factor,
        scatter.readings_std_j * factor,
        scatter.lasting_j * factor,
        scatter.fewest_calls,
        scatter.planned,
    )


def _expected(energy: Energy, scatter: CallScatter | None, calls: int) -> Expected:
    value = energy.middle_j
    gains = tuple((board, gain_j / value) for board, gain_j in energy.gains_j.items()) if value else ()
    low_j, high_j = energy.interval_j
    if scatter is None or energy.is_bounds:
        return Expected(value, low_j, high_j, energy.is_bounds, gains)
    wider = student_95(calls - 1) / NORMAL_95
    half_j = max(energy.half_width_j, scatter.half_width_j(calls) * wider)
    return Expected(value, value - half_j, value + half_j, False, gains)


def expected_of(values: Sequence[float]) -> Expected | None:
    """The mean of one value a call, with the 95 % interval of the expected call; None without values.

    One call alone says nothing of the next: its interval is unbounded.
    """
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return Expected(mean, float("-inf"), float("inf"))
    half = student_95(len(values) - 1) * stdev(values) / sqrt(len(values))
    return Expected(mean, mean - half, mean + half)

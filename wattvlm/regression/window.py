"""A function repeated under a meter until the window is long enough to say what one call of it takes.

A function that calls a model is a round of as many calls as it makes. A function in which no model call is seen is
itself the call: it is repeated inside a round until a round lasts 50 ms, and the round is marked as one call whose
batch size is the number of repeats, so that joules_per_request is per call of the function.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic_ns, sleep
from typing import Any

from wattvlm.errors import NotResolved
from wattvlm.metering import meter
from wattvlm.report import Report
from wattvlm.runtimes import next_call_id
from wattvlm.sampling.sampler import MARGIN_NS, shared_sampler
from wattvlm.sensing import ProbeSource
from wattvlm.studies.expected import expected_ratio
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_MS, NS_PER_S

ENOUGH_TICKS = 20
"""A window that spans fewer updates of the sensor is too short: one tick at each end would be a tenth of it."""

USUAL_ROUNDS = 20
FEWEST_ROUNDS = 5
"""Repeated at least so often, whatever the time limit: below five calls there is no interval of the expected call."""

ROUND_NS = 50 * NS_PER_MS
MOST_ITERATIONS = 1_000_000
LONGEST_PAUSE_NS = 100 * NS_PER_MS
"""Before each round a pause of random length, so that rounds do not come in step with the ticks of a sensor."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to repeat: at least `rounds`, until the 95 % interval's half-width is `until_fraction` of the joules
    per request (None: whatever it is), for at most `limit_ns` once the fewest rounds are done."""

    rounds: int = USUAL_ROUNDS
    until_fraction: float | None = None
    limit_ns: int = 60 * NS_PER_S


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What was measured. result: of the last call of the function. ticks: updates of the sensor in the window, None
    without a sensor. too_short: why the joules say nothing, or ""."""

    report: Report
    result: Any
    rounds: int
    iterations: int
    ticks: int | None
    too_short: str = ""


def measure(function: Callable[[], Any], plan: Plan, *, probes: Sequence[ProbeSource] | None, label: str) -> Window:
    """Repeat a function under a meter as planned. What the function raises passes through."""
    with meter(probes=probes, label=f"{label} (warm-up)") as warm:
        function()
        calls_models = bool(warm.report.calls)
        iterations = 1 if calls_models else _iterations(function)
    sleep(MARGIN_NS / NS_PER_S)  # idle power is looked for so long before a block: no work of the test may lie there
    chance = random.Random()
    rounds, wanted, enough = 0, max(plan.rounds, 1), False
    result: Any = None
    with meter(probes=probes, label=label) as m:
        begin_ns = monotonic_ns()
        while not enough:
            round_ns = monotonic_ns()
            with _as_one_call(probes, iterations, calls_models):
                for _ in range(iterations):
                    result = function()
            rounds += 1
            now_ns = monotonic_ns()
            if now_ns - begin_ns > plan.limit_ns and rounds >= min(wanted, FEWEST_ROUNDS):
                break
            if rounds >= wanted:
                enough = not shortfall(m.report) and _is_narrow(m.report, plan.until_fraction)
                wanted = rounds + max(rounds // 2, 1)
            if not enough:
                sleep(chance.random() * min(LONGEST_PAUSE_NS, now_ns - round_ns) / NS_PER_S)
    return Window(m.report, result, rounds, iterations, _ticks(m.report), shortfall(m.report))


def _iterations(function: Callable[[], Any]) -> int:
    """How often a function fills a round."""
    iterations = 1
    while iterations < MOST_ITERATIONS:
        start_ns = monotonic_ns()
        for _ in range(iterations):
            function()
        took_ns = monotonic_ns() - start_ns
        if took_ns >= ROUND_NS:
            return iterations
        iterations = min(MOST_ITERATIONS, max(2 * iterations, round(iterations * ROUND_NS / max(took_ns, 1))))
    return iterations


@contextmanager
def _as_one_call(
    probes: Sequence[ProbeSource] | None, iterations: int, calls_models: bool
) -> Generator[None, None, None]:
    """A round of a function in which no model call is seen is marked as one call; of another it is left alone."""
    if calls_models:
        yield
        return
    sampler, call_id = shared_sampler(probes), next_call_id()
    sampler.mark(Mark(monotonic_ns(), "call_start", call_id, "function"))
    sampler.mark(Mark(monotonic_ns(), "count", call_id, "batch_size", value=iterations, text="repeats of the function"))
    ended = "raised"
    try:
        yield
        ended = "returned"
    finally:
        sampler.mark(Mark(monotonic_ns(), "call_end", call_id, "function", text=ended))


def shortfall(report: Report) -> str:
    """Why the joules of a window say nothing of the function yet; "" where they do, and where none are measured."""
    domain = report.accelerator
    if domain is None or report.is_modelled(domain):
        return ""
    ticks = _ticks(report)
    if ticks is not None and ticks < ENOUGH_TICKS:
        return f"the window spans {ticks} updates of the {domain}'s sensor, and {ENOUGH_TICKS} are needed"
    try:
        block = report.joules("block")
    except NotResolved as error:
        return str(error)
    if domain not in report.idle:
        return ""
    seconds = (report.block.duration_ns or 0.0) / NS_PER_S
    highest_idle_j = report.idle[domain].interval_w[1] * seconds
    if block.interval_j[0] <= highest_idle_j:
        return f"its {block} are not told from the {highest_idle_j:.3g} J that the {domain} would draw idle"
    return ""


def _ticks(report: Report) -> int | None:
    """Updates of the accelerator's slowest sensor inside the window; None where they are not counted."""
    span_ns = report.block.duration_ns or 0.0
    periods = [
        period
        for use in report.channels
        if use.in_totals and use.channel.domain == report.accelerator
        and (period := use.observed_period_ns or use.channel.update_period_ns)
    ]  # fmt: skip
    return int(span_ns / max(periods)) if periods else None


def _is_narrow(report: Report, until_fraction: float | None) -> bool:
    if until_fraction is None or report.accelerator is None or report.is_modelled(report.accelerator):
        return True
    try:
        found = expected_ratio(report, "request")
    except NotResolved:
        return False
    return found.value > 0 and (found.high - found.low) / 2 <= until_fraction * found.value

"""What a server did while it was watched, from looks at its metrics: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from wattvlm.watching.metrics import (
    EACH_TOKEN,
    FIRST_TOKEN,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    REQUESTS,
    RUNNING,
    Kind,
    Metric,
    find,
    number,
    quantile,
)

Metrics = Mapping[str, Metric]

FRACTIONS = (0.5, 0.9, 0.99)
"""The quantiles that are reported."""

Bracket = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """The server's metrics at one moment."""

    time_ns: int
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Served:
    """What a server did in the window in which it had work; None where it does not say.

    start_ns, end_ns: from the last look before its first work to the first look after its last. requests, and tokens
    of prompts and outputs: finished and counted in it. at_once, most_at_once: requests running, mean and largest of the
    looks. ttft_s, tpot_s: quantile -> the bucket edges in seconds that it lies between. named: which of the server's
    metrics each was taken from. lines: what to know about it.
    """

    start_ns: int
    end_ns: int
    looks: int
    requests: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    at_once: float | None = None
    most_at_once: float | None = None
    ttft_s: Mapping[float, Bracket] = field(default_factory=dict[float, Bracket])
    tpot_s: Mapping[float, Bracket] = field(default_factory=dict[float, Bracket])
    named: Mapping[str, str] = field(default_factory=dict[str, str])
    lines: tuple[str, ...] = ()


def served(looks: Sequence[Look]) -> Served | None:
    """What the server did between the looks; None where it had no work, or says nothing that can be counted."""
    if len(looks) < 2:
        return None
    counted = {
        "requests": REQUESTS, "prompt_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS, "at_once": RUNNING,
        "ttft_s": FIRST_TOKEN, "tpot_s": EACH_TOKEN,
    }  # fmt: skip
    found = {name: match for name, kinds in counted.items() if (match := _find(looks, kinds)) is not None}
    busy = [index for index, pair in enumerate(pairwise(looks)) if _had_work(pair, found)]
    if not busy:
        return None
    first, last = busy[0], busy[-1] + 1
    inside = looks[first : last + 1]
    named = {name: metric for name, (metric, _) in found.items()}
    lines = list(_edges(looks, first, last, found))
    sums: dict[str, float] = {}
    for name in ("requests", "prompt_tokens", "output_tokens"):
        if name in found:
            sums[name], restarts = _increase(inside, *found[name])
            lines += [_RESTARTED] if restarts else []
    running = [value for look in inside if (value := _running(look, found)) is not None]
    return Served(
        start_ns=looks[first].time_ns,
        end_ns=looks[last].time_ns,
        looks=len(inside),
        requests=sums.get("requests"),
        prompt_tokens=sums.get("prompt_tokens"),
        output_tokens=sums.get("output_tokens"),
        at_once=sum(running) / len(running) if running else None,
        most_at_once=max(running) if running else None,
        ttft_s=_quantiles(inside, named.get("ttft_s")),
        tpot_s=_quantiles(inside, named.get("tpot_s")),
        named=named,
        lines=tuple(dict.fromkeys(lines)),
    )


_RESTARTED = (
    "the server's counts began anew while it was watched: it was restarted, and what it did just before is not counted"
)


def _find(looks: Sequence[Look], kinds: Iterable[Kind]) -> tuple[str, str] | None:
    """The name of the metric, and which of its numbers is meant; the last look knows the most metrics."""
    found = find(looks[-1].metrics, kinds)
    return None if found is None else (found[0].name, found[1])


def _had_work(pair: tuple[Look, Look], found: Mapping[str, tuple[str, str]]) -> bool:
    for name in ("requests", "prompt_tokens", "output_tokens"):
        if name in found and _increase(pair, *found[name])[0] > 0:
            return True
    return any(_running(look, found) for look in pair)


def _running(look: Look, found: Mapping[str, tuple[str, str]]) -> float | None:
    """How many requests were under way."""
    name, of = found.get("at_once", ("", ""))
    return number(look.metrics[name], of) if name in look.metrics else None


def _increase(looks: Sequence[Look], name: str, of: str) -> tuple[float, bool]:
    """How much a count grew, and whether it began anew meanwhile; a metric that is not there yet is 0."""
    values = [number(look.metrics[name], of) if name in look.metrics else 0.0 for look in looks]
    steps = [(after - before, after) for before, after in pairwise(values)]
    return sum(grown if grown >= 0 else after for grown, after in steps), any(grown < 0 for grown, _ in steps)


def _quantiles(looks: Sequence[Look], name: str | None) -> dict[float, Bracket]:
    """Of what was observed between the first look and the last."""
    if name is None:
        return {}
    edges = sorted({edge for look in looks if name in look.metrics for edge in look.metrics[name].buckets})
    grown: dict[float, float] = {}
    for edge in edges:
        counts = [look.metrics[name].buckets.get(edge, 0.0) if name in look.metrics else 0.0 for look in looks]
        grown[edge] = sum(max(0.0, after - before) if after >= before else after for before, after in pairwise(counts))
    brackets = {fraction: quantile(grown, fraction) for fraction in FRACTIONS}
    return {fraction: bracket for fraction, bracket in brackets.items() if bracket is not None}


def _edges(looks: Sequence[Look], first: int, last: int, found: Mapping[str, tuple[str, str]]) -> Iterable[str]:
    """Requests that were under way at the first or the last look are in the joules and counts only in part."""
    for look, when in ((looks[first], "began"), (looks[last], "ended")):
        under_way = _running(look, found)
        if under_way:
            yield (
                f"{under_way:g} requests were under way when the window {when}: they are in it in part. "
                "Cure: watch longer, so that this matters less"
            )

"""Joules per something: which joules a ratio divides, by which count, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wattvlm.energy import Energy, total
from wattvlm.errors import NotResolved
from wattvlm.parts import CallReport, Part, Ratio
from wattvlm.sensing import Domain
from wattvlm.trace import DECODE, PREFILL, PROJECTOR, VISION_ENCODE, TokenCounts

RATIOS = (
    "request", "image", "image_by_flops", "visual_token", "visual_token_by_flops", "prompt_token", "output_token",
    "answer_token", "reasoning_token", "decode_token", "total_token",
)  # fmt: skip
"""What joules are given per, in the order of a report."""

Share = tuple[float, float]
"""The least and the most that a part can be, of 1."""

WIDEST_SHARE = 0.1


class Metered(Protocol):
    """What a ratio is made of: rows with joules, and counts. A Report is one."""

    @property
    def calls(self) -> Sequence[CallReport]: ...
    @property
    def phases(self) -> Sequence[Part]: ...
    @property
    def tokens(self) -> TokenCounts: ...
    @property
    def requests(self) -> int: ...
    @property
    def images(self) -> int | None: ...
    def joules(self, part: str, domains: Sequence[Domain] | None, above_idle: bool) -> Energy: ...


@dataclass(frozen=True, slots=True)
class _Definition:
    """One ratio: its name and label, the count over all calls, what is divided in words, and those joules a call."""

    name: str
    label: str
    count: int | None
    divided: str
    joules: Callable[[Sequence[Domain] | None, bool], Energy]


def ratio_of(report: Metered, what: str, domains: Sequence[Domain] | None = None, above_idle: bool = False) -> Ratio:
    """Mean joules a call over a mean count a call, with the reason where there is no number; KeyError for no ratio."""
    if what not in RATIOS:
        raise KeyError(f"no ratio per {what!r}; there are {list(RATIOS)}")
    of = _definition(report, what)
    count = None if of.count is None else of.count / (len(report.calls) or 1)
    if count is None or count <= 0:
        unknown = f"the number of {of.label}s is not known. Cure: give the counts with m.tokens(...)"
        why_not = unknown if count is None else f"there was no {of.label}"
        return Ratio(of.name, of.label, count, None, of.divided, why_not)
    try:
        energy = of.joules(domains, above_idle)
    except NotResolved as error:
        return Ratio(of.name, of.label, count, None, of.divided, str(error))
    return Ratio(of.name, of.label, count, energy.per(count), of.divided)


def _definition(report: Metered, what: str) -> _Definition:
    tokens = report.tokens
    name = f"joules_per_{what}"

    def of(part: str) -> Callable[[Sequence[Domain] | None, bool], Energy]:
        return lambda domains, above_idle: report.joules(part, domains, above_idle)

    def visual(share: Callable[[Metered], Share]) -> Callable[[Sequence[Domain] | None, bool], Energy]:
        return lambda domains, above_idle: _visual_joules(report, share, domains, above_idle)

    whole = "the whole call"
    encode = "vision encode + its share of prefill (by tokens)"
    by_flops = "vision encode + its share of prefill (by FLOPs)"
    table = {
        "request": _Definition(name, "request", report.requests or None, whole, of("call")),
        "image": _Definition(name, "image", report.images, encode, visual(share_by_tokens)),
        "image_by_flops": _Definition(name, "image", report.images, by_flops, visual(share_by_flops)),
        "visual_token": _Definition(name, "visual token", tokens.visual_input, encode, visual(share_by_tokens)),
        "visual_token_by_flops": _Definition(
            name, "visual token", tokens.visual_input, by_flops, visual(share_by_flops)
        ),
        "prompt_token": _Definition(
            name, "prompt token", _less(tokens.prompt, tokens.cached_input), "prefill", of(PREFILL)
        ),
        "output_token": _Definition(name, "output token", tokens.output, whole, of("call")),
        "answer_token": _Definition(name, "answer token", tokens.answer, whole, of("call")),
        "reasoning_token": _Definition(
            name,
            "reasoning token",
            tokens.reasoning_output,
            "reasoning's share of decode (by tokens)",
            lambda domains, above_idle: report.joules(DECODE, domains, above_idle).scaled(reasoning_share(report)),
        ),
        "decode_token": _Definition(
            "decode_joules_per_token",
            "decode token",
            _less(tokens.output, report.requests),
            "decode; the first token is prefill's",
            of(DECODE),
        ),
        "total_token": _Definition(name, "token", _plus(tokens.prompt, tokens.output), whole, of("call")),
    }
    return table[what]


def share_by_tokens(report: Metered) -> Share:
    """The visual tokens' part of a prefill if every token that it computed costs the same; NotResolved without counts.

    Of tokens that came from a cache it is not known which were visual, so their part lies between two bounds.
    """
    tokens = report.tokens
    if tokens.visual_input is None or not tokens.prompt:
        raise NotResolved(
            "the visual share of prefill needs the token counts. Cure: give the counts with m.tokens(...)"
        )
    cached = tokens.cached_input or 0
    computed = tokens.prompt - cached
    if computed <= 0:
        raise NotResolved("all of the prompt came from a cache: no part of its prefill is for visual tokens alone")
    least, most = max(0, tokens.visual_input - cached) / computed, min(tokens.visual_input, computed) / computed
    if most - least > WIDEST_SHARE:
        raise NotResolved(
            f"{cached} of {tokens.prompt} prompt tokens came from a cache, and which of them were visual is not known: "
            f"their share of prefill is {least:.0%} to {most:.0%}. Cure: images that the cache does not hold"
        )
    return least, most


def share_by_flops(report: Metered) -> Share:
    """The visual tokens' part of a prefill's operations; NotResolved where a call's are not known."""
    known = [call.work for call in report.calls if call.work is not None]
    flops = sum(work.flops for work in known)
    if len(known) < len(report.calls) or not flops:
        raise NotResolved(
            "the visual share of prefill by FLOPs is not known: it needs the shapes of the language model's blocks and "
            "the places of its visual tokens, all of them computed. Cure: run the model with transformers, without a "
            "cached prefix; the share by tokens stands"
        )
    share = sum(work.visual_flops for work in known) / flops
    return share, share


def reasoning_share(report: Metered) -> float:
    """Of the tokens that decode makes those that reason, which come first: so the first token, prefill's, is theirs."""
    reasoning, output, first = report.tokens.reasoning_output or 0, report.tokens.output or 0, report.requests
    if output <= first:
        raise NotResolved("there was no decode token")
    return max(0, reasoning - first) / (output - first)


def _visual_joules(
    report: Metered, share: Callable[[Metered], Share], domains: Sequence[Domain] | None, above_idle: bool
) -> Energy:
    """vision_encode + projector + the visual tokens' share of prefill."""
    least, most = share(report)
    encoders = [part.name for part in report.phases if part.name in (VISION_ENCODE, PROJECTOR)]
    prefill = report.joules(PREFILL, domains, above_idle)
    parts = [report.joules(name, domains, above_idle) for name in encoders]
    parts.append(prefill.scaled(least) if least == most else _between(prefill.scaled(least), prefill.scaled(most)))
    summed = total(parts)
    if summed is None:
        raise NotResolved("neither vision encode nor prefill was seen")
    return summed


def _between(least: Energy, most: Energy) -> Energy:
    """Bounds that hold both."""
    edges_j = (*least.interval_j, *most.interval_j)
    return Energy(None, (min(edges_j), max(edges_j)), most.method, most.gains_j)


def _less(value: int | None, taken: int | None) -> int | None:
    return None if value is None else value - (taken or 0)


def _plus(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right

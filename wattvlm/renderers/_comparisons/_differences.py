"""The table of two runs: before, after, the change with its interval, and the verdict."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from wattvlm.comparison import Comparison, Difference
from wattvlm.renderers._comparisons._page import NOT_KNOWN, Page, expected_cells, machine_words, warnings
from wattvlm.renderers._numbers import Amount, Parts, write, write_count
from wattvlm.renderers._phases import phase_title
from wattvlm.renderers._table import Cell, Column, Row, Table
from wattvlm.renderers._text import Line, Role, Span, glue
from wattvlm.units import energy_scale

TITLES = {
    "decode_joules_per_token": "per decode token",
    "joules_per_total_token": "per token",
    "call_joules": "whole call",
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "latency_s": "latency",
    "output_tokens_per_s": "decode tokens/s",
}
VERDICT_ROLES: dict[str, Role] = {"worse": "absent", "better": "measured", "changed": "unresolved"}
_LEAST_S = 1.0


def page(comparison: Comparison, narrow: bool = False) -> Page:
    """The page of two runs. narrow: a change and its interval in one column, as '+4.9 ±1.6 %'."""
    names = comparison.before, comparison.after
    title = (
        Span("wattvlm compare", "strong"), Span(glue("  ")), Span(names[0]), Span(" → ", "dim"), Span(names[1]),
        Span(glue(f"  {_calls(comparison)}")),
    )  # fmt: skip
    shown = [each for each in comparison.differences if each.verdict != "same" and not _is_said_twice(each, comparison)]
    columns = [Column("before", "before", leaves=1), Column("after", "after")]
    columns += [Column("both", "change")] if narrow else [Column("change", "change"), Column("interval", "95 %")]
    rows = tuple(_rows(shown, comparison.is_modelled))
    return Page(
        title,
        (Span(machine_words(comparison.identities)),),
        warnings(comparison.identities, comparison.is_modelled),
        Table("a call", tuple(columns), rows, "verdict"),
        _equal(comparison.differences),
        tuple((Span("note  ", "dim"), Span(words)) for words in _notes(comparison, shown)),
        (Span(_footer(comparison, shown), "dim"),),
    )


def title_of(metric: str) -> str:
    """A metric in words: 'per request', 'vision encode', 'TTFT', 'visual input tokens'."""
    if metric in TITLES:
        return TITLES[metric]
    return phase_title(metric.removesuffix("_joules").removeprefix("joules_"))


def _calls(comparison: Comparison) -> str:
    counts = dict.fromkeys(comparison.calls)
    noun = "call" if set(counts) == {1} else "calls"
    return f"{' and '.join(f'{count:,}' for count in counts)} {noun}{' each' if len(counts) == 1 else ''}"


def _is_said_twice(found: Difference, comparison: Comparison) -> bool:
    """True for the joules of a call where each call is one request."""
    if found.metric != "call_joules":
        return False
    request = next((each for each in comparison.differences if each.metric == "joules_per_request"), None)
    return request is not None and (request.before, request.after) == (found.before, found.after)


def _rows(shown: Sequence[Difference], is_modelled: bool) -> Iterator[Row]:
    last = ""
    for each in shown:
        group = "ratio" if "joules_per" in each.metric else each.kind.replace("rate", "time")
        is_apart = last not in ("", group)
        yield Row((Span(title_of(each.metric)),), _cells(each, is_modelled), _verdict(each), is_apart)
        last = group


def _cells(found: Difference, is_modelled: bool) -> dict[str, Cell]:
    sides = (found.before, found.after)
    middle = next((each.value for each in sides if each is not None), 0.0)
    if found.kind == "count":
        cells: list[Cell] = [NOT_KNOWN if each is None else write_count(each.value) for each in sides]
    else:
        factor, unit = 1.0, found.unit
        if found.kind == "energy":
            factor, unit = energy_scale(middle)
        elif found.kind == "time" and middle < _LEAST_S:
            factor, unit = 1e3, "ms"
        cells = expected_cells(sides, factor, unit, is_modelled and found.kind == "energy")
    shown: dict[str, Cell] = {"before": cells[0], "after": cells[1]}
    if found.change_fraction is not None:
        change = found.change_fraction
        shown["change"] = shown["both"] = _percent(change)
        if found.interval_fraction is not None:
            low, high = found.interval_fraction
            shown["interval"] = (Span(glue(f"{low * 100:+.1f} to {high * 100:+.1f} %")),)
            shown["both"] = _with_half(
                found.change_fraction, max(high - found.change_fraction, found.change_fraction - low)
            )
    return shown


def _with_half(fraction: float, half_fraction: float) -> Parts:
    """'+4.9 ±1.6 %', the half-width rounded up."""
    parts = write(Amount(fraction * 100, half_fraction * 100, unit="%"))
    return replace(parts, whole=parts.whole if parts.whole.startswith("-") else f"+{parts.whole}")


def _percent(fraction: float) -> Parts:
    whole, point, decimals = f"{fraction * 100:+.1f}".partition(".")
    return Parts(whole, point + decimals, unit="%")


def _verdict(found: Difference) -> Line:
    return (Span(found.verdict, VERDICT_ROLES.get(found.verdict, "dim")),)


def _equal(differences: Sequence[Difference]) -> Line:
    """'The same in both, a call: 2,401 visual input tokens, 95 decode steps.'"""
    same = [each for each in differences if each.verdict == "same" and each.after is not None and each.after.value]
    if not same:
        return ()
    counts = [(each.after.value, title_of(each.metric)) for each in same if each.after is not None]
    words = [glue(f"{_count(value)} {title}") for value, title in counts]
    return (Span(f"The same in both, a call: {', '.join(words)}.", "dim"),)


def _count(value: float) -> str:
    written = write_count(value)
    return written.whole + written.fraction


def _notes(comparison: Comparison, shown: Sequence[Difference]) -> Iterator[str]:
    for obstacle in comparison.obstacles:
        yield f"allowed, although {obstacle.what}: {obstacle.effect}"
    yield from comparison.notes
    reasons: dict[str, list[str]] = {}
    for each in shown:
        if each.why and not (comparison.is_modelled and each.kind == "energy"):
            reasons.setdefault(_reason(each.why), []).append(title_of(each.metric))
    for why, metrics in reasons.items():
        yield f"{', '.join(metrics)}: {why}"


def _reason(why: str) -> str:
    """The reason without the ratio that it is the reason of, and once where it is that of both runs."""
    before, _, after = re.sub(r"joules per [\w ]+: ", "", why).partition("; after: ")
    return after if before == f"before: {after}" else "; after: ".join(filter(None, (before, after)))


def _footer(comparison: Comparison, shown: Sequence[Difference]) -> str:
    has_bounds = any(side is not None and side.is_bounds for each in shown for side in (each.before, each.after))
    said = [
        "± and 95 % are of the expected call. better or worse: the whole interval is on one side of 0; cannot tell: it "
        "is not, and more calls narrow it."
    ]
    if has_bounds and not comparison.is_modelled:
        said.append("A run of few calls has bounds, written as a range, and differences of bounds are bounds.")
    if not comparison.is_modelled and any(each.kind == "energy" for each in shown):
        kinds = {each.kind for each in comparison.obstacles}
        said.append(
            "The gains of both boards are in the intervals."
            if "device" in kinds
            else "A board's unknown gain is the same in both runs and cancels."
        )
    return " ".join(said)

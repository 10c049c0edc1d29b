"""The table of ratios: joules per request, image and token, with how many there are and what is divided."""

from __future__ import annotations

from dataclasses import replace

from wattvlm.energy import Energy
from wattvlm.renderers._joules import DOMAIN_TITLES, NOT_RESOLVED
from wattvlm.renderers._numbers import amount_of, write, write_count
from wattvlm.renderers._table import Cell, Column, Row, Table
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.report import Part, Ratio, Report
from wattvlm.sensing import Domain
from wattvlm.trace import DECODE, PREFILL, PROJECTOR, VISION_ENCODE
from wattvlm.units import energy_scale

_NAMES = {
    "decode_joules_per_token": "decode only",
    "joules_per_total_token": "any token",
    "joules_per_image_by_flops": "by FLOPs",
    "joules_per_visual_token_by_flops": "by FLOPs",
    "joules_per_answer_token": "answer only",
    "joules_per_reasoning_token": "reasoning only",
}
_BY_FLOPS = ("joules_per_image_by_flops", "joules_per_visual_token_by_flops")
_OF_REASONING = ("joules_per_answer_token", "joules_per_reasoning_token")
_SECOND = ("decode_joules_per_token", *_BY_FLOPS, *_OF_REASONING)
"""Ratios that say more of the one above them."""
_BRIEF = {
    "joules_per_request": "whole call",
    "joules_per_image": "encode + its prefill",
    "joules_per_visual_token": "encode + its prefill",
    "joules_per_prompt_token": "prefill",
    "joules_per_output_token": "whole call",
    "joules_per_answer_token": "whole call",
    "joules_per_reasoning_token": "its decode",
    "decode_joules_per_token": "decode",
    "joules_per_total_token": "whole call",
}
_VISUAL = (VISION_ENCODE, PROJECTOR, PREFILL)
_USES = {
    "joules_per_image": _VISUAL,
    "joules_per_visual_token": _VISUAL,
    "joules_per_image_by_flops": _VISUAL,
    "joules_per_visual_token_by_flops": _VISUAL,
    "joules_per_prompt_token": (PREFILL,),
    "joules_per_reasoning_token": (DECODE,),
    "decode_joules_per_token": (DECODE,),
}
"""The phases whose joules a ratio is made of; any other is made of the whole call."""


def ratio_table(report: Report, brief: bool) -> Table | None:
    """The ratios that this run could have; None without calls or joules. brief: what is divided in few words."""
    accelerator = report.accelerator
    ratios = [ratio for ratio in report.ratios() if _is_shown(report, ratio, brief)]
    if accelerator is None or not report.calls or not ratios:
        return None
    together = _together(report, accelerator)
    before = [None, *(ratio.divided for ratio in ratios)]
    rows = [
        _row(report, ratio, together, brief, same=ratio.divided == divided_before)
        for ratio, divided_before in zip(ratios, before)
    ]
    columns = [Column("count", "count"), Column("own", DOMAIN_TITLES[accelerator])]
    if together:
        columns.append(Column("sum", " + ".join(DOMAIN_TITLES[domain] for domain in together), 1))
    title = "VIRTUAL joules per" if report.virtual else "joules per"
    return Table(title, tuple(columns), tuple(rows), "what is divided")


def _is_shown(report: Report, ratio: Ratio, brief: bool) -> bool:
    """Whether a run could have it; a second way to share prefill only where it has a figure, and room."""
    if ratio.name in _BY_FLOPS:
        return ratio.energy is not None and not brief
    if ratio.name in _OF_REASONING:
        return bool(report.tokens.reasoning_output)
    return ratio.count is None or ratio.count > 0


def uncounted(report: Report) -> Line:
    """Which ratios lack nothing but a count, and the cure; empty where all counts are known."""
    without = [each for each in report.ratios() if each.count is None and each.name not in (*_BY_FLOPS, *_OF_REASONING)]
    names = [_NAMES.get(ratio.name, ratio.label) for ratio in without]
    if not names or not report.calls or report.accelerator is None:
        return ()
    return (Span(f"Not counted: {', '.join(names)}. Cure: give the counts with m.tokens()."),)


def _together(report: Report, accelerator: Domain) -> tuple[Domain, ...]:
    """GPU and CPU where both are measured: a modelled joule is never added to a measured one."""
    both: tuple[Domain, ...] = ("gpu", "cpu")
    measured = all(domain in report.domains and not report.is_modelled(domain) for domain in both)
    return both if accelerator == "gpu" and measured else ()


def _row(report: Report, ratio: Ratio, together: tuple[Domain, ...], brief: bool, same: bool) -> Row:
    cells: dict[str, Cell] = {}
    indent = glue("  ") if ratio.name in _SECOND else ""
    if ratio.count is not None:
        cells["count"] = write_count(ratio.count)
    own = ratio.energy
    summed = report.ratio(_what(ratio), together).energy if together else None
    scale = energy_scale(own.middle_j if own is not None else summed.middle_j if summed is not None else 1.0)
    cells["own"] = _cell(own, scale) if own is not None else _missing(report, ratio)
    if summed is not None:
        cells["sum"] = _cell(summed, scale)
    return Row((Span(indent + _NAMES.get(ratio.name, ratio.label)),), cells, _divided(report, ratio, brief, same))


def _what(ratio: Ratio) -> str:
    return "decode_token" if ratio.name == "decode_joules_per_token" else ratio.name.removeprefix("joules_per_")


def _cell(energy: Energy, scale: tuple[float, str]) -> Cell:
    factor, unit = scale
    parts = write(amount_of(energy, factor, unit))
    # Rows are in different units, so a common decimal point would mean nothing: numbers end in one place instead.
    return replace(parts, whole=parts.whole + parts.fraction, fraction="")


def _missing(report: Report, ratio: Ratio) -> Line:
    if ratio.count is None:
        return (Span(glue("not counted"), "dim"),)
    return NOT_RESOLVED if _is_unresolved(report, ratio) else (Span("absent", "absent"),)


def _is_unresolved(report: Report, ratio: Ratio) -> bool:
    """True where a part that the ratio needs was read but does not stand alone."""
    accelerator = report.accelerator
    found = [part.energies.get(accelerator) for part in _needed(report, ratio)] if accelerator else []
    return any(energy is not None and not energy.stands_alone for energy in found)


def _needed(report: Report, ratio: Ratio) -> list[Part]:
    names = _USES.get(ratio.name)
    if names is None:
        return [report.total] if report.total is not None else []
    return [part for part in report.phases if part.name in names]


def _divided(report: Report, ratio: Ratio, brief: bool, same: bool) -> Line:
    """What is divided by the count; where there is no number for another reason than the readings, that reason."""
    if ratio.energy is None and ratio.count is not None and not _is_unresolved(report, ratio):
        return (Span(ratio.why_not, "dim"),)
    if brief:
        return (Span(_BRIEF.get(ratio.name, ratio.divided)),)
    details = _details(report, ratio)
    divided = "the same" if same and details else ratio.divided
    return (Span(f"{divided}; {details}" if details else divided),)


def _details(report: Report, ratio: Ratio) -> str:
    """The token counts behind a ratio, a call."""
    tokens, calls = report.tokens, len(report.calls) or 1
    counts: dict[str, int | None] = {}
    if ratio.name == "joules_per_visual_token":
        counts = {"encoded": tokens.visual_encoded, "into the LLM": tokens.visual_input, "kept": tokens.visual_kept}
    elif ratio.name == "joules_per_prompt_token":
        counts = {
            "visual": tokens.visual_input,
            "text": tokens.text_input,
            "audio": tokens.audio_input or None,
            "from cache": tokens.cached_input,
        }
    elif ratio.name == "joules_per_output_token" and tokens.reasoning_output:
        counts = {"of them reasoning": tokens.reasoning_output}
    written = {name: write_count(count / calls) for name, count in counts.items() if count is not None}
    return ", ".join(glue(f"{parts.whole}{parts.fraction} {name}") for name, parts in written.items())

"""The end of a summary: times and memory, notes, and what ± and ~ mean in it."""

from __future__ import annotations

from wattvlm.renderers._joules import DOMAIN_TITLES
from wattvlm.renderers._numbers import Amount, write, write_duration, write_middle
from wattvlm.renderers._repeating import more_calls
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.report import Part, Report
from wattvlm.trace import PROJECTOR
from wattvlm.units import BYTES_PER_GB, NS_PER_S, format_significant

_MILLION = 1e6
_BILLION = 1e9


def times(report: Report) -> list[Line]:
    """TTFT, TPOT, tokens a second, peak memory, parameters, and the whole block, each an unbreakable item."""
    said: list[str] = []
    if report.ttft_s is not None:
        said.append(f"TTFT {write_duration(report.ttft_s * NS_PER_S)}")
    if report.tpot_s is not None:
        said.append(f"TPOT {write_duration(report.tpot_s * NS_PER_S)}")
    if report.output_tokens_per_s is not None:
        said.append(f"{format_significant(report.output_tokens_per_s, 3)} tok/s decode")
    if report.peak_memory_bytes is not None:
        device = "GPU" if report.accelerator == "gpu" else "device"
        said.append(f"peak {device} memory {_bytes(report.peak_memory_bytes)}")
    if (parameters := _parameters(report)) is not None:
        said.append(parameters)
    items: list[Line] = [(Span(glue(each)),) for each in said]
    if report.calls and report.block.duration_ns is not None:
        items.append(_block(report))
    return items


def _block(report: Report) -> Line:
    accelerator = report.accelerator
    found = report.block.energies.get(accelerator) if accelerator else None
    time = Span(glue(f"whole block {write_duration(report.block.duration_ns or 0.0)}"))
    if accelerator is None or found is None or not found.resolved:
        return (time,)
    return (time, Span(glue(f", {DOMAIN_TITLES[accelerator]} ")), *write_middle(found.energy))


def _bytes(count: int) -> str:
    return f"{count / BYTES_PER_GB:.1f} GB" if count >= BYTES_PER_GB else f"{count / _MILLION:.1f} MB"


def _parameters(report: Report) -> str | None:
    """'3.75 B parameters (0.67 B vision)', in millions below a tenth of a billion."""
    model = report.model
    if not model.parameters:
        return None
    scale, unit = (_BILLION, "B") if model.parameters >= _BILLION / 10 else (_MILLION, "M")
    active = model.active_parameters if model.active_parameters != model.parameters else None
    parts = {"active": active, "vision": model.vision_parameters, "projector": model.projector_parameters}
    inside = [f"{count / scale:.2f} {unit} {name}" for name, count in parts.items() if count]
    return f"{model.parameters / scale:.2f} {unit} parameters" + (f" ({', '.join(inside)})" if inside else "")


def notes(report: Report) -> list[Line]:
    """Lines for the reader that the run itself left."""
    return [(Span(glue("note  "), "dim"), Span(note)) for note in report.notes]


def footer(report: Report) -> Line:
    """What ± and ~ mean in this summary, where the projector is, and what more calls would do."""
    energies = [found.energy for part in _all_parts(report) for found in part.energies.values()]
    measured = [energy for energy in energies if not energy.is_modelled]
    said: list[str] = []
    if measured:
        gain = ", gain apart" if any(energy.gains_j for energy in measured) else ""
        bounds = [energy.is_bounds for energy in measured]
        what = "bounds the value" if all(bounds) else "is 95 % or bounds the value" if any(bounds) else "is 95 %"
        said.append(f"± {what}{gain}")
    if len(measured) < len(energies):
        said.append("~ is a model")
    projector = _projector_ns(report)
    if projector is not None:
        said.append(f"projector ({write_duration(projector)}) is in vision encode")
    if report.overhead.sampler_core_fraction is not None:
        percent = write(Amount(report.overhead.sampler_core_fraction * 100.0))
        said.append(f"the sampler took {glue(f'{percent.whole}{percent.fraction} % of a core')}")
    sentences = [sentence for sentence in ("; ".join(said), more_calls(report)) if sentence]
    return (Span(" ".join(f"{sentence}." for sentence in sentences), "dim"),) if sentences else ()


def _all_parts(report: Report) -> list[Part]:
    return [*report.phases, *(part for part in (report.between, report.total, report.block) if part is not None)]


def _projector_ns(report: Report) -> float | None:
    """Mean time of a projector that has no row of its own; None where it has one or was not seen."""
    if any(part.name == PROJECTOR for part in report.phases):
        return None
    seen = [part.duration_ns for call in report.calls for part in call.phases if part.name == PROJECTOR]
    known = [duration for duration in seen if duration is not None]
    return sum(known) / len(known) if known else None

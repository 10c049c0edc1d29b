"""OpenTelemetry: a span for each call and each of its phases, and the joules of each device as metrics.

Through the application's own providers, or over OTLP/HTTP. Names are those of the semantic conventions (gen_ai.*,
hw.*) where they have one, else wattvlm.*.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wattvlm import __version__
from wattvlm.breakdown import boards_of, shares_of_block
from wattvlm.errors import WattvlmError
from wattvlm.report import CallReport, Part, Report
from wattvlm.sensing import Domain
from wattvlm.units import NS_PER_S

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span, Tracer, TracerProvider

SCOPE = "wattvlm"
_LONGEST_EXPORT_S = 10

HW_TYPES: dict[Domain, str] = {"gpu": "gpu", "cpu": "cpu", "ram": "memory", "soc": "soc"}
"""hw.type of the conventions; the conventions have none for a system on a chip. A whole node is hw.host.energy."""

_USAGE = {
    "output": "gen_ai.usage.output_tokens",
    "cached_input": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_output": "gen_ai.usage.reasoning.output_tokens",
}
_TOKENS = ("text_input", "visual_encoded", "visual_input", "visual_kept")

Attributes = dict[str, str | bool | int | float | Sequence[str]]


class NoTelemetry(WattvlmError):
    """OpenTelemetry is not installed, the report has no wall clock, or nobody takes what is sent."""


def export(
    report: Report,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    context: Context | None = None,
) -> None:
    """Give a report's calls and joules to OpenTelemetry: spans with their own times, below the current span.

    tracer_provider, meter_provider: by default those that the application has set. context: in place of the current.
    NoTelemetry where the API is not installed, or the report has no moment on the wall clock.
    """
    need("opentelemetry", "opentelemetry-api")
    from opentelemetry import metrics, trace

    shift_ns = _wall_shift_ns(report)
    tracer = trace.get_tracer(SCOPE, __version__, tracer_provider)
    _spans(report, tracer, context, lambda time_ns: time_ns + shift_ns)
    _measure(report, metrics.get_meter(SCOPE, __version__, meter_provider))


def send(report: Report, url: str) -> None:
    """Send a report over OTLP/HTTP to a collector, by its address (http://127.0.0.1:4318).

    NoTelemetry where the SDK is not installed, or the collector does not take it.
    """
    spans, metrics = _collected(report)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult
    from opentelemetry.sdk.trace.export import SpanExportResult

    address = url.rstrip("/")
    of_spans: Any = OTLPSpanExporter(f"{address}/v1/traces", timeout=_LONGEST_EXPORT_S)
    of_metrics: Any = OTLPMetricExporter(f"{address}/v1/metrics", timeout=_LONGEST_EXPORT_S)
    taken = of_spans.export(spans) is SpanExportResult.SUCCESS
    taken = taken and (metrics is None or of_metrics.export(metrics) is MetricExportResult.SUCCESS)
    of_spans.shutdown()
    of_metrics.shutdown()
    if not taken:
        raise NoTelemetry(f"no collector took the report at {address}. Cure: start one that takes OTLP over HTTP there")


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Write a report as an OTLP file: two lines of JSON, spans and metrics, for a collector's otlpjsonfile receiver.

    NoTelemetry where the SDK is not installed; OSError where the file cannot be written.
    """
    spans, metrics = _collected(report)
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    requests = [encode_spans(spans), *([] if metrics is None else [encode_metrics(metrics)])]
    plain = [MessageToDict(request, use_integers_for_enums=True) for request in requests]
    Path(path).write_text("".join(f"{json.dumps(_with_hex_ids(each))}\n" for each in plain))


def _with_hex_ids(value: object) -> object:
    """Protobuf's JSON as OTLP's, in which ids are hexadecimal and not base64."""
    if isinstance(value, list):
        return [_with_hex_ids(each) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    entries = cast("dict[str, object]", value)
    return {
        name: base64.b64decode(each).hex() if name in _IDS and isinstance(each, str) else _with_hex_ids(each)
        for name, each in entries.items()
    }


_IDS = ("traceId", "spanId", "parentSpanId")


def _collected(report: Report) -> tuple[Sequence[ReadableSpan], MetricsData | None]:
    """What the SDK makes of a report."""
    need("opentelemetry.sdk", "opentelemetry-sdk")
    need("opentelemetry.exporter.otlp.proto.http", "opentelemetry-exporter-otlp-proto-http")
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    resource = Resource.create({"service.name": SCOPE, "host.name": report.host.name})
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    export(report, tracer_provider=tracers, meter_provider=meters, context=Context())
    return spans.get_finished_spans(), reader.get_metrics_data()


def need(module: str, package: str) -> None:
    """NoTelemetry where a part of OpenTelemetry is not installed."""
    try:
        found = util.find_spec(module) is not None
    except ImportError:
        found = False
    if not found:
        raise NoTelemetry(f"{package} is not installed, so nothing was sent. Cure: pip install 'wattvlm[otel]'")


def _wall_shift_ns(report: Report) -> int:
    if report.wall_anchor is None:
        raise NoTelemetry(
            "this report has no moment on the wall clock, so its spans would have no time; nothing was sent. "
            "Cure: meter again with this wattvlm, or make the report of its recording again"
        )
    return report.wall_anchor.wall_ns - report.wall_anchor.monotonic_ns


def _spans(report: Report, tracer: Tracer, context: Context | None, wall_ns: Callable[[int], int]) -> None:
    """A span of the block around those of its calls."""
    from opentelemetry.trace import set_span_in_context

    spans_ns = report.block.spans_ns or tuple(span_ns for call in report.calls for span_ns in _spans_of(call))
    if not spans_ns:
        return
    start_ns, end_ns = min(start for start, _ in spans_ns), max(end for _, end in spans_ns)
    attributes = {**_energies(report.block), "wattvlm.virtual": report.virtual, "wattvlm.calls": len(report.calls)}
    name = f"wattvlm {report.label}".strip()
    block = tracer.start_span(name, context, attributes=attributes, start_time=wall_ns(start_ns))
    inside = set_span_in_context(block, context)
    for call in report.calls:
        _call_span(call, tracer, inside, wall_ns)
    for part in report.own_phases:
        for start, end in part.spans_ns:
            tracer.start_span(part.name, inside, start_time=wall_ns(start)).end(wall_ns(end))
    block.end(wall_ns(end_ns))


def _call_span(call: CallReport, tracer: Tracer, context: Context, wall_ns: Callable[[int], int]) -> None:
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

    spans_ns = _spans_of(call)
    model = call.model.name or call.model.class_name
    kind = SpanKind.CLIENT if call.runtime == "openai_stream" else SpanKind.INTERNAL
    span: Span = tracer.start_span(
        f"generate_content {model}".strip(),
        context,
        kind,
        attributes=_call_attributes(call, model),
        start_time=wall_ns(spans_ns[0][0]),
    )
    if call.ended.startswith("raised "):
        span.set_attribute("error.type", call.ended.removeprefix("raised "))
        span.set_status(StatusCode.ERROR, call.ended)
    inside = set_span_in_context(span, context)
    for part in call.phases:
        for number, (start_ns, end_ns) in enumerate(part.spans_ns):
            attributes = _energies(part) if not number else None  # of a phase in pieces, all joules are the first's
            phase = tracer.start_span(part.name, inside, attributes=attributes, start_time=wall_ns(start_ns))
            phase.end(wall_ns(end_ns))
    span.end(wall_ns(max(end_ns for _, end_ns in spans_ns)))


def _spans_of(call: CallReport) -> Sequence[tuple[int, int]]:
    return call.total.spans_ns or ((call.start_ns, call.start_ns + call.duration_ns),)


def _call_attributes(call: CallReport, model: str) -> Attributes:
    tokens = call.tokens
    attributes: Attributes = {"gen_ai.operation.name": "generate_content", "gen_ai.provider.name": call.runtime}
    known = {
        "gen_ai.request.model": model or None,
        "gen_ai.usage.input_tokens": tokens.prompt,
        **{name: getattr(tokens, field) for field, name in _USAGE.items()},
        **{f"wattvlm.{field}_tokens": getattr(tokens, field) for field in _TOKENS},
        "wattvlm.images": call.images,
        "wattvlm.batch_size": call.batch_size,
        "wattvlm.decode_steps": call.decode_steps,
        "wattvlm.ttft_s": None if call.ttft_ns is None else call.ttft_ns / NS_PER_S,
        "wattvlm.label": call.label or None,
    }
    image_tokens = _convention("GEN_AI_USAGE_IMAGE_INPUT_TOKENS")
    if image_tokens is not None:
        known[image_tokens] = tokens.visual_input
    attributes.update({name: value for name, value in known.items() if value is not None})
    return {**attributes, **_energies(call.total)}


def _convention(name: str) -> str | None:
    """An attribute's name, where the installed conventions have it."""
    try:
        found: Any = getattr(
            import_module("opentelemetry.semconv._incubating.attributes.gen_ai_attributes"), name, None
        )
    except ImportError:
        return None
    return found if isinstance(found, str) else None


def _energies(part: Part) -> Attributes:
    """What is known of a part's joules, by domain: the middle only where they are this one part's own."""
    attributes: Attributes = {}
    for domain, found in part.energies.items():
        name = f"wattvlm.energy.{domain}"
        low_j, high_j = found.energy.interval_j if found.stands_alone else found.bounds_j
        attributes |= {f"{name}.low_j": low_j, f"{name}.high_j": high_j, f"{name}.method": found.energy.method}
        if found.stands_alone:
            attributes[f"{name}.middle_j"] = found.energy.middle_j
    return attributes


def _measure(report: Report, meter: Meter) -> None:
    """hw.energy by phase, which adds up to the block, and hw.power as its mean; of a whole node hw.host.energy."""
    energy = meter.create_counter("hw.energy", "J", "Energy consumed by the component.")
    power = meter.create_gauge("hw.power", "W", "Mean power of the component over the metered block.")
    host = meter.create_counter("hw.host.energy", "J", "Total energy consumed by the entire physical host, in joules.")
    seconds = (report.block.duration_ns or 0.0) / NS_PER_S
    for domain in report.domains:
        attributes = _hardware(report, domain)
        for share in shares_of_block(report, domain):
            (host if domain == "node" else energy).add(
                share.energy_j, {**attributes, "wattvlm.phase": "+".join(share.phases)}
            )
        if seconds and domain != "node":
            power.set(report.block.energies[domain].energy.middle_j / seconds, attributes)


def _hardware(report: Report, domain: Domain) -> Attributes:
    method = "modelled" if report.is_modelled(domain) else "measured"
    attributes: Attributes = {"hw.id": ",".join(boards_of(report, domain)), "wattvlm.method": method}
    names = dict.fromkeys(_names(report, domain))
    return attributes | {"hw.type": HW_TYPES.get(domain, domain), "hw.name": ", ".join(names)}


def _names(report: Report, domain: Domain) -> Iterator[str]:
    return (use.channel.device for use in report.channels if use.in_totals and use.channel.domain == domain)

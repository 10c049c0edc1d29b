"""A span a request for an OpenTelemetry collector, below the server's own trace where the request brought one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wattvlm import __version__
from wattvlm.units import NS_PER_S

_LONGEST_EXPORT_S = 10

_USAGE = {
    "prompt": "gen_ai.usage.input_tokens", "output": "gen_ai.usage.output_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens", "visual": "wattvlm.visual_input_tokens",
    "images": "wattvlm.images", "preemptions": "wattvlm.preemptions", "computed_again": "wattvlm.computed_again_tokens",
    "queue_s": "wattvlm.queue_s", "ttft_s": "wattvlm.ttft_s", "shared": "wattvlm.shared",
    "share_by": "wattvlm.share_by",
}  # fmt: skip


class Spans:
    """Spans over OTLP/HTTP to a collector's address, in batches. exporter: in its place, for another way out."""

    def __init__(self, url: str, exporter: Any = None) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(f"{url.rstrip('/')}/v1/traces", timeout=_LONGEST_EXPORT_S)
        self._provider = TracerProvider(resource=Resource.create({"service.name": "wattvlm"}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("wattvlm", __version__)

    def request(self, line: Mapping[str, Any]) -> None:
        """A request is over: gen_ai.request.id is the server's own id of it."""
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = {"traceparent": line["parent"]} if line["parent"] else {}
        context = TraceContextTextMapPropagator().extract(parent, Context())
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "vllm",
            "gen_ai.request.id": line["id"], "gen_ai.request.model": line["model"],
            **{name: line[field] for field, name in _USAGE.items() if line[field] is not None},
        }  # fmt: skip
        for domain, energy in line["joules"].items():
            name = f"wattvlm.energy.{domain}"
            attributes |= {f"{name}.{each}": energy[each] for each in ("middle_j", "low_j", "high_j", "method")}
        start_ns, end_ns = (round(line[each] * NS_PER_S) for each in ("arrived_s", "ended_s"))
        span = self._tracer.start_span("wattvlm request", context, attributes=attributes, start_time=start_ns)
        span.end(max(start_ns, end_ns))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

"""Spans and metrics as OpenTelemetry's own SDK gives them on, in memory and over HTTP."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import wattvlm
from wattvlm.cli import main
from wattvlm.exporting.telemetry import NoTelemetry, export, send
from wattvlm.report import Report
from wattvlm.testing.scenarios import data_centre_session

pytest.importorskip("opentelemetry.sdk", reason="needs the extra wattvlm[otel]")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra wattvlm[otel]")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture(scope="module")
def report() -> Report:
    return wattvlm.analyze(data_centre_session(seed=1).recording)


def exported(report: Report) -> tuple[list[Any], dict[str, list[Any]]]:
    """The spans, in order of their start, and the data points of each metric; below a span of the application."""
    memory, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(memory))
    with tracers.get_tracer("application").start_as_current_span("request"):
        export(report, tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    found = reader.get_metrics_data()
    assert found is not None
    metrics = [each for of in found.resource_metrics for scope in of.scope_metrics for each in scope.metrics]
    spans: list[Any] = sorted(memory.get_finished_spans(), key=lambda span: span.start_time or 0)
    return spans, {metric.name: list(metric.data.data_points) for metric in metrics}


def test_each_call_is_a_span_of_its_time_below_the_applications_own_with_its_phases_inside(report):
    spans, _ = exported(report)
    by_id = {span.context.span_id: span for span in spans if span.context is not None}
    calls = [span for span in spans if span.name.startswith("generate_content")]
    assert len(calls) == len(report.calls) == 20
    shift_ns = report.wall_anchor.wall_ns - report.wall_anchor.monotonic_ns
    for span, call in zip(calls, report.calls, strict=True):
        assert span.parent is not None
        block = by_id[span.parent.span_id]
        assert block.parent is not None
        assert by_id[block.parent.span_id].name == "request"
        assert (span.start_time, span.end_time) == tuple(
            edge_ns + shift_ns for edge_ns in (call.total.spans_ns[0][0], call.total.spans_ns[-1][1])
        )
        inside = [each for each in spans if each.parent is not None and each.parent.span_id == span.context.span_id]
        assert [each.name for each in inside] == [part.name for part in call.phases for _ in part.spans_ns]
        assert all(span.start_time <= each.start_time <= each.end_time <= span.end_time for each in inside)


def test_usage_stands_under_the_names_of_the_installed_conventions(report):
    spans, _ = exported(report)
    span = next(span for span in spans if span.name.startswith("generate_content"))
    attributes = dict(span.attributes or {})
    tokens = report.calls[0].tokens
    assert attributes["gen_ai.usage.input_tokens"] == tokens.prompt
    assert attributes["gen_ai.usage.output_tokens"] == tokens.output
    assert attributes["wattvlm.visual_input_tokens"] == tokens.visual_input
    conventions = import_module("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    names = {value for name, value in vars(conventions).items() if name.startswith("GEN_AI_")}
    assert {name for name in attributes if name.startswith("gen_ai.")} <= names
    assert ("gen_ai.usage.image.input_tokens" in attributes) == ("gen_ai.usage.image.input_tokens" in names)
    assert attributes["wattvlm.energy.gpu.low_j"] <= attributes["wattvlm.energy.gpu.high_j"]
    assert attributes["wattvlm.energy.ram.method"] == "modelled"


def test_energy_of_a_device_over_its_phases_is_that_of_the_block(report):
    _, metrics = exported(report)
    conventions = import_module("opentelemetry.semconv._incubating.metrics.hw_metrics")
    assert {conventions.HW_ENERGY, conventions.HW_POWER} <= set(metrics)
    for domain, hardware in (("gpu", "gpu"), ("cpu", "cpu"), ("ram", "memory")):
        points = [point for point in metrics["hw.energy"] if point.attributes["hw.type"] == hardware]
        block_j = report.block.energies[domain].energy.middle_j
        assert math.fsum(point.value for point in points) == pytest.approx(block_j)
        assert {point.attributes["hw.id"] for point in points} != {""}
        assert {point.attributes["wattvlm.method"] for point in points} == {
            "modelled" if domain == "ram" else "measured"
        }


def test_a_call_that_raised_is_a_span_with_its_error(report):
    raised = replace(report, calls=(replace(report.calls[0], ended="raised ValueError"), *report.calls[1:]))
    spans, _ = exported(raised)
    failed = [span for span in spans if not span.status.is_ok and span.status.status_code.name == "ERROR"]
    assert [dict(span.attributes or {}).get("error.type") for span in failed] == ["ValueError"]


def test_without_a_wall_clock_nothing_is_sent(report):
    with pytest.raises(NoTelemetry, match="wall clock"):
        export(replace(report, wall_anchor=None))


class Collector(HTTPServer):
    """Takes OTLP over HTTP, or refuses it with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.status = status
        self.taken: dict[str, bytes] = {}


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.server.taken[self.path] = body
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    running = Collector(getattr(request, "param", 200))
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_a_saved_report_goes_to_a_collector_over_http(report: Report, collector: Collector, tmp_path: Path):
    report.save(tmp_path / "run.json")
    url = f"http://127.0.0.1:{collector.server_address[1]}"
    sent = CliRunner().invoke(main, ["report", str(tmp_path / "run.json"), "--otlp", url])
    assert sent.exit_code == 0, sent.output
    assert sent.stdout == ""
    traces = ExportTraceServiceRequest.FromString(collector.taken["/v1/traces"])
    metrics = ExportMetricsServiceRequest.FromString(collector.taken["/v1/metrics"])
    spans = [span for of in traces.resource_spans for scope in of.scope_spans for span in scope.spans]
    assert sum(span.name.startswith("generate_content") for span in spans) == 20
    assert len({span.trace_id for span in spans}) == 1
    names = {each.name for of in metrics.resource_metrics for scope in of.scope_metrics for each in scope.metrics}
    assert names == {"hw.energy", "hw.power"}


@pytest.mark.parametrize("collector", [400], indirect=True)
def test_a_collector_that_takes_nothing_is_an_error_and_no_silence(report: Report, collector: Collector):
    with pytest.raises(NoTelemetry, match="Cure"):
        send(report, f"http://127.0.0.1:{collector.server_address[1]}")


def test_an_otlp_file_has_lines_of_spans_and_metrics_with_ids_as_otlp_writes_them(report: Report, tmp_path: Path):
    report.save(tmp_path / "run.json")
    file = tmp_path / "run.otlp.json"
    assert CliRunner().invoke(main, ["report", str(tmp_path / "run.json"), "--otlp", str(file)]).exit_code == 0
    traces, metrics = map(json.loads, file.read_text().splitlines())
    spans = [span for of in traces["resourceSpans"] for scope in of["scopeSpans"] for span in scope["spans"]]
    ids = {span["spanId"] for span in spans}
    assert len(ids) == len(spans)
    assert {len(bytes.fromhex(each)) for each in ids} == {8}
    assert {len(bytes.fromhex(span["traceId"])) for span in spans} == {16}
    assert {span["parentSpanId"] for span in spans if "parentSpanId" in span} <= ids
    assert [span["name"] for span in spans if "parentSpanId" not in span] == [f"wattvlm {report.label}".strip()]
    assert all(isinstance(span["kind"], int) for span in spans)
    named = [
        each["name"] for of in metrics["resourceMetrics"] for scope in of["scopeMetrics"] for each in scope["metrics"]
    ]
    assert named == ["hw.energy", "hw.power"]

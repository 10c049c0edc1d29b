"""The contract with vLLM's stat loggers, on stand-ins; where vLLM is installed, the stand-ins are held to it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import json
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.runtimes.vllm.shapes import EngineCoreRequest
from tests.serving import shapes
from wattvlm.serving.following import Following, follow, watch_arrivals
from wattvlm.serving.histograms import Histograms
from wattvlm.serving.settings import Engine, Settings

LOGGERS, OUTPUTS = "vllm.v1.metrics.loggers", "vllm.v1.engine.output_processor"
ENGINE = Engine("tiny", 2048, ahead=False)


class Pipe(io.StringIO):
    """A worker's input that stays readable when it is closed."""

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Worker:
    """Both ends of no process."""

    stdin: Pipe = field(default_factory=Pipe)
    stdout: io.StringIO = field(default_factory=io.StringIO)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, cls in ((LOGGERS, shapes.StatLoggerBase), (OUTPUTS, type("OutputProcessor", (shapes.Processor,), {}))):
        module = ModuleType(name)
        setattr(module, "StatLoggerBase" if cls is shapes.StatLoggerBase else "OutputProcessor", cls)
        monkeypatch.setitem(sys.modules, name, module)


def plugin() -> Any:
    return importlib.import_module("wattvlm.serving.stat_logger").RequestJoules


def test_the_plugin_is_a_stat_logger_and_does_nothing_unless_asked(vllm, monkeypatch):
    monkeypatch.delenv("WATTVLM_VLLM", raising=False)
    logger = plugin()(shapes.config(), 0)
    assert isinstance(logger, shapes.StatLoggerBase)
    logger.record(shapes.SchedulerStats(), shapes.IterationStats(), mm_cache_stats=None, engine_idx=0)
    logger.log_engine_initialized()
    logger.log()
    logger.record_sleep_state(1, 1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("WATTVLM_VLLM_WINDOW", "soon", "no window"), ("WATTVLM_VLLM_LISTEN", "here", "no port"),
     ("WATTVLM_VLLM_SHARE_BY", "size", "no rule"), ("WATTVLM_VLLM_PROBES", "[1]", "no sensors")],
)  # fmt: skip
def test_a_setting_that_cannot_be_meant_is_told_and_the_server_goes_on(vllm, monkeypatch, caplog, name, value, words):
    monkeypatch.setenv("WATTVLM_VLLM", "somewhere")
    monkeypatch.setenv(name, value)
    plugin()(shapes.config(), 0).record(None, None)
    assert words in caplog.text
    assert "Cure" in caplog.text


def test_several_engines_or_front_ends_are_refused_in_words(vllm, monkeypatch, caplog):
    monkeypatch.setenv("WATTVLM_VLLM", "somewhere")
    assert follow(shapes.config(engines=2), 0) is None
    assert follow(shapes.config(front_ends=2), 0) is None
    assert "--data-parallel-size 1" in caplog.text


def test_what_requests_did_is_told_by_vllms_own_statistics():
    worker = Worker()
    following = Following(Settings("out"), ENGINE, lambda plan: worker)
    watched = type("Watched", (shapes.Processor,), {})
    watch_arrivals(watched, following)
    processor = watched()
    processor.add_request(shapes.request("a"), None)
    processor.add_request(EngineCoreRequest("pooled", [1], None, pooling_params=object()), None)
    stats = processor.request_states["a"].stats
    stats.num_generation_tokens, stats.scheduled_ts, stats.first_token_ts, stats.last_token_ts = 3, 1.0, 2.0, 4.0
    iteration, scheduler = shapes.IterationStats(), shapes.SchedulerStats()
    iteration.num_generation_tokens = 1
    scheduler.prefix_cache_stats = shapes.PrefixCacheStats(500, 100)
    following.iteration(scheduler, iteration)
    following.iteration(None, None)
    del processor.request_states["a"]
    following.close()
    came, step, empty, at = [json.loads(line) for line in worker.stdin.getvalue().splitlines()]
    assert (came["kind"], came["id"], came["prompt"], came["visual"], came["images"]) == ("came", "a", 26, 16, 1)
    assert (step["kind"], step["tokens"], step["again"]) == ("step", 1, 400)
    assert step["time_ns"] == pytest.approx(time.monotonic_ns(), abs=5e9)
    assert (empty["tokens"], empty["again"]) == (0, 0)
    assert (at["output"], at["first_ns"], at["last_ns"], at["over"]) == (3, 2_000_000_000, 4_000_000_000, True)


def test_a_worker_that_is_gone_costs_nothing_but_the_joules():
    class Gone(Pipe):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    following = Following(Settings("out"), ENGINE, lambda plan: Worker(Gone()))
    for _ in range(10):
        following.iteration(None, shapes.IterationStats())
    following.close()
    following.iteration(None, None)


def test_another_versions_shapes_end_the_joules_with_a_line_and_no_request(caplog):
    following = Following(Settings("out"), ENGINE, lambda plan: Worker())
    watched = type("Other", (), {"add_request": lambda self, request: "added"})
    watch_arrivals(watched, following)
    assert watched().add_request(shapes.request("a")) == "added"
    following.iteration(None, object())
    following.close()
    assert caplog.text.count("can no longer be followed") == 1
    assert "Cure" in caplog.text


def test_histograms_count_requests_and_what_is_no_requests():
    registry = CollectorRegistry()
    found = Histograms(registry)
    energy = {"middle_j": 30.0, "method": "measured", "phases_j": {"prefill": 10.0, "decode": 20.0}}
    found.request({"joules": {"gpu": energy}, "output": 10, "images": 2})
    found.window({"joules": {"gpu": {"block_j": 50.0, "beside_j": 20.0, "method": "measured"}}})
    labels = {"domain": "gpu", "method": "measured"}
    values = {
        "wattvlm_request_joules_sum": 30.0, "wattvlm_request_joules_per_output_token_sum": 3.0,
        "wattvlm_request_joules_per_image_sum": 15.0, "wattvlm_served_joules_total": 50.0,
        "wattvlm_no_request_joules_total": 20.0,
    }  # fmt: skip
    assert {name: registry.get_sample_value(name, labels) for name in values} == values
    assert registry.get_sample_value("wattvlm_request_phase_joules_sum", {**labels, "phase": "decode"}) == 20.0
    assert registry.get_sample_value("wattvlm_request_joules_bucket", {**labels, "le": "50.0"}) == 1.0


def test_a_request_is_asked_for_by_its_id(tmp_path):
    asked = importlib.import_module("wattvlm.serving.asked")
    journal = importlib.import_module("wattvlm.serving.journal").Journal(tmp_path)
    journal.request({"id": "chatcmpl-seven", "joules": {}})
    server = asked.Asked("127.0.0.1", 0, journal.answer, lambda: b"page 1\n")
    try:
        url = f"http://127.0.0.1:{server.taken_port}"
        for name in ("chatcmpl-seven", "seven"):
            with urllib.request.urlopen(f"{url}/requests/{name}", timeout=5) as answer:
                assert json.load(answer)["id"] == "chatcmpl-seven"
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            assert answer.read() == b"page 1\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/requests/unknown", timeout=5)
    finally:
        server.close()


def test_a_span_a_request_is_joined_by_its_id_and_trace():
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra wattvlm[otel]")
    exporting = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = exporting.InMemorySpanExporter()
    spans = importlib.import_module("wattvlm.serving.spans").Spans("", exporter)
    line = dict.fromkeys(("prompt", "cached", "visual", "images", "preemptions", "computed_again", "queue_s", "ttft_s"))
    energy = {"middle_j": 3.0, "low_j": 2.0, "high_j": 4.0, "method": "measured"}
    trace = "0af7651916cd43dd8448eb211c80319c"
    spans.request({
        **line, "id": "x", "model": "tiny", "parent": f"00-{trace}-b7ad6b7169203331-01", "output": 5,
        "shared": "by work", "share_by": "time", "joules": {"gpu": energy}, "arrived_s": 1.0, "ended_s": 2.5,
    })  # fmt: skip
    spans.close()
    (span,) = exporter.get_finished_spans()
    assert span.attributes["gen_ai.request.id"] == "x"
    assert span.attributes["wattvlm.energy.gpu.middle_j"] == 3.0
    assert f"{span.context.trace_id:032x}" == trace
    assert span.end_time - span.start_time == 1_500_000_000


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: nothing to compare with")
def test_the_stand_ins_have_the_shapes_of_the_real_classes():
    stats, loggers = (importlib.import_module(f"vllm.v1.metrics.{name}") for name in ("stats", "loggers"))
    for cls in (shapes.PrefixCacheStats, shapes.SchedulerStats, shapes.RequestStateStats):
        real = {each.name for each in fields(getattr(stats, cls.__name__))}
        assert {each.name for each in fields(cls)} <= real
    assert set(vars(shapes.IterationStats())) <= set(vars(stats.IterationStats()))
    assert shapes.StatLoggerBase.__abstractmethods__ == loggers.StatLoggerBase.__abstractmethods__
    for name in ("__init__", "record", "record_sleep_state"):
        stand_in = list(inspect.signature(getattr(shapes.StatLoggerBase, name)).parameters)
        assert list(inspect.signature(getattr(loggers.StatLoggerBase, name)).parameters) == stand_in
    assert issubclass(plugin(), loggers.StatLoggerBase)

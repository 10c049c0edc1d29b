"""Prometheus' text format, for node_exporter's textfile collector or a push gateway: counts and joules of one report.

Needs the extra wattvlm[prometheus]. Joules of a domain over all of its phases add up to those of the whole block.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, util
from typing import TYPE_CHECKING

from wattvlm.breakdown import boards_of, shares_of_block
from wattvlm.errors import WattvlmError
from wattvlm.renderers._text import legible
from wattvlm.report import Report
from wattvlm.sensing import Domain
from wattvlm.units import NS_PER_S

if TYPE_CHECKING:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

FORMAT = "prometheus"
FILE_EXTENSION = ".prom"
IS_BINARY = False

LABELS = ("domain", "phase", "device", "method")
"""Of every energy. phase: a phase of calls, "between phases" or "outside calls"; of phases that the readings do not
tell apart, their names with + between. device: the boards of the domain. method: measured or modelled."""


def render(report: Report) -> str:
    """The metrics as text; times and bounds of what is not known are left out, never 0.

    WattvlmError names the cure where prometheus_client is not installed.
    """
    if util.find_spec("prometheus_client") is None:
        raise WattvlmError(
            "the text for Prometheus is written by prometheus_client, which is not installed. "
            "Cure: pip install 'wattvlm[prometheus]'"
        )
    client = import_module("prometheus_client")
    registry = client.CollectorRegistry()
    registry.register(_Collector(report))
    text: bytes = client.generate_latest(registry)
    return text.decode()


class _Collector:
    """What prometheus_client asks for metrics."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        yield _facts(self._report)
        yield from _energies(self._report)
        yield from _counts(self._report)
        yield from _metrics(self._report)


def _counter(name: str, words: str, *labels: str) -> CounterMetricFamily:
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(name, words, labels=labels)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(name, words, labels=labels)


def _facts(report: Report) -> Metric:
    names = ("version", "host", "model", "label", "virtual")
    family = _gauge("wattvlm_report", "What was metered, and by which version; always 1.", *names)
    version = report.host.versions.get("wattvlm", "")
    model = report.model.name or report.model.class_name
    values = (version, report.host.name, model, report.label, str(report.virtual).lower())
    family.add_metric([legible(value) for value in values], 1.0)
    return family


def _energies(report: Report) -> Iterator[Metric]:
    joules = _counter(
        "wattvlm_energy_joules", "Joules of the metered block by phase; the middle of the interval.", *LABELS
    )
    bounds = _gauge(
        "wattvlm_energy_bound_joules", "Ends of the 95 % interval of wattvlm_energy_joules_total.", *LABELS, "bound"
    )  # fmt: skip
    power = _gauge("wattvlm_power_watts", "Mean power over the metered block.", "domain", "device", "method")
    idle = _gauge("wattvlm_idle_power_watts", "Power while nothing ran.", "domain", "device", "method")
    seconds = (report.block.duration_ns or 0.0) / NS_PER_S
    for domain in report.domains:
        device, method = _device(report, domain), _method(report.is_modelled(domain))
        for share in shares_of_block(report, domain):
            labels = [domain, "+".join(map(legible, share.phases)), device, method]
            joules.add_metric(labels, share.energy_j)
            for bound, value_j in zip(("low", "high"), share.interval_j, strict=True):
                bounds.add_metric([*labels, bound], value_j)
        if seconds:
            whole_j = report.block.energies[domain].energy.middle_j
            power.add_metric([domain, device, method], whole_j / seconds)
        if domain in report.idle:
            seen = report.idle[domain]
            idle.add_metric([domain, device, _method(seen.modelled)], seen.power_w)
    yield from (joules, bounds, power, idle)


def _device(report: Report, domain: Domain) -> str:
    return ",".join(map(legible, boards_of(report, domain)))


def _method(is_modelled: bool) -> str:
    return "modelled" if is_modelled else "measured"


def _counts(report: Report) -> Iterator[Metric]:
    calls = _counter("wattvlm_calls", "Calls of a model in the metered block.")
    calls.add_metric([], len(report.calls))
    requests = _counter("wattvlm_requests", "Prompts answered: the sum of batch sizes.")
    requests.add_metric([], report.requests)
    yield from (calls, requests)
    if report.images is not None:
        images = _counter("wattvlm_images", "Images in the calls.")
        images.add_metric([], report.images)
        yield images
    tokens = _counter("wattvlm_tokens", "Tokens over all calls, by kind.", "kind")
    times = _counter("wattvlm_phase_seconds", "Time in each phase over all calls.", "phase")
    for name, value in report.metrics().items():
        if name.endswith("_tokens") and value is not None:
            tokens.add_metric([name.removesuffix("_tokens")], value)
    for part in report.phases:
        if part.duration_ns is not None:
            times.add_metric([legible(part.name)], part.duration_ns * len(report.calls) / NS_PER_S)
    yield from (tokens, times)


def _metrics(report: Report) -> Iterator[Metric]:
    """Each metric of the report under its one name."""
    counted = {"requests", "images"}
    domain = report.accelerator
    method = "" if domain is None else _method(report.is_modelled(domain))
    for name, value in report.metrics().items():
        if value is None or name in counted or name.endswith("_tokens"):
            continue
        is_energy = "joules" in name or name.startswith("wh_")
        family = _gauge(f"wattvlm_{name}", _words(name), *(("domain", "method") if is_energy else ()))
        family.add_metric([domain or "", method] if is_energy else [], value)
        yield family


def _words(name: str) -> str:
    """The first line of what the metric is; the property of a Report that has its name says it."""
    described = getattr(Report, name, None)
    return (described.__doc__ or "").split("\n")[0] if isinstance(described, property) else ""

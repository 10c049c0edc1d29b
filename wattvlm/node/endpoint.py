"""What a node tells, over HTTP for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wattvlm.exporting.endpoint import LOOPBACK, empty_registry, listening
from wattvlm.node.families import Family

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

Told = Callable[[], Iterable[Family]]
"""Gives all families as they are now."""


@contextmanager
def endpoint(told: Told, port: int, host: str = LOOPBACK) -> Generator[int, None, None]:
    """An endpoint http://host:port/metrics while the block is open; gives its port (0 takes a free one).

    NoEndpoint where the port is taken, or prometheus_client is not installed.
    """
    with listening(registered(told), port, host) as found_port:
        yield found_port


def text(told: Told) -> str:
    """What one scrape gets; NoEndpoint where prometheus_client is not installed."""
    registry = registered(told)
    from prometheus_client import generate_latest

    return generate_latest(registry).decode()


def registered(told: Told) -> CollectorRegistry:
    """A registry of the node's families and of this process's own memory and CPU time."""
    registry = empty_registry()
    from prometheus_client import ProcessCollector

    ProcessCollector(registry=registry)
    registry.register(_Collector(told))
    return registry


class _Collector:
    """What prometheus_client asks at each scrape."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def describe(self) -> Iterable[Metric]:
        """Nothing: without it the registry would collect once when it is made."""
        return ()

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        for family in self._told():
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.words, labels=family.labels)
            for labels, value in family.samples:
                metric.add_metric(labels, value)
            yield metric

"""An HTTP endpoint for Prometheus: the joules of this machine's sensors as counters, for as long as it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import util
from typing import TYPE_CHECKING, Any

from wattvlm import __version__
from wattvlm.errors import WattvlmError
from wattvlm.exporting.live import LiveEnergies

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from wattvlm.sensing import ProbeSource

LABELS = ("domain", "phase", "device", "method")
"""As in the text of a report (renderer "prometheus"); phase is "all", since no calls are looked for."""

LOOPBACK = "127.0.0.1"


class NoEndpoint(WattvlmError):
    """The endpoint cannot be opened."""


@contextmanager
def endpoint(
    port: int, host: str = LOOPBACK, probes: Sequence[ProbeSource] | None = None
) -> Generator[int, None, None]:
    """An endpoint http://host:port/metrics while the block is open; gives its port (0 takes a free one).

    host: only this machine may read it, unless told otherwise. probes: as in `meter`. NoEndpoint where the port is
    taken, or prometheus_client is not installed. A scrape takes some milliseconds of this process: for a program that
    is measured, `wattvlm watch --listen` beside it takes none of its own.
    """
    registry = empty_registry()
    with LiveEnergies(probes) as live:
        registry.register(_Collector(live))
        with listening(registry, port, host) as found_port:
            yield found_port


def empty_registry() -> CollectorRegistry:
    """A registry of prometheus_client's; NoEndpoint where that is not installed."""
    if util.find_spec("prometheus_client") is None:
        raise NoEndpoint(
            "metrics are written by prometheus_client, which is not installed; nothing is exported. "
            "Cure: pip install 'wattvlm[prometheus]'"
        )
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


@contextmanager
def listening(registry: CollectorRegistry, port: int, host: str) -> Generator[int, None, None]:
    """http://host:port/metrics of a registry while the block is open; gives its port. NoEndpoint where it is taken."""
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as error:
        raise NoEndpoint(
            f"nothing can listen at {host}:{port} ({error}), so nothing is exported. Cure: end what listens there "
            f"(`ss -ltnp 'sport = :{port}'` names it), or another --listen"
        ) from error
    try:
        yield _port_of(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _port_of(server: Any) -> int:
    return int(server.server_port)


class _Collector:
    """What prometheus_client asks at each scrape."""

    def __init__(self, live: LiveEnergies) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        build = GaugeMetricFamily("wattvlm_build", "The version that counts; always 1.", labels=["version"])
        build.add_metric([__version__], 1.0)
        joules = CounterMetricFamily(
            "wattvlm_energy_joules", "Joules up to the sensor's newest reading, since this began.", labels=LABELS
        )
        power = GaugeMetricFamily(
            "wattvlm_power_watts", "Mean power since the scrape before.", labels=["domain", "device", "method"]
        )
        sums: dict[tuple[str, str, str], tuple[float, float]] = {}
        for each in self._live.look():  # two rails of one device are one series
            labels = (each.domain, each.device, "modelled" if each.modelled else "measured")
            energy_j, power_w = sums.get(labels, (0.0, 0.0))
            sums[labels] = (energy_j + each.energy_j, power_w + each.power_w)
        for (domain, device, method), (energy_j, power_w) in sums.items():
            joules.add_metric([domain, "all", device, method], energy_j)
            power.add_metric([domain, device, method], power_w)
        yield from (build, joules, power)

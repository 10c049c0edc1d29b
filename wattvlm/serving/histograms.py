"""Joules of requests for Prometheus: histograms beside the server's own, and what no request has as counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

BUCKETS_J = tuple(factor * 10.0**power for power in range(-3, 5) for factor in (1.0, 2.0, 5.0))
"""From a millijoule to 50 kJ: below a request of a small model, above one of a long video."""


class Histograms:
    """wattvlm_request_joules and its like. registry: None takes the default one, which a server in this process shows.

    Labels have few values: a domain (gpu, cpu, ram), measured or modelled, a phase; never a request.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Histogram

        own: Any = {"registry": REGISTRY if registry is None else registry}
        labels = ["domain", "method"]
        self._joules = Histogram(
            "wattvlm_request_joules", "Joules of a request.", labels, buckets=BUCKETS_J, **own
        )  # fmt: skip
        self._phase = Histogram(
            "wattvlm_request_phase_joules", "Joules of a phase of a request.", [*labels, "phase"],
            buckets=BUCKETS_J, **own,
        )  # fmt: skip
        self._token = Histogram(
            "wattvlm_request_joules_per_output_token", "Joules of a request over the tokens that it gave.", labels,
            buckets=BUCKETS_J, **own,
        )  # fmt: skip
        self._image = Histogram(
            "wattvlm_request_joules_per_image", "Joules of a request over its images.", labels, buckets=BUCKETS_J, **own
        )
        self._devices = Counter(
            "wattvlm_served_joules", "Joules of the devices while the server ran: all requests, waiting and idle.",
            labels, **own,
        )  # fmt: skip
        self._beside = Counter(
            "wattvlm_no_request_joules", "Joules of the devices in which no request was at work.", labels, **own
        )

    def request(self, line: Mapping[str, Any]) -> None:
        """A request is over, and its joules are known."""
        for domain, energy in line["joules"].items():
            labels = (domain, energy["method"])
            self._joules.labels(*labels).observe(energy["middle_j"])
            if line["output"]:
                self._token.labels(*labels).observe(energy["middle_j"] / line["output"])
            if line["images"]:
                self._image.labels(*labels).observe(energy["middle_j"] / line["images"])
            for phase, joules in energy["phases_j"].items():
                self._phase.labels(*labels, phase).observe(joules)

    def window(self, line: Mapping[str, Any]) -> None:
        """A window is over: what the devices drew in it, and what of that was no request's."""
        for domain, energy in line["joules"].items():
            labels = (domain, energy["method"])
            self._devices.labels(*labels).inc(max(energy["block_j"], 0.0))
            self._beside.labels(*labels).inc(max(energy["beside_j"], 0.0))

"""What a node tells, sent to an OpenTelemetry collector over HTTP.

Joules and watts are hw.energy and hw.power (hw.host.energy, hw.host.power of a sensor of the whole node), as the
conventions for hardware have them; all else has its Prometheus name with dots. Counters are cumulative, so that a
sending that fails loses no joule.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wattvlm import __version__
from wattvlm.exporting.telemetry import HW_TYPES, SCOPE, NoTelemetry, need
from wattvlm.host import Host, this_host
from wattvlm.node.families import Family
from wattvlm.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

Told = Callable[[], Iterable[Family]]

_LONGEST_SENDING_S = 10
_LONGEST_END_S = 5
_NAMES_OF_HARDWARE = {"wattvlm_energy_joules": "energy", "wattvlm_power_watts": "power"}

INSTRUMENTS: Mapping[str, tuple[str, str, str]] = {
    "wattvlm_energy_joules": ("counter", "J", "Joules of a device."),
    "wattvlm_power_watts": ("gauge", "W", "Power of a device."),
    "wattvlm_sensor_up": ("gauge", "1", "Whether a channel gives readings."),
    "wattvlm_sensor_absent": ("gauge", "1", "What cannot be measured, and why."),
    "wattvlm_sensor_reads": ("counter", "1", "Reads of a channel."),
    "wattvlm_sensor_read_failures": ("counter", "1", "Reads in vain."),
    "wattvlm_sensor_unread_seconds": ("counter", "s", "Time whose joules are not counted."),
    "wattvlm_server_up": ("gauge", "1", "Whether a server gives its metrics."),
    "wattvlm_served_requests": ("counter", "1", "Requests that ended."),
    "wattvlm_served_prompt_tokens": ("counter", "1", "Tokens of prompts."),
    "wattvlm_served_output_tokens": ("counter", "1", "Tokens generated."),
    "wattvlm_served_requests_running": ("gauge", "1", "Requests under way."),
    "wattvlm_served_energy_joules": ("counter", "J", "Joules while a model had work."),
    "wattvlm_unserved_energy_joules": ("counter", "J", "Joules while no watched server had work."),
}
"""Families that are sent: instruments are made before anything is read. What a host is stands in the resource."""


@contextmanager
def pushing(told: Told, url: str, every_ns: int, host: Host | None = None) -> Generator[None, None, None]:
    """Send all families to a collector (http://127.0.0.1:4318) each `every_ns` while the block is open, and at its end.

    NoTelemetry where the SDK is not installed. A collector that does not answer is tried again at the next sending.
    """
    need("opentelemetry.sdk", "opentelemetry-sdk")
    need("opentelemetry.exporter.otlp.proto.http", "opentelemetry-exporter-otlp-proto-http")
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    if not url.startswith(("http://", "https://")):
        raise NoTelemetry(f"{url!r} is no address of a collector, nothing is sent. Cure: http://127.0.0.1:4318")
    exporter: Any = OTLPMetricExporter(f"{url.rstrip('/')}/v1/metrics", timeout=_LONGEST_SENDING_S)
    reader = PeriodicExportingMetricReader(exporter, every_ns / NS_PER_MS, _LONGEST_SENDING_S * NS_PER_S / NS_PER_MS)
    provider = MeterProvider([reader], resource=_resource(host or this_host()), shutdown_on_exit=False)
    instruments(told, provider.get_meter(SCOPE, __version__))
    try:
        yield
    finally:
        provider.shutdown(_LONGEST_END_S * NS_PER_S / NS_PER_MS)  # sends what was counted since the last time


def _resource(host: Host) -> Any:
    from opentelemetry.sdk.resources import Resource

    facts = {
        "service.name": SCOPE,
        "service.version": __version__,
        "host.name": host.name,
        "os.description": host.system,
    }
    return Resource.create({**facts, "host.cpu.model.name": host.cpu})


def instruments(told: Told, meter: Meter) -> None:
    """Make all instruments; each gives its family when the SDK collects."""
    look = _OneLook(told)
    for name, (kind, unit, words) in INSTRUMENTS.items():
        create = meter.create_observable_counter if kind == "counter" else meter.create_observable_gauge
        if name in _NAMES_OF_HARDWARE:
            part = _NAMES_OF_HARDWARE[name]
            create(f"hw.{part}", [_of_devices(look, name, whole_node=False)], unit, words)
            create(
                f"hw.host.{part}", [_of_devices(look, name, whole_node=True)], unit, f"{words[:-1]}: the whole node."
            )
        else:
            create(name.replace("_", ".", 2), [_plainly(look, name)], unit, words)


class _OneLook:
    """The families as they were at the first question of a collection, so that one sending is of one moment.

    The SDK asks each instrument once a collection: a question that was asked before begins the next.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._asked: set[tuple[str, bool]] = set()
        self._families: dict[str, Family] = {}

    def samples(self, name: str, whole_node: bool = False) -> Iterable[tuple[dict[str, str], float]]:
        """(labels, value) of each sample of a family; none where it is not told."""
        with self._lock:
            if not self._asked or (name, whole_node) in self._asked:
                self._families = {family.name: family for family in self._told()}
                self._asked.clear()
            self._asked.add((name, whole_node))
            family = self._families.get(name)
        if family is None:
            return ()
        return [(dict(zip(family.labels, labels)), value) for labels, value in family.samples]


def _plainly(look: _OneLook, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observed(_: CallbackOptions) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        for of, value in look.samples(name):
            yield Observation(value, {f"wattvlm.{label}": text for label, text in of.items()})

    return observed


def _of_devices(look: _OneLook, name: str, *, whole_node: bool) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observed(_: CallbackOptions) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        for of, value in look.samples(name, whole_node):
            if (of["domain"] == "node") is whole_node:
                yield Observation(value, _hardware(of))

    return observed


def _hardware(of: Mapping[str, str]) -> dict[str, str]:
    types: Mapping[str, str] = {str(domain): name for domain, name in HW_TYPES.items()}
    hardware = {"hw.id": of["device"], "wattvlm.method": of["method"]}
    return hardware if of["domain"] == "node" else {**hardware, "hw.type": types.get(of["domain"], of["domain"])}

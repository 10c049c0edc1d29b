"""One run of the exporter: sensors and servers are read in the background, and what they say goes out both ways."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wattvlm.clock import Clock, SystemClock
from wattvlm.host import Host, this_host
from wattvlm.node.families import Family, node_families
from wattvlm.node.sensors import NodeSensors, ReadSensors
from wattvlm.node.serving import LookingAtServers, Servers
from wattvlm.sensing import ProbeSource
from wattvlm.units import NS_PER_S
from wattvlm.watching.server import MetricsPage

LOOK_EVERY_NS = 5 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Node:
    """What is being read: sensors, and servers where there are any."""

    sensors: NodeSensors
    servers: Servers | None
    clock: Clock
    host: Host

    def told(self) -> Iterator[Family]:
        """All families as they are now; names and labels stay the same while the hardware does."""
        yield from node_families(self.host, self.sensors.seen(), self.clock.monotonic_ns())
        if self.servers is not None:
            yield from self.servers.families()


@contextmanager
def reading(
    pages: Sequence[MetricsPage] = (),
    *,
    probes: Sequence[ProbeSource] | None = None,
    look_every_ns: int = LOOK_EVERY_NS,
) -> Generator[Node, None, None]:
    """A Node that is read while the block is open. pages: of servers. probes: as in `meter`."""
    with ReadSensors(probes) as sensors:
        if not pages:
            yield Node(sensors, None, SystemClock(), this_host())
            return
        with LookingAtServers(pages, sensors, look_every_ns) as servers:
            yield Node(sensors, servers, SystemClock(), this_host())

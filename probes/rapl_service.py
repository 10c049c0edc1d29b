"""RAPL for users who may not read it: through `wattvlm serve-rapl`, a service of root that reads it for a group.

Nothing is opened where one powercap counter can be read without it, so that no joule is counted twice; the channels
have the names that `rapl.py` gives them, and say by whom they are read.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.probes import _rapl_socket
from wattvlm.probes._rapl_socket import SOCKET
from wattvlm.probes._rapl_zones import can_be_read
from wattvlm.sensing import DOMAINS, Absence, Channel, Domain, EnergyReading, Sensors

POWERCAP_ROOTS = (Path("/sys/class/powercap"), Path("/host/sys/class/powercap"))

_START_IT = "sudo wattvlm serve-rapl --group wattvlm, or its systemd unit (docs, Fleets)"
_FACTS = frozenset(field.name for field in fields(Channel))


class RaplServiceProbe:
    """All RAPL zones that a service on this machine reads for this user.

    path: its socket. powercap_roots: folders in which a readable counter makes this probe see nothing. opener: tries
    such a counter.
    """

    domain: Domain = "cpu"

    def __init__(
        self,
        path: str | Path = SOCKET,
        clock: Clock | None = None,
        powercap_roots: Sequence[Path] = POWERCAP_ROOTS,
        cpuinfo: Path = Path("/proc/cpuinfo"),
        opener: Callable[[Path, int], int] = os.open,
    ) -> None:
        self._path = Path(path)
        self._clock: Clock = clock or SystemClock()
        self._powercap_roots = tuple(powercap_roots)
        self._cpuinfo = cpuinfo
        self._opener = opener
        self._wire: socket.socket | None = None
        self._names: tuple[str, ...] = ()

    def open(self) -> Sensors:
        """What the service reads; sees nothing where there is none, or where powercap can be read without it."""
        self.close()
        if not _rapl_socket.is_there(self._path) or can_be_read(self._powercap_roots, self._cpuinfo, self._opener):
            return Sensors(())
        try:
            channels, facts = self._connect()
        except (OSError, ValueError) as error:
            self.close()
            return Sensors((), (self._unusable(error),))
        self._names = tuple(channel.name for channel in channels)
        return Sensors(channels, (), facts)

    def _connect(self) -> tuple[tuple[Channel, ...], dict[str, str]]:
        self._wire = _rapl_socket.connected(self._path)
        told: Any = json.loads(_rapl_socket.listed(self._wire))
        try:
            channels = tuple(self._channel(each) for each in told["channels"])
            facts = {str(name): str(fact) for name, fact in told["facts"].items()}
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"it tells of its channels in another way ({error!r})") from error
        return channels, facts

    def _channel(self, told: Mapping[str, Any]) -> Channel:
        """A channel as the service describes it, which is trusted to be root's and not to be of this version."""
        known: dict[str, Any] = {name: fact for name, fact in told.items() if name in _FACTS}
        if known["domain"] not in DOMAINS or known["method"] != "counter" or "/" not in known["name"]:
            raise ValueError(f"it tells of a channel that is none: {str(told)[:100]}")
        source = cast("dict[str, str]", known.pop("source", {}))
        value = f"powercap, read by the service at {self._path}, since this user may not"
        sensor = f"{known.pop('sensor')} (read by the service)"
        return Channel(sensor=sensor, source={"value": value, **source}, **known)

    def _unusable(self, error: Exception) -> Absence:
        if isinstance(error, PermissionError):
            what = f"denied: this user may not use the service's socket {self._path}"
            remedy = "become a member of the socket's group (sudo usermod -aG GROUP USER) and log in again"
        else:
            what = f"the RAPL service at {self._path} cannot be used: {error}"
            remedy = _START_IT
        return Absence("cpu", what, "CPU and RAM joules are not measured through it", remedy)

    def read(self, channel: Channel) -> Sequence[EnergyReading]:
        """The counter now, in joules; about a tenth of a millisecond. A service that was started again is found."""
        if channel.name not in self._names:
            raise ProbeLost(f"{channel.name} is not open; its joules are absent. Cure: open the probe first")
        try:
            wire = self._wire or self._again()
            before_ns = self._clock.monotonic_ns()
            status, energy_j = _rapl_socket.read(wire, self._names.index(channel.name))
            after_ns = self._clock.monotonic_ns()
        except (OSError, ValueError) as error:
            self._hang_up()
            raise ProbeRetry(f"the RAPL service at {self._path} did not answer: {error}") from error
        if status == _rapl_socket.GONE:
            raise ProbeLost(f"RAPL lost {channel.name}; its joules end here. Cure: see `dmesg | grep -i rapl`")
        if status != _rapl_socket.GOOD:
            raise ProbeRetry(f"the RAPL service could not read {channel.name}")
        return (EnergyReading(channel.name, before_ns, after_ns, after_ns - before_ns, energy_j),)

    def _again(self) -> socket.socket:
        """A connection to a service that was started again meanwhile; ProbeLost where it reads something else now."""
        channels, _ = self._connect()
        if tuple(channel.name for channel in channels) != self._names:
            self._hang_up()
            raise ProbeLost("the RAPL service reads other channels than before; joules end here. Cure: meter again")
        wire = self._wire
        if wire is None:
            raise ConnectionResetError("the service hung up")
        return wire

    def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def close(self) -> None:
        """Ends the connection."""
        self._names = ()
        self._hang_up()


PROBE = RaplServiceProbe

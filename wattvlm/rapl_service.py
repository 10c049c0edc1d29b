"""A small service of root that reads RAPL for a group of users, over a Unix socket: `wattvlm serve-rapl`.

Reading needs root since CVE-2020-8694 (power readings can betray secrets of other users). The service opens the
counters when it starts and nothing afterwards: a request is eight bytes and names no path (`probes/_rapl_socket.py`).
One thread serves all; whoever is slow, silent, greedy or talks nonsense loses its own connection and holds up no other.
"""

from __future__ import annotations

import grp
import json
import os
import selectors
import socket
import stat
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable, WattvlmError
from wattvlm.probes import _rapl_socket as protocol
from wattvlm.sensing import Channel, Probe
from wattvlm.units import NS_PER_S

MOST_CONNECTIONS = 256
MOST_OF_ONE_USER = 32
MOST_REQUESTS_A_SECOND = 1000
"""Of one connection: a meter reads a channel a hundred times a second."""

MOST_UNSENT_BYTES = 2 * protocol.LONGEST_LIST_BYTES
LONGEST_SILENCE_NS = 120 * NS_PER_S

_TURN_BYTES = 8 * protocol.REQUEST.size
"""Read of one connection before it is another's turn."""

_LOOK_S = 0.5
_MODE = 0o660
_PEER = struct.Struct("iII")
"""struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)."""


class NoService(WattvlmError):
    """The service cannot be started."""


@dataclass(slots=True)
class _Connection:
    """One client: what it has sent of a request, what it has not taken of the answers, and how much it asked."""

    wire: socket.socket
    user: int
    heard_ns: int
    request: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    second: int = 0
    asked: int = 0


class RaplService:
    """Answers on a listening socket by what a probe reads. clock: for silence and rates."""

    def __init__(self, probe: Probe, listener: socket.socket, clock: Clock | None = None) -> None:
        self._probe = probe
        self._listener = listener
        self._clock: Clock = clock or SystemClock()
        self._selector = selectors.DefaultSelector()
        self._connections: dict[int, _Connection] = {}
        self.channels: tuple[Channel, ...] = ()
        self._list = b""

    def open(self) -> None:
        """Open the counters; NoService where there is none to read."""
        try:
            found = self._probe.open()
        except ProbeUnavailable as error:
            raise NoService(str(error)) from error
        if not found.channels:
            raise NoService("; ".join(f"{each.what}. Cure: {each.remedy}" for each in found.absent) or "no RAPL zone")
        self.channels = found.channels
        told = {"channels": [asdict(each) for each in found.channels], "facts": dict(found.facts)}
        text = json.dumps(told, default=dict).encode()
        self._list = protocol.LENGTH.pack(protocol.MAGIC, len(text)) + text
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve_until(self, stop: Callable[[], bool]) -> None:
        """Answer until `stop` says so, which is asked twice a second at least."""
        while not stop():
            self.turn(_LOOK_S)

    def turn(self, longest_s: float) -> None:
        """Serve whoever is ready, each a little; wait for somebody for so long at most."""
        for key, events in self._selector.select(longest_s):
            if key.fileobj is self._listener:
                self._accept()
                continue
            connection = self._connections.get(key.fd)
            if connection is not None and not self._serve(connection, events):
                self._end(connection)
        now_ns = self._clock.monotonic_ns()
        for connection in list(self._connections.values()):
            if now_ns - connection.heard_ns > LONGEST_SILENCE_NS:
                self._end(connection)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def _accept(self) -> None:
        try:
            wire, _ = self._listener.accept()
        except OSError:  # it hung up before its turn came, or this process has no descriptor left
            return
        user = _user(wire)
        own = sum(each.user == user for each in self._connections.values())
        if len(self._connections) >= MOST_CONNECTIONS or own >= MOST_OF_ONE_USER:
            wire.close()
            return
        wire.setblocking(False)
        self._connections[wire.fileno()] = _Connection(wire, user, self._clock.monotonic_ns())
        self._selector.register(wire, selectors.EVENT_READ)

    def _serve(self, connection: _Connection, events: int) -> bool:
        """Read a little and send what is due; False where the connection is to end."""
        try:
            if events & selectors.EVENT_READ and not self._hear(connection):
                return False
            if connection.unsent:
                del connection.unsent[: connection.wire.send(connection.unsent)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False
        if len(connection.unsent) > MOST_UNSENT_BYTES:
            return False
        writing = selectors.EVENT_WRITE if connection.unsent else 0
        self._selector.modify(connection.wire, selectors.EVENT_READ | writing)
        return True

    def _hear(self, connection: _Connection) -> bool:
        content = connection.wire.recv(_TURN_BYTES)
        if not content:
            return False
        connection.request += content
        while len(connection.request) >= protocol.REQUEST.size:
            request = bytes(connection.request[: protocol.REQUEST.size])
            del connection.request[: protocol.REQUEST.size]
            answer = self._answer(request) if self._may_ask(connection) else None
            if answer is None:
                return False
            connection.unsent += answer
        return True

    def _may_ask(self, connection: _Connection) -> bool:
        now_ns = self._clock.monotonic_ns()
        connection.heard_ns = now_ns
        second = now_ns // NS_PER_S
        if second != connection.second:
            connection.second, connection.asked = second, 0
        connection.asked += 1
        return connection.asked <= MOST_REQUESTS_A_SECOND

    def _answer(self, request: bytes) -> bytes | None:
        """The answer to eight bytes; None for nonsense."""
        magic, wanted, number, zero = protocol.REQUEST.unpack(request)
        if magic != protocol.MAGIC or zero:
            return None
        if wanted == protocol.LIST and number == 0:
            return self._list
        if wanted != protocol.READ or number >= len(self.channels):
            return None
        status, energy_j = protocol.GOOD, 0.0
        try:
            channel: Channel = self.channels[int(number)]
            readings = self._probe.read(channel)
            energy_j = getattr(readings[-1], "energy_j", 0.0)
        except ProbeRetry:
            status = protocol.FAILED
        except ProbeLost:
            status = protocol.GONE
        except Exception:  # whatever a read raises, the service goes on for the others
            status = protocol.FAILED
        return protocol.READING.pack(protocol.MAGIC, status, number, 0, energy_j)

    def _end(self, connection: _Connection) -> None:
        self._connections.pop(connection.wire.fileno(), None)
        self._selector.unregister(connection.wire)
        connection.wire.close()

    def close(self) -> None:
        """End all connections and give the counters back."""
        for connection in list(self._connections.values()):
            self._end(connection)
        self._selector.close()
        self._probe.close()


def _user(wire: socket.socket) -> int:
    """The user id of who connected, as the kernel tells it."""
    _, user, _ = _PEER.unpack(wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(user)


@contextmanager
def listening(path: Path, group: str | None) -> Generator[socket.socket, None, None]:
    """A listening socket that only its owner and a group may use; it is removed at the end.

    NoService where the path is taken, the folder is missing, or the group is not known.
    """
    owner = _group_id(group)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o777 & ~_MODE)  # nobody may connect before its group is set
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise NoService(f"nothing can listen at {path} ({error}). Cure: sudo mkdir -p {path.parent}") from error
    finally:
        os.umask(before)
    try:
        if owner is not None:
            os.chown(path, -1, owner)
        listener.listen(MOST_OF_ONE_USER)
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _group_id(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise NoService(f"there is no group {group!r}. Cure: sudo groupadd --system {group}") from error


def _clear(path: Path) -> None:
    """Remove the socket of a service that was killed; NoService where something else is there, or one answers."""
    try:
        found = path.lstat()
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise NoService(f"{path} is no socket and is left alone. Cure: another --socket")
    if protocol.can_be_used(path):
        raise NoService(f"a service answers at {path} already. Cure: end it first, or another --socket")
    path.unlink(missing_ok=True)

"""The wire between the service that reads RAPL and those who may not: fixed requests, fixed answers, no path in either.

A request is eight bytes: the name and version of the protocol, what is wanted (LIST or READ), the number of a channel,
two bytes that are zero. READ is answered by sixteen bytes (status, number, joules), LIST by eight bytes with the length
of a JSON text, and the text: {"channels": [...], "facts": {...}}. A part of `rapl_service.py`, and of its service.
"""

from __future__ import annotations

import socket
from pathlib import Path
from struct import Struct

SOCKET = Path("/run/wattvlm/rapl.sock")
"""Where the service listens and the sensor looks, unless told otherwise."""

MAGIC = b"WVR1"
LIST, READ = 1, 2
GOOD, FAILED, GONE = 0, 1, 2
"""Of a read: it worked; it failed and the next may work; the channel will not come back."""

REQUEST = Struct("<4sBBH")
READING = Struct("<4sBBHd")
LENGTH = Struct("<4sI")

LONGEST_LIST_BYTES = 2**18
_LONGEST_ANSWER_S = 2.0


def is_there(path: Path) -> bool:
    """There is a socket, or a folder of it that this user may not look into, as that of the systemd unit."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def can_be_used(path: Path) -> bool:
    """A service answers at the socket, and this user may talk to it."""
    try:
        connected(path).close()
    except OSError:
        return False
    return True


def connected(path: Path) -> socket.socket:
    """A connection to the service; OSError where there is none to be had."""
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        wire.settimeout(_LONGEST_ANSWER_S)
        wire.connect(str(path))
    except BaseException:
        wire.close()
        raise
    return wire


def received(wire: socket.socket, length: int) -> bytes:
    """So many bytes; ConnectionError where the service hangs up before."""
    content = b""
    while len(content) < length:
        more = wire.recv(length - len(content))
        if not more:
            raise ConnectionResetError("the service hung up")
        content += more
    return content


def listed(wire: socket.socket) -> bytes:
    """The service's JSON text about its channels; ValueError for an answer in another protocol."""
    wire.sendall(REQUEST.pack(MAGIC, LIST, 0, 0))
    magic, length = LENGTH.unpack(received(wire, LENGTH.size))
    if magic != MAGIC or length > LONGEST_LIST_BYTES:
        raise ValueError("it speaks another protocol")
    return received(wire, length)


def read(wire: socket.socket, number: int) -> tuple[int, float]:
    """(status, joules) of one channel now; ValueError for an answer in another protocol."""
    wire.sendall(REQUEST.pack(MAGIC, READ, number, 0))
    magic, status, answered, _, energy_j = READING.unpack(received(wire, READING.size))
    if magic != MAGIC or answered != number:
        raise ValueError("it speaks another protocol")
    return status, energy_j

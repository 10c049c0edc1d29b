"""Which process answers at an address: from the listening socket to its process, where that is on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class Server:
    """A server. is_local: on this machine; None where its name could not be resolved. pid: of the process that listens
    there, the eldest of several; None where it cannot be seen. members: processes of its tree. words: its command line.
    """

    address: str
    is_local: bool | None
    pid: int | None = None
    members: int = 0
    words: tuple[str, ...] = ()
    folder: Path = Path()

    @property
    def title(self) -> str:
        """Program and subcommand, without options: they may hold keys."""
        shown: list[str] = []
        for position, word in enumerate(self.words):
            if word.startswith("-") and not (word == "-m" and position == 1 and "python" in self.words[0]):
                break
            shown.append(os.path.basename(word.rstrip("/")) if "/" in word else word)  # noqa: PTH119  # not our path
        return " ".join(shown[:4])


def server_at(host: str, port: int, proc: Path = Path("/proc")) -> Server:
    """The server that listens at a host's port. Takes milliseconds: it looks through the processes' open files."""
    address = f"{host}:{port}"
    is_local = is_this_machine(host)
    if not is_local:
        return Server(address, is_local)
    holders = _holders(_listening_inodes(port, proc), proc)
    parents = {pid: _parent(pid, proc) for pid in _pids(proc)}
    eldest = min((pid for pid in holders if parents.get(pid) not in holders), default=None)
    if eldest is None:
        return Server(address, True)
    words = tuple(_read(proc / str(eldest) / "cmdline").rstrip("\0").split("\0"))
    try:
        folder = (proc / str(eldest) / "cwd").resolve()
    except OSError:
        folder = Path()
    return Server(address, True, eldest, len(_tree(eldest, parents)), words, folder)


def is_this_machine(host: str) -> bool | None:
    """Whether a host is this machine: packets to it would leave from its own address. None: its name is not known."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), 9, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)  # of a datagram socket: chooses the route, sends nothing
                if probe.getsockname()[0] == address[0]:
                    return True
        except OSError:
            continue
    return False


def any_runs(word: str, proc: Path = Path("/proc")) -> bool:
    """Whether a process of this machine has a word in its command line. Takes a tenth of what `server_at` does."""
    return any(word in _read(proc / str(pid) / "cmdline").lower() for pid in _pids(proc))


def _listening_inodes(port: int, proc: Path) -> set[str]:
    """Inodes of the sockets that listen on a port, by /proc/net/tcp (proc_pid_net(5))."""
    inodes: set[str] = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in _read(proc / "self" / table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _holders(inodes: set[str], proc: Path) -> set[int]:
    """Processes that hold one of the sockets open and may be looked at."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return {pid for pid in _pids(proc) if wanted and not wanted.isdisjoint(_open_files(pid, proc))}


def _open_files(pid: int, proc: Path) -> Iterator[str]:
    folder = proc / str(pid) / "fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208  # thousands of names: strings are enough
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"{folder}/{name}")  # noqa: PTH115  # thousands of links
        except OSError:
            continue


def _pids(proc: Path) -> list[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]


def _parent(pid: int, proc: Path) -> int | None:
    after_name = _read(proc / str(pid) / "stat").rpartition(")")[2].split()
    return int(after_name[1]) if len(after_name) > 1 else None


def _tree(root: int, parents: dict[int, int | None]) -> set[int]:
    members = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in members} - members
        if not more:
            return members
        members |= more


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

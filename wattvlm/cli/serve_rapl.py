"""`wattvlm serve-rapl`: RAPL for users who may not read it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType

import click

from wattvlm.cli import COULD_NOT_MEASURE


@click.command("serve-rapl")
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help="Where to listen [/run/wattvlm/rapl.sock].",
    metavar="PATH",
)
@click.option("--group", metavar="NAME", help="The group whose members may read [the one that this runs as].")
def command(path: Path | None, group: str | None) -> None:
    """Read RAPL for users who may not, as root.

    Members of the group may read the joules of CPUs and memory through a socket, and nothing else; meters and
    `wattvlm export` find it by themselves. It runs until SIGTERM or Ctrl-C.

    Exit code 3 where there is nothing to read, or nowhere to listen.
    """
    from wattvlm.errors import WattvlmError
    from wattvlm.probes._rapl_socket import SOCKET
    from wattvlm.probes.rapl import RaplProbe
    from wattvlm.rapl_service import RaplService, listening

    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
    chosen = path or SOCKET
    try:
        with listening(chosen, group) as listener:
            service = RaplService(RaplProbe(service=None), listener)
            try:
                service.open()
                names = ", ".join(channel.name for channel in service.channels)
                click.echo(f"{names} at {chosen} for group {group or os.getegid()}", err=True)
                service.serve_until(ended.is_set)
            finally:
                service.close()
    except WattvlmError as error:
        click.echo(f"{error}; nothing is read for anybody", err=True)
        raise SystemExit(COULD_NOT_MEASURE) from error

"""`wattvlm export`: a node exporter of joules and watts."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from wattvlm.cli import COULD_NOT_MEASURE
from wattvlm.cli.watch import duration, listening
from wattvlm.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from wattvlm.node.session import Node
    from wattvlm.watching.server import MetricsPage

_PORT = 9464
_LOOK_S = 2.5
"""For --once: two readings of everything, and a power."""


@click.command("export")
@click.option(
    "--listen", callback=listening, metavar="[HOST:]PORT",
    help=f"Answer Prometheus there [{_PORT} on this machine alone; nowhere with --otlp alone].",
)  # fmt: skip
@click.option(
    "--server", "urls", multiple=True, metavar="URL",
    help="A model server of this machine whose /metrics tell what its models did; may be given again.",
)  # fmt: skip
@click.option("--anyway", is_flag=True, help="Take a server although it seems to be on another machine.")
@click.option(
    "--look-every", "look_every_ns", callback=duration, default="5s", show_default=True, metavar="TIME",
    help="Time between looks at the servers.",
)  # fmt: skip
@click.option("--otlp", metavar="URL", help="Send metrics to an OpenTelemetry collector, http://127.0.0.1:4318.")
@click.option(
    "--push-every", "push_every_ns", callback=duration, default="15s", show_default=True, metavar="TIME",
    help="Time between sendings.",
)  # fmt: skip
@click.option("--for", "duration_ns", callback=duration, metavar="TIME", help="How long: 90s, 2m, 1h [until ended].")
@click.option("--once", is_flag=True, help="Print what a scrape would get after a few seconds, and end.")
def command(
    listen: tuple[str, int] | None, urls: tuple[str, ...], anyway: bool, look_every_ns: int, otlp: str | None,
    push_every_ns: int, duration_ns: int | None, once: bool,
) -> None:  # fmt: skip
    """Give this machine's joules and watts to Prometheus, or to an OpenTelemetry collector.

    A service for each node: counters of every GPU, CPU and memory, whether they are measured or modelled, what is
    absent and why, and with --server the joules of each served model. Its memory does not grow. SIGTERM and Ctrl-C end
    it.

    Exit code 0 when it is ended, 2 where a server is on another machine, 3 where it cannot listen or send.
    """
    from wattvlm.errors import WattvlmError
    from wattvlm.node.session import reading

    ended = _ended_by_signals()
    try:
        with reading(_pages(urls, anyway), look_every_ns=look_every_ns) as node:
            if once:
                _print_once(node, ended)
            else:
                _serve(node, listen, otlp, push_every_ns, duration_ns, ended)
    except WattvlmError as error:
        click.echo(str(error), err=True)
        raise SystemExit(COULD_NOT_MEASURE) from error


def _ended_by_signals() -> threading.Event:
    """Set by SIGTERM, by which services are stopped, and by Ctrl-C."""
    ended = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ender(ended))
    return ended


def _ender(ended: threading.Event) -> Callable[[int, FrameType | None], None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    return end


def _pages(urls: Sequence[str], anyway: bool) -> list[MetricsPage]:
    """The servers' pages; a usage error where one is no address or on another machine."""
    from wattvlm.cli.watch import served_at
    from wattvlm.watching.server import MetricsPage

    return [served_at(url, MetricsPage, anyway)[0] for url in urls]


def _print_once(node: Node, ended: threading.Event) -> None:
    from wattvlm.node.endpoint import text

    ended.wait(_LOOK_S)
    click.echo(text(node.told), nl=False)


def _serve(
    node: Node, listen: tuple[str, int] | None, otlp: str | None, push_every_ns: int, duration_ns: int | None,
    ended: threading.Event,
) -> None:  # fmt: skip
    with ExitStack() as opened:
        if otlp is not None:
            from wattvlm.node.pushing import pushing

            opened.enter_context(pushing(node.told, otlp, push_every_ns))
            click.echo(f"joules are sent to {otlp}", err=True)
        if listen is not None or otlp is None:
            from wattvlm.node.endpoint import endpoint

            host, port = listen or ("127.0.0.1", _PORT)
            taken = opened.enter_context(endpoint(node.told, port, host))
            click.echo(f"joules for Prometheus at http://{host}:{taken}/metrics", err=True)
        ended.wait(None if duration_ns is None else duration_ns / NS_PER_S)

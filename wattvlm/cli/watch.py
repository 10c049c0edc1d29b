"""`wattvlm watch`: a running server, metered from outside."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wattvlm.cli import COULD_NOT_MEASURE
from wattvlm.units import NS_PER_MS, NS_PER_S, format_ns

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from wattvlm.report import Report
    from wattvlm.runtimes.openai_stream.servers import Server
    from wattvlm.watching import MetricsPage, Served, Watched

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_HIGHEST_PORT = 65_535
_PER = {"requests": "request", "prompt_tokens": "prompt token", "output_tokens": "output token"}


def duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A duration in ns as people write it."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip())
    seconds = 0.0 if match is None or match[2] not in _UNITS else float(match[1]) * _UNITS[match[2]]
    if seconds <= 0:
        raise click.BadParameter(f"{value!r} is no duration; it looks like 90s, 2m or 1h")
    return round(seconds * NS_PER_S)


def listening(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """Host and port; the loopback where no host is given."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdecimal()) or int(port) > _HIGHEST_PORT:
        raise click.BadParameter(f"{value!r} is no port; it looks like 9464 or 0.0.0.0:9464")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command("watch")
@click.argument("url", required=False)
@click.option("--for", "duration_ns", callback=duration, metavar="TIME", help="How long: 90s, 2m, 1h [to Ctrl-C].")
@click.option(
    "--interval", "interval_ns", callback=duration, default="1s", show_default=True, metavar="TIME",
    help="Time between looks at the server's metrics.",
)  # fmt: skip
@click.option(
    "--listen", callback=listening, metavar="[HOST:]PORT",
    help="Meanwhile give joules to Prometheus at /metrics there; HOST is this machine alone unless given.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Save the report as JSON.")
@click.option("--anyway", is_flag=True, help="Watch although the server seems to be on another machine.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    url: str | None, duration_ns: int | None, interval_ns: int, listen: tuple[str, int] | None, output: Path | None,
    anyway: bool, as_json: bool,
) -> None:  # fmt: skip
    """Meter a running model server from outside.

    Reads this machine's sensors and the server's own /metrics (vLLM, llama.cpp with --metrics, SGLang, TGI and others
    like them), until the time is over or Ctrl-C. Joules are those of the window in which the server had work, shared by
    all requests in it. Only llama.cpp's server tells each request's work (--slots): it is a call of the report then.
    (Of vLLM, the plugin in the server knows more: docs/serving.md.)

    With --listen and no URL, joules are given to Prometheus for as long as it runs, and no report is made.

    Exit code 0 where there are joules, 2 where the server is on another machine, 3 where nothing could be measured.
    """
    from wattvlm.errors import WattvlmError
    from wattvlm.watching import MetricsPage, watch

    if url is None and listen is None:
        raise click.UsageError("give the URL of a server, or --listen, or both")
    page, server = (None, None) if url is None else served_at(url, MetricsPage, anyway)
    _end_as_by_ctrl_c()
    try:
        with _endpoint(listen):
            if page is None or server is None:
                _wait(duration_ns)
                return
            if duration_ns is None and sys.stderr.isatty():
                click.echo("watching; Ctrl-C ends it and shows the summary", err=True)
            watched = watch(page, duration_ns=duration_ns, interval_ns=max(interval_ns, 10 * NS_PER_MS))
    except WattvlmError as error:
        click.echo(f"{error}; nothing was measured", err=True)
        raise SystemExit(COULD_NOT_MEASURE) from error
    if output is not None:
        watched.report.save(output)
    click.echo(json.dumps(_plain(watched, page.address), indent=2) if as_json else _text(watched, page.address, server))
    raise SystemExit(0 if watched.report.domains else COULD_NOT_MEASURE)


def served_at(url: str, page_of: type[MetricsPage], anyway: bool) -> tuple[MetricsPage, Server]:
    """The server at a URL; a usage error where it is none, or not on this machine."""
    from wattvlm.runtimes.openai_stream.servers import server_at

    try:
        page = page_of(url)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    server = server_at(page.host, page.port)
    if not server.is_local and not anyway:
        raise click.UsageError(
            f"{page.host} is not this machine, whose sensors would be read: the joules would be another's. Cure: run "
            "this where the server runs, or --anyway where you know that it is here (a container's network hides it)"
        )
    return page, server


def _end_as_by_ctrl_c() -> None:
    """SIGTERM, by which services are stopped, ends a watch with its summary too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def _endpoint(listen: tuple[str, int] | None) -> Generator[None, None, None]:
    if listen is None:
        yield
        return
    from wattvlm.exporting.endpoint import endpoint

    host, port = listen
    with endpoint(port, host) as taken:
        click.echo(f"joules for Prometheus at http://{host}:{taken}/metrics", err=True)
        yield


def _wait(duration_ns: int | None) -> None:
    """Until the time is over or Ctrl-C."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait(None if duration_ns is None else duration_ns / NS_PER_S)


def _joules(report: Report, served: Served | None) -> dict[str, Any]:
    """Energies of the window over what was served in it, by name; empty where there are none."""
    from wattvlm.errors import NotResolved
    from wattvlm.watching.session import WITH_WORK

    if served is None:
        return {}
    try:
        energy = report.joules(WITH_WORK)
    except (KeyError, NotResolved):
        return {}
    counts = {name: getattr(served, name) for name in _PER}
    return {name: energy.per(count) for name, count in counts.items() if count}


def _plain(watched: Watched, address: str) -> dict[str, Any]:
    report, served = watched.report, watched.served
    ratios = {
        f"joules_per_{_PER[name].replace(' ', '_')}": {
            "middle_j": energy.middle_j, "low_j": energy.interval_j[0], "high_j": energy.interval_j[1],
            "method": energy.method,
        }
        for name, energy in _joules(report, served).items()
    }  # fmt: skip
    return {
        "kind": "wattvlm watch", "url": address, "domain": report.accelerator, **ratios,
        "window_s": None if served is None else (served.end_ns - served.start_ns) / NS_PER_S,
        "watched_s": None if report.block.duration_ns is None else report.block.duration_ns / NS_PER_S,
        "served": None if served is None else _plain_served(served),
        "why_not": watched.why_not,
        "block_joules": {
            domain: {"middle_j": part.energy.middle_j, "low_j": part.energy.interval_j[0],
                     "high_j": part.energy.interval_j[1], "method": part.energy.method}
            for domain, part in report.block.energies.items()
        },
        "requests": [
            {
                "name": call.label, "output_tokens": call.tokens.output, "cached_tokens": call.tokens.cached_input,
                "joules": {
                    domain: {"middle_j": part.energy.middle_j, "low_j": part.energy.interval_j[0],
                             "high_j": part.energy.interval_j[1], "method": part.energy.method}
                    for domain, part in call.total.energies.items()
                },
            }
            for call in report.calls
        ],
        "notes": [*report.notes, *(served.lines if served is not None else ())],
    }  # fmt: skip


def _plain_served(served: Served) -> dict[str, Any]:
    def brackets(of: Mapping[float, tuple[float, float]]) -> dict[str, Any]:
        return {
            f"p{fraction * 100:g}": {"from_s": low, "to_s": None if high == inf else high}
            for fraction, (low, high) in of.items()
        }

    return {
        "requests": served.requests, "prompt_tokens": served.prompt_tokens, "output_tokens": served.output_tokens,
        "shared_by_mean": served.at_once, "shared_by_most": served.most_at_once, "looks": served.looks,
        "ttft_s": brackets(served.ttft_s), "tpot_s": brackets(served.tpot_s), "metrics": dict(served.named),
    }  # fmt: skip


def _text(watched: Watched, address: str, server: Server) -> str:
    from wattvlm.renderers import render

    report, served = watched.report, watched.served
    lines = [f"wattvlm watch  {address}" + (f"  ({server.title}, process {server.pid})" if server.pid else "")]
    if served is None:
        lines += ["", f"Joules only: {watched.why_not}"]
    else:
        lines += ["", *_served_lines(report, served), *(f"Note: {line}." for line in served.lines)]
    body = str(render(report, "console"))
    return _ascii("\n".join([*lines, ""])) + "\n" + body


def _served_lines(report: Report, served: Served) -> list[str]:
    tilde = "~" if report.accelerator is not None and report.is_modelled(report.accelerator) else ""
    window = format_ns(served.end_ns - served.start_ns)
    known = {name: getattr(served, name) for name in _PER}
    counts = [f"{value:,.0f} {_PER[name]}s" for name, value in known.items() if value is not None]
    lines = [f"in {window} with work: {', '.join(counts) or 'nothing that is counted'}"]
    if served.at_once is not None:
        lines.append(
            f"shared by {served.at_once:.1f} requests at once (mean of {served.looks} looks, at most "
            f"{served.most_at_once:g})"
        )
    domain = (report.accelerator or "").upper()
    for name, energy in _joules(report, served).items():
        words = "" if name == "requests" else f", all joules of the window over {_PER[name]}s"
        lines.append(f"{tilde}{energy} per {_PER[name]}  ({domain}{words})".replace("~~", "~"))
    if report.calls:
        lines.append(f"{len(report.calls)} requests were seen in the server's slots: a call each, below and in -o FILE")
    elif served.requests is None:
        lines.append("joules per request are absent: the server does not count its requests")
    for title, brackets in (("time to first token", served.ttft_s), ("time between tokens", served.tpot_s)):
        if brackets:
            shown = ", ".join(f"p{fraction * 100:g} {_bracket(*bracket)}" for fraction, bracket in brackets.items())
            lines.append(f"{title}: {shown}  (edges of the server's buckets)")
    return lines


def _bracket(low_s: float, high_s: float) -> str:
    if high_s == inf:
        return f"over {format_ns(low_s * NS_PER_S)}"
    return f"{format_ns(low_s * NS_PER_S)} to {format_ns(high_s * NS_PER_S)}"


def _ascii(words: str) -> str:
    if (sys.stdout.encoding or "").lower().startswith("utf"):
        return words
    return words.replace("±", "+-").replace("µ", "u").encode("ascii", "replace").decode()

"""`wattvlm report`: a saved report or recording, shown again."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattvlm.report import Report


SHORTCUTS = {
    "html": "A page with the power curve, the phases and every call, whole in itself (needs wattvlm[html]).",
    "perfetto": "A trace for ui.perfetto.dev or chrome://tracing: power over the phases of each call.",
    "csv": "Tidy rows for pandas: one a call, phase and domain.",
    "md": "Markdown, for a pull request.",
    "png": "A picture of the power curve and of a call's joules (needs wattvlm[png]); give -o.",
    "json": "The report itself.",
    "emissions": "An emissions.csv as CodeCarbon writes it; kg of CO2 only with --co2.",
    "prometheus": "Prometheus' text, for a textfile collector (needs wattvlm[prometheus]).",
    "methods": "Sentences to paste under 'Measurement'.",
}
"""Formats that have an option of their own."""

_FORMATS = {"md": "markdown"}


def _shortcuts(decorated: Callable[..., None]) -> Callable[..., None]:
    """An option for each shortcut; the last one given counts."""
    for name, words in reversed(SHORTCUTS.items()):
        decorated = click.option(f"--{name}", "shortcut", flag_value=name, default=None, help=words)(decorated)
    return decorated


@click.command("report")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_shortcuts
@click.option("--format", "output_format", default="console", show_default=True, help="Any format, also console, svg.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.option(
    "--merge",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --perfetto: a trace that torch.profiler exported, on one time base with ours.",
)
@click.option("--co2", metavar="G_PER_KWH|COUNTRY", help="Add a line of CO2: your figure, or codecarbon's for FRA ...")
@click.option("--price", type=float, metavar="PER_KWH", help="Add a line of money, in your currency a kWh.")
@click.option(
    "--share-by",
    type=click.Choice(["time", "tokens", "shapley"]),
    default="time",
    show_default=True,
    help="Of a recording: how requests that ran together share what none of them causes alone.",
)
@click.option(
    "--otlp",
    metavar="URL|FILE",
    help="Send it to an OpenTelemetry collector instead, or write it as an OTLP file (needs wattvlm[otel]).",
)
def command(
    file: Path,
    shortcut: str | None,
    output_format: str,
    output: Path | None,
    merge: Path | None,
    co2: str | None,
    price: float | None,
    share_by: str,
    otlp: str | None,
) -> None:
    """Show a saved report or recording, or turn it into another format."""
    from wattvlm.errors import WattvlmError
    from wattvlm.renderers import render

    format = _FORMATS.get(shortcut, shortcut) if shortcut is not None else output_format
    try:
        report = load_report(file, share_by)
        if otlp is not None:
            _send(report, otlp)
            return
        rendered = render(report, format, **_options(format, co2, merge))
        lines = factor_lines(report, co2, price) if format == "console" else []
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"{file} was not read: {error.strerror or error}") from error
    if lines and isinstance(rendered, str):
        rendered += "\n" + "\n".join(lines)
    _write(rendered, output)


def _send(report: Report, where: str) -> None:
    from wattvlm.exporting.telemetry import send, write

    if "://" in where:
        send(report, where)
    else:
        try:
            write(report, where)
        except OSError as error:
            raise click.UsageError(f"{where} was not written: {error.strerror or error}") from error
    click.echo(f"sent to {where}: {len(report.calls)} calls", err=True)


def _write(rendered: str | bytes, output: Path | None) -> None:
    """To the file, or printed; usage error where it cannot be written or a terminal cannot show it."""
    if output is None:
        if isinstance(rendered, bytes) and sys.stdout.isatty():
            raise click.UsageError("this format is no text, which a terminal could not show. Cure: -o FILE")
        click.echo(rendered, nl=isinstance(rendered, str))
        return
    try:
        output.write_bytes(rendered if isinstance(rendered, bytes) else rendered.encode())
    except OSError as error:
        raise click.UsageError(f"{output} was not written: {error.strerror or error}") from error


def _options(format: str, co2: str | None, merge: Path | None) -> dict[str, Any]:
    """What a format takes of the command's other options."""
    from wattvlm.factors import co2_factor

    if merge is not None and format != "perfetto":
        raise ValueError("--merge lays a trace of torch.profiler under ours, so it goes with --perfetto only")
    options: dict[str, Any] = {"torch_trace": _chrome_trace(merge)} if merge is not None else {}
    if format == "emissions" and co2 is not None:
        options["co2_g_per_kwh"] = co2_factor(co2).per_kwh
    return options


def _chrome_trace(path: Path) -> dict[str, Any]:
    """A trace of torch.profiler (gzip where its name ends in .gz); ReportFormatError for anything else."""
    from wattvlm.errors import ReportFormatError

    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            loaded: object = json.load(file)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise ReportFormatError(f"{path} is not readable JSON and was not merged: {str(error)[:100]}") from error
    if not isinstance(loaded, dict):
        raise ReportFormatError(f"{path} is no trace of torch.profiler and was not merged: it holds no object")
    return cast("dict[str, Any]", loaded)


def factor_lines(report: Report, co2: str | None, price: float | None) -> list[str]:
    """Lines of CO2 and money a request; WattvlmError where a factor is none or there are no joules a request."""
    from wattvlm.factors import co2_factor, price_factor

    factors = [co2_factor(co2)] if co2 is not None else []
    factors += [price_factor(price)] if price is not None else []
    return [factor.line(report.joules_per_request, "request") for factor in factors]


def load_report(file: Path, share_by: str = "time") -> Report:
    """The Report in a file, or the Report of the Recording in it; ReportFormatError for anything else.

    share_by: how requests of a recording that ran together share what none of them causes alone.
    """
    from wattvlm import filing, recording, report
    from wattvlm.attribution import analyze

    return filing.load_any(
        file,
        {
            report.KIND: (report.SCHEMA_VERSION, report.Report.from_dict),
            recording.KIND: (
                recording.SCHEMA_VERSION,
                lambda plain: analyze(recording.Recording.from_dict(plain), share_by=share_by),
            ),
        },
    )

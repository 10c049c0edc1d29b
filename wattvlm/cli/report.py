"""`wattvlm report`: a saved report or recording, shown again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wattvlm.report import Report


@click.command("report")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "output_format", default="console", show_default=True, help="console, json, svg, notebook.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.option("--co2", metavar="G_PER_KWH|COUNTRY", help="Add a line of CO2: your figure, or codecarbon's for FRA ...")
@click.option("--price", type=float, metavar="PER_KWH", help="Add a line of money, in your currency a kWh.")
def command(
    file: Path, output_format: str, as_json: bool, output: Path | None, co2: str | None, price: float | None
) -> None:
    """Show a saved report or recording."""
    from wattvlm.errors import WattvlmError
    from wattvlm.renderers import render

    try:
        report = load_report(file)
        rendered = render(report, "json" if as_json else output_format)
        lines = factor_lines(report, co2, price)
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    if lines and isinstance(rendered, str) and output_format == "console" and not as_json:
        rendered += "\n" + "\n".join(lines)
    if output is not None:
        output.write_bytes(rendered if isinstance(rendered, bytes) else rendered.encode())
    else:
        click.echo(rendered, nl=isinstance(rendered, str))


def factor_lines(report: Report, co2: str | None, price: float | None) -> list[str]:
    """Lines of CO2 and money a request; WattvlmError where a factor is none or there are no joules a request."""
    from wattvlm.factors import co2_factor, price_factor

    factors = [co2_factor(co2)] if co2 is not None else []
    factors += [price_factor(price)] if price is not None else []
    return [factor.line(report.joules_per_request, "request") for factor in factors]


def load_report(file: Path) -> Report:
    """The Report in a file, or the Report of the Recording in it; ReportFormatError for anything else."""
    from wattvlm import filing, recording, report
    from wattvlm.attribution import analyze

    return filing.load_any(
        file,
        {
            report.KIND: (report.SCHEMA_VERSION, report.Report.from_dict),
            recording.KIND: (
                recording.SCHEMA_VERSION,
                lambda plain: analyze(recording.Recording.from_dict(plain)),
            ),
        },
    )

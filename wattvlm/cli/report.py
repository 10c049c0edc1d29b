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
def command(file: Path, output_format: str, as_json: bool, output: Path | None) -> None:
    """Show a saved report or recording."""
    from wattvlm.errors import WattvlmError
    from wattvlm.renderers import render

    try:
        rendered = render(load_report(file), "json" if as_json else output_format)
    except WattvlmError as error:
        raise click.UsageError(str(error)) from error
    if output is not None:
        output.write_bytes(rendered if isinstance(rendered, bytes) else rendered.encode())
    else:
        click.echo(rendered, nl=isinstance(rendered, str))


def load_report(file: Path) -> Report:
    """The Report in a file, or the Report of the Recording in it; ReportFormatError for anything else."""
    from wattvlm.attribution import analyze
    from wattvlm.errors import ReportFormatError
    from wattvlm.recording import Recording
    from wattvlm.report import Report

    try:
        return Report.load(file)
    except ReportFormatError as error:
        if "wattvlm recording" not in str(error):
            raise
    return analyze(Recording.load(file))

"""`wattvlm recover`: reports of runs that were killed."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("recover")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Save the recording to a file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(folder: Path | None, output: Path | None, as_json: bool) -> None:
    """Report a run that was killed.

    FOLDER holds the journals that it left; without it, the latest unfinished run is taken.
    """
    from wattvlm.attribution import analyze
    from wattvlm.errors import WattvlmError
    from wattvlm.renderers import render
    from wattvlm.sampling.recovery import recover, unfinished_runs

    folders = [folder] if folder is not None else list(unfinished_runs())
    if not folders:
        click.echo("No unfinished run was found: every meter of yours ended well, or its journals were removed.")
        return
    try:
        recording = recover(folders[-1]).with_calibrations()
        report = analyze(recording)
    except WattvlmError as error:
        raise click.UsageError(str(error)) from error
    if output is not None:
        recording.save(output)
    click.echo(render(report, "json" if as_json else "console"))
    if len(folders) > 1:
        click.echo("Other unfinished runs:\n" + "\n".join(f"  {other}" for other in folders[:-1]), err=True)

"""`wattvlm merge`: the recordings of one job's processes as one report."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("merge")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Save the joined recording.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(files: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Report the processes of one job together.

    FILES are recordings, one a process (`wattvlm run --recording run-{rank}.json`, or `m.recording.save`). Each device
    is counted once, calls are labelled by process, and processes that hold the others up are named.

    Exit code 2 where the files do not belong together.
    """
    from wattvlm.attribution import analyze
    from wattvlm.errors import WattvlmError
    from wattvlm.joining import joined
    from wattvlm.recording import Recording
    from wattvlm.renderers import render

    try:
        recording = joined([Recording.load(file) for file in files], [file.name.split(".")[0] for file in files])
    except (WattvlmError, OSError) as error:
        raise click.UsageError(str(error)) from error
    if output is not None:
        recording.save(output)
    click.echo(render(analyze(recording), "json" if as_json else "console"))

"""`wattvlm run`: a program, metered without a change to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wattvlm.recording import Recording
    from wattvlm.report import Report


class _WithModule(click.Command):
    """Options end at the program's first word, also where that is -m, which is no option of ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for index, word in enumerate(args):
            if word == "--":
                break
            if word == "-m":
                args = [*args[:index], "--", *args[index:]]
                break
            if not word.startswith("-") and not (index and args[index - 1] in _WITH_VALUE):
                break
        return super().parse_args(ctx, args)


_WITH_VALUE = ("-o", "--output", "--recording", "--label")


@click.command(
    "run", cls=_WithModule, context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False}
)
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Save the report as JSON.")
@click.option(
    "--recording",
    metavar="FILE",
    help="Save the recording, for `wattvlm merge`; {rank} in it is the process' number in a job of torchrun or srun.",
)
@click.option("--label", default="", help="A name for the report (default: the program's).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of tables, to stderr too.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def command(
    program: tuple[str, ...], output: Path | None, recording: str | None, label: str, as_json: bool, quiet: bool
) -> None:
    """Run a program and report its joules, with no change to it.

    PROGRAM is script.py, -m MODULE, or any command, with its own arguments; "--" before it where it begins with a dash.
    In Python programs of this environment each model call is seen, also in threads and multiprocessing workers. Any
    other program is metered as one phase; of llama.cpp's programs the timing lines on stderr become calls.

    The program's streams and its exit code are its own (130 after Ctrl-C); the report comes after it, on stderr. Exit
    code 2 where it could not be started.
    """
    from wattvlm.running.metered import run_program
    from wattvlm.running.program import NotRunnable, program_of

    try:
        outcome = run_program(program_of(program), label=label)
    except NotRunnable as error:
        raise click.UsageError(str(error)) from error
    if recording is not None:
        _save(outcome.recording, Path(recording.replace("{rank}", _rank())))
    report = None if quiet and output is None else outcome.report
    if report is not None and output is not None:
        _save(report, output)
    if report is not None and not quiet:
        _show(report, as_json)
    raise SystemExit(outcome.exit_code)


def _rank() -> str:
    """The number of this process in its job, as torchrun (RANK) and Slurm's srun (SLURM_PROCID) tell it."""
    return os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0"


def _save(found: Report | Recording, path: Path) -> None:
    try:
        found.save(path)
    except OSError as error:
        click.echo(f"wattvlm: {path} could not be saved: {error}. Cure: a path that can be written", err=True)


def _show(report: Report, as_json: bool) -> None:
    from wattvlm.renderers import render

    if as_json:
        click.echo(render(report, "json"), err=True)
        return
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    unicode = (sys.stderr.encoding or "").lower().startswith("utf")
    click.echo("\n" + str(render(report, "console", colour=colour, unicode=unicode)), err=True, color=colour)

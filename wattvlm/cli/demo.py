"""`wattvlm demo`: a real small vision-language model, asked real questions, metered."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wattvlm.cli import COULD_NOT_MEASURE

if TYPE_CHECKING:
    from wattvlm.report import Report


@click.command("demo")
@click.option("--device", default="", help="Where to run: cpu, cuda, cuda:1 ... (default: cuda if there is one).")
@click.option("--model", "model_name", default="", metavar="PATH_OR_ID", help="A model of your own instead.")
@click.option("--images", default=24, show_default=True, type=click.IntRange(4, 50), help="How many held-out images.")
@click.option("--virtual", is_flag=True, help="The report of a simulated data-centre GPU on virtual sensors.")
@click.option("--replay", is_flag=True, help="The report of a recording that ships with wattvlm; needs no torch.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Save the report as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of tables.")
def command(
    device: str, model_name: str, images: int, virtual: bool, replay: bool, save: Path | None, as_json: bool
) -> None:
    """Meter a small real model, asked about images.

    Prints its answers, how often they are right, and how many joules went where.
    """
    if virtual and replay:
        raise click.UsageError("--virtual simulates anew and --replay shows a recording: give one of the two")
    if virtual or replay:
        report = _simulated() if virtual else _replayed()
        answers = ""
    else:
        report, answers = _asked(device, model_name, images)
    if save is not None:
        report.save(save)
    _show(report, answers, as_json)


def _simulated() -> Report:
    from wattvlm.attribution import analyze
    from wattvlm.testing.scenarios import data_centre_session

    return analyze(data_centre_session(seed=None).recording)


def _replayed() -> Report:
    from wattvlm.attribution import analyze
    from wattvlm.demo import replay_path
    from wattvlm.recording import Recording

    return analyze(Recording.load(replay_path()))


def _asked(device: str, model_name: str, images: int) -> tuple[Report, str]:
    missing = [name for name in ("torch", "transformers", "PIL", "safetensors") if find_spec(name) is None]
    if missing:
        click.echo(
            f"The demo runs a model, so nothing was measured; not installed: {', '.join(missing)}.\n"
            "Cure: pip install 'wattvlm[torch]' (about 200 MB as a CPU build, 3 GB or more with CUDA).\n"
            "Without it: wattvlm demo --replay shows the report of a recording.",
            err=True,
        )
        raise SystemExit(COULD_NOT_MEASURE)
    from wattvlm.demo.session import ask

    answered = ask(device=device, model_name=model_name, images=images)
    return answered.report, answered.text()


def _show(report: Report, answers: str, as_json: bool) -> None:
    from wattvlm.renderers import render

    if as_json:
        click.echo(render(report, "json"))
        return
    if answers:
        click.echo(answers)
    click.echo(render(report, "console"))

"""`wattvlm study`: a question of the field, measured and answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from wattvlm.cli import COULD_NOT_MEASURE
from wattvlm.cli._bars import Bars
from wattvlm.cli._options import installed_versions, new_seed, numbers, percent, seconds, sizes, usual_device, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattvlm.answers import Answer
    from wattvlm.questions import Asked

_INTERRUPTED = 130
FORMATS = {
    "json": "The answer as JSON.",
    "markdown": "The answer as Markdown.",
    "latex": "Its tables as LaTeX (booktabs).",
    "html": "A page for the browser, whole in itself.",
    "png": "Its picture (needs wattvlm[png], and -o).",
}


def _formats(decorated: Callable[..., None]) -> Callable[..., None]:
    for name, said in reversed(FORMATS.items()):
        decorated = click.option(f"--{name}", "output_format", flag_value=name, default=None, help=said)(decorated)
    return decorated


@click.command("study")
@click.argument("name", required=False)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--config", "configs", multiple=True, metavar="NAME_OR_JSON", help="A model without its weights.")
@click.option("--random-weights", is_flag=True, help="With --config: random weights of the published sizes.")
@click.option("--images", default="", metavar="N,...", help="Images a prompt (default: the study's own).")
@click.option("--resolution", default="", metavar="WxH,...", help="Pixels of the images.")
@click.option("--batch", default="", metavar="N,...", help="Prompts a call.")
@click.option("--output", "output_tokens", default="", metavar="N,...", help="Tokens an answer.")
@click.option("--dtype", default="", metavar="NAME,...", help="Default: bfloat16 on a GPU, float32 on a CPU.")
@click.option("--device", default="", metavar="NAME", help="cpu, cuda, cuda:1 ... (default: cuda if there is one).")
@click.option("--until", default="2%", show_default=True, metavar="PERCENT", help="Half-width of each phase.")
@click.option("--calls", default=200, show_default=True, help="At most so many calls a cell.")
@click.option("--budget", default="30m", show_default=True, metavar="TIME", help="At most so long for all cells.")
@click.option("--cool-down", default="1s", show_default=True, metavar="TIME", help="Quiet before each cell.")
@click.option("--seed", type=int, help="Of the order and of the images (default: a new one, kept in the folder).")
@click.option("--questions", "benchmark", default="", metavar="FILE", help="A file for accuracy, pruning, retrieval.")
@click.option("--pictures", default="", metavar="FOLDER", help="Where the pictures of --questions lie.")
@click.option("--circular", is_flag=True, help="accuracy: CircularEval, each question with its options in every turn.")
@click.option("--scores", multiple=True, metavar="MODEL=FILE", help="accuracy, models: marks by question.")
@click.option("--save", "folder", type=click.Path(path_type=Path), help="Where runs go (default: wattvlm-study-NAME).")
@_formats
@click.option("-o", "--output-file", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
def command(
    name: str | None, models: tuple[str, ...], configs: tuple[str, ...], folder: Path | None, seed: int | None,
    output_format: str | None, output: Path | None, **options: object,
) -> None:  # fmt: skip
    """Answer a question by measuring.

    NAME is a study; without one, all are listed. MODEL is a folder, a hub id that is on this machine, or `shipped`
    (the default); for `devices` it is a saved run. The matrix is the study's own where no option gives another. Runs
    are kept, so that an interrupted study goes on, and the same command again answers from what is there.

    Exit codes: 0 answered, 2 usage, 3 nothing was measured, 130 interrupted.
    """
    from wattvlm import questions
    from wattvlm.errors import WattvlmError

    if name is None:
        for each in questions.studies().values():
            click.echo(f"{each.NAME:16} {each.QUESTION}")
        return
    if output_format == "png" and output is None:
        raise click.UsageError("--png is a picture, no text: give -o FILE")
    try:
        questions.study(name)
        asked = _asked(models, configs, seed, options)
        target = folder or Path(f"wattvlm-study-{name}")
        cells = len(questions.study(name).design(asked).cells())
        with Bars(cells) as bars:
            answer = questions.ask(name, asked, target, tell=bars.tell, keep_seed=seed is None)
    except KeyboardInterrupt:
        click.echo("Interrupted: what was finished is kept; the same command goes on with the rest.", err=True)
        raise SystemExit(_INTERRUPTED) from None
    except questions.NothingMeasured as error:
        click.echo(str(error), err=True)
        raise SystemExit(COULD_NOT_MEASURE) from error
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    _show(answer, output_format or "console", output)
    if target.exists():
        click.echo(f"Runs are in {target}; the same command again goes on there.", err=True)


def _asked(models: tuple[str, ...], configs: tuple[str, ...], seed: int | None, options: dict[str, object]) -> Asked:
    from wattvlm.questions import Asked
    from wattvlm.units import NS_PER_S

    if models and configs:
        raise ValueError("give models to measure, or --config and --random-weights: one of the two")
    if bool(configs) != bool(options["random_weights"]):
        raise ValueError("--config gives sizes without weights, so it goes with --random-weights, and only that does")
    device = str(options["device"]) or usual_device()
    return Asked(
        models=models or configs or ("shipped",),
        random_weights=bool(configs),
        images=numbers("--images", options["images"]) or None,
        resolutions=sizes(options["resolution"]) or None,
        batch_sizes=numbers("--batch", options["batch"]) or None,
        output_tokens=numbers("--output", options["output_tokens"]) or None,
        dtypes=words(options["dtype"]) or None,
        usual_dtype="bfloat16" if device.startswith("cuda") else "float32",
        devices=(device,),
        until_fraction=percent(str(options["until"])),
        most_calls=int(str(options["calls"])),
        limit_ns=round(seconds("--budget", str(options["budget"])) * NS_PER_S),
        cool_down_ns=round(seconds("--cool-down", str(options["cool_down"])) * NS_PER_S),
        seed=new_seed() if seed is None else seed,
        versions=installed_versions(),
        benchmark=str(options["benchmark"]),
        pictures=str(options["pictures"]),
        is_circular=bool(options["circular"]),
        scores=_pairs(options["scores"]),
    )


def _pairs(given: object) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for each in cast("tuple[str, ...]", given):
        model, separator, path = each.rpartition("=")
        if not separator or not Path(path).is_file():
            raise ValueError(f"--scores {each}: it must be MODEL=FILE, and the file must be there")
        found.append((model, path))
    return tuple(found)


def _show(answer: Answer, output_format: str, output: Path | None) -> None:
    from wattvlm.renderers import render

    rendered = render(answer, output_format)
    if output is None:
        click.echo(rendered)
    elif isinstance(rendered, bytes):
        output.write_bytes(rendered)
    else:
        output.write_text(rendered, encoding="utf-8")

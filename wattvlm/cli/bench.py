"""`wattvlm bench`: models measured over a matrix of images, sizes, batches and lengths, until the joules are known."""

from __future__ import annotations

import re
import secrets
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wattvlm.cli import COULD_NOT_MEASURE

if TYPE_CHECKING:
    from wattvlm.bench import Design, Results

_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_INTERRUPTED = 130
"""What shells give for a program that Ctrl-C ended."""


@click.command("bench")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--config", "configs", multiple=True, metavar="NAME_OR_JSON", help="A model without its weights.")
@click.option("--random-weights", is_flag=True, help="With --config: random weights of the published sizes.")
@click.option("--download", is_flag=True, help="Ask the hub for a model that is not on this machine.")
@click.option("--images", default="1", show_default=True, metavar="N,...", help="Images a prompt.")
@click.option("--resolution", default="", metavar="WxH,...", help="Pixels of the images (default: the model's own).")
@click.option("--batch", default="1", show_default=True, metavar="N,...", help="Prompts a call.")
@click.option("--output", "output_tokens", default="32", show_default=True, metavar="N,...", help="Tokens an answer.")
@click.option("--dtype", default="", metavar="NAME,...", help="Default: bfloat16 on a GPU, float32 on a CPU.")
@click.option("--device", default="", metavar="NAME,...", help="cpu, cuda, cuda:1 ... (default: cuda if there is one).")
@click.option("--until", default="2%", show_default=True, metavar="PERCENT", help="Half-width of each phase.")
@click.option("--calls", default=200, show_default=True, help="At most so many calls a cell.")
@click.option("--budget", default="10m", show_default=True, metavar="TIME", help="At most so long for all cells.")
@click.option("--cool-down", default="1s", show_default=True, metavar="TIME", help="Quiet before each cell.")
@click.option("--seed", type=int, help="Of the order and of the images (default: a new one, kept in the folder).")
@click.option("--save", "folder", default="wattvlm-bench", show_default=True, type=click.Path(path_type=Path),
              help="Where the results go; the same folder again goes on where it was cut off.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    models: tuple[str, ...], configs: tuple[str, ...], folder: Path, as_json: bool, seed: int | None, **options: object
) -> None:
    """Measure models over a matrix, until the joules are known.

    MODEL is a folder, a hub id that is on this machine, or `shipped`. Each combination of the options is a cell:
    warmed up, repeated with pauses of random length, in random order, every answer forced to the same length. Finished
    cells are kept, so that an interrupted run goes on.

    Exit codes: 0 all cells measured or modelled, 2 usage, 3 a cell failed, 130 interrupted.
    """
    from wattvlm.bench import run
    from wattvlm.errors import WattvlmError

    missing = [name for name in ("torch", "transformers", "PIL") if find_spec(name) is None]
    if missing:
        click.echo(
            f"A bench runs models, so nothing was measured; not installed: {', '.join(missing)}. "
            "Cure: pip install 'wattvlm[torch]'",
            err=True,
        )
        raise SystemExit(COULD_NOT_MEASURE)
    try:
        design = _design(models, configs, seed, options)
        from wattvlm.bench.subjects import TransformersSubject, config_of

        if design.random_weights:
            for name in design.models:
                config_of(name)
        subject = TransformersSubject(random_weights=design.random_weights, may_download=bool(options["download"]))
        with _Bars(len(design.cells())) as bars:
            results = run(design, folder, subject=subject, tell=bars.tell, keep_seed=seed is None)
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    except KeyboardInterrupt:
        click.echo(f"Interrupted: what was finished is in {folder}; the same command goes on with the rest.", err=True)
        raise SystemExit(_INTERRUPTED) from None
    _show(folder, results, as_json)


def _design(models: tuple[str, ...], configs: tuple[str, ...], seed: int | None, options: dict[str, object]) -> Design:
    from wattvlm.bench import Design
    from wattvlm.units import NS_PER_S

    if bool(models) == bool(configs):
        raise ValueError("give models to measure, or --config and --random-weights: one of the two")
    if bool(configs) != bool(options["random_weights"]):
        raise ValueError("--config gives sizes without weights, so it goes with --random-weights, and only that does")
    devices = _words(options["device"]) or (_usual_device(),)
    gpu = all(device.startswith("cuda") for device in devices)
    return Design(
        models=models or configs,
        images=_numbers("--images", options["images"]),
        resolutions=_sizes(options["resolution"]),
        batch_sizes=_numbers("--batch", options["batch"]),
        output_tokens=_numbers("--output", options["output_tokens"]),
        dtypes=_words(options["dtype"]) or ("bfloat16" if gpu else "float32",),
        devices=devices,
        random_weights=bool(configs),
        until_fraction=_percent(str(options["until"])),
        fewest_calls=min(10, int(str(options["calls"]))),
        most_calls=int(str(options["calls"])),
        limit_ns=round(_seconds("--budget", str(options["budget"])) * NS_PER_S),
        cool_down_ns=round(_seconds("--cool-down", str(options["cool_down"])) * NS_PER_S),
        seed=secrets.randbelow(2**31) if seed is None else seed,
        versions={name: found for name in ("wattvlm", "torch", "transformers") if (found := _version(name))},
    )


def _usual_device() -> str:
    from importlib import import_module

    return "cuda" if import_module("torch").cuda.is_available() else "cpu"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _words(text: object) -> tuple[str, ...]:
    return tuple(word.strip() for word in str(text).split(",") if word.strip())


def _numbers(option: str, text: object) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise ValueError(f"{option} {text}: whole numbers with commas between them, such as 1,4") from None


def _sizes(text: object) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for word in _words(text):
        parsed = re.fullmatch(r"(\d+)(?:x(\d+))?", word)
        if parsed is None:
            raise ValueError(f"--resolution {word}: pixels, 336 for a square or 640x480")
        found.append((int(parsed[1]), int(parsed[2] or parsed[1])))
    return tuple(found)


def _percent(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100.0
    except ValueError:
        raise ValueError(f"--until {text}: a percentage, such as 2%") from None


def _seconds(option: str, text: str) -> float:
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if parsed is None:
        raise ValueError(f"{option} {text}: a time, such as 90s, 10m or 1h")
    return float(parsed[1]) * _UNITS_S[parsed[2] or "s"]


class _Bars:
    """Progress on standard error: bars in a terminal, a line a cell elsewhere."""

    def __init__(self, cells: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._is_terminal = sys.stderr.isatty()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=not self._is_terminal)
        self._all = self._bars.add_task("all cells", total=cells, words="")
        self._one = self._bars.add_task("", total=1.0, words="")

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, progress: object) -> None:
        """Show where the run is."""
        from wattvlm.bench.running import Progress

        assert isinstance(progress, Progress)
        part = min(progress.calls / progress.wanted, 1.0) if progress.wanted else 0.0
        if progress.limit_ns:
            part = max(part, min(progress.spent_ns / progress.limit_ns, 1.0))
        self._bars.update(self._all, total=progress.cells, completed=progress.done + part,
                          words=f"{progress.done} of {progress.cells} done")  # fmt: skip
        still = ", ".join(map(str, progress.open_parts[:2]))
        words = f"{progress.calls} of about {progress.wanted} calls" + (f", {still}" if still else "")
        self._bars.update(self._one, description=progress.name, completed=part, words=words)
        if progress.finished is not None and not self._is_terminal:
            found = progress.finished
            said = found.failure or f"{found.calls} calls, {found.stopped}"
            click.echo(f"{progress.done} of {progress.cells}  {found.name}: {said}", err=True)


def _show(folder: Path, results: Results, as_json: bool) -> None:
    from wattvlm.bench import reports
    from wattvlm.bench.keeping import shortened
    from wattvlm.renderers import render
    from wattvlm.studies import standings

    failed = [each for each in results.finished if each.failure]
    measured = reports(folder)
    if measured:
        named = dict(zip(shortened(list(measured)), measured.values()))
        found = standings(named, allow=("device", "power_limit", "provenance"))
        click.echo(str(render(found, "json" if as_json else "console")))
    if not as_json:
        for each in results.finished:
            if each.open_parts:
                click.echo(f"{each.name}: not within ({each.stopped}): {'; '.join(each.open_parts)}")
        click.echo(f"Reports are in {folder}: wattvlm report {folder / '<cell>.json.gz'}, wattvlm compare {folder}")
    for each in failed:
        click.echo(f"failed: {each.name}: {each.failure}. The same command tries it again.", err=True)
    if failed:
        raise SystemExit(COULD_NOT_MEASURE)

"""`wattvlm bench`: models measured over a matrix of images, sizes, batches and lengths, until the joules are known."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wattvlm.cli import COULD_NOT_MEASURE
from wattvlm.cli._bars import Bars
from wattvlm.cli._options import (
    hertz,
    installed_versions,
    new_seed,
    numbers,
    percent,
    seconds,
    seconds_under,
    sizes,
    usual_device,
    watts,
    words,
)

if TYPE_CHECKING:
    from wattvlm.bench import Design, Results

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
@click.option("--power-limits", default="", metavar="W,...", help="Limits to set the GPU to (NVIDIA; as root).")
@click.option("--clocks", default="", metavar="MHZ,...", help="Clocks to lock the GPU's cores to (NVIDIA; as root).")
@click.option(
    "--ttft-under", metavar="TIME", help="Name the limit or clock with the least joules whose TTFT is under it."
)
@click.option("--tpot-under", metavar="TIME", help="The same for the time per output token, such as 30ms.")
@click.option("--until", default="2%", show_default=True, metavar="PERCENT", help="Half-width of each phase.")
@click.option("--calls", default=200, show_default=True, help="At most so many calls a cell.")
@click.option("--budget", default="10m", show_default=True, metavar="TIME", help="At most so long for all cells.")
@click.option("--cool-down", default="1s", show_default=True, metavar="TIME", help="Quiet before each cell.")
@click.option("--seed", type=int, help="Of the order and of the images (default: a new one, kept in the folder).")
@click.option("--on", metavar="RAY", help="ray, or ray://HOST:PORT: each cell alone on a node of that cluster.")
@click.option("--save", "folder", default="wattvlm-bench", show_default=True, type=click.Path(path_type=Path),
              help="Where the results go; the same folder again goes on where it was cut off.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    models: tuple[str, ...], configs: tuple[str, ...], folder: Path, as_json: bool, seed: int | None, on: str | None,
    **options: object,
) -> None:  # fmt: skip
    """Measure models over a matrix, until the joules are known.

    MODEL is a folder, a hub id that is on this machine, or `shipped`. Each combination of the options is a cell:
    warmed up, repeated with pauses of random length, in random order, every answer forced to the same length. Finished
    cells are kept, so that an interrupted run goes on. Power limits and clocks that were set are given back however
    the run ends.

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
        under = (
            seconds_under("--ttft-under", options["ttft_under"]),
            seconds_under("--tpot-under", options["tpot_under"]),
        )
        design = _design(models, configs, seed, options, on)
        if under != (None, None) and not design.settings():
            raise ValueError(
                "--ttft-under and --tpot-under choose among --power-limits or --clocks, and there are none"
            )
        from wattvlm.bench.subjects import TransformersSubject, config_of

        if design.random_weights:
            for name in design.models:
                config_of(name)
        subject = TransformersSubject(random_weights=design.random_weights, may_download=bool(options["download"]))
        with Bars(len(design.cells())) as bars:
            results = run(design, folder, subject=subject, tell=bars.tell, keep_seed=seed is None, on=on)
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    except KeyboardInterrupt:
        click.echo(f"Interrupted: what was finished is in {folder}; the same command goes on with the rest.", err=True)
        raise SystemExit(_INTERRUPTED) from None
    _show(folder, results, as_json, under)


def _design(
    models: tuple[str, ...], configs: tuple[str, ...], seed: int | None, options: dict[str, object], on: str | None
) -> Design:
    from wattvlm.bench import Design
    from wattvlm.units import NS_PER_S

    if bool(models) == bool(configs):
        raise ValueError("give models to measure, or --config and --random-weights: one of the two")
    if bool(configs) != bool(options["random_weights"]):
        raise ValueError("--config gives sizes without weights, so it goes with --random-weights, and only that does")
    devices = words(options["device"]) or (usual_device() if on is None else _device_on(on),)
    gpu = all(device.startswith("cuda") for device in devices)
    limits_w, clocks_hz = watts(options["power_limits"]), hertz(options["clocks"])
    if (limits_w or clocks_hz) and not gpu:
        raise ValueError(f"--power-limits and --clocks are of NVIDIA GPUs, and the device is {', '.join(devices)}")
    return Design(
        models=models or configs,
        images=numbers("--images", options["images"]),
        resolutions=sizes(options["resolution"]),
        batch_sizes=numbers("--batch", options["batch"]),
        output_tokens=numbers("--output", options["output_tokens"]),
        dtypes=words(options["dtype"]) or ("bfloat16" if gpu else "float32",),
        devices=devices,
        power_limits_w=limits_w,
        core_clocks_hz=clocks_hz,
        random_weights=bool(configs),
        until_fraction=percent(str(options["until"])),
        fewest_calls=min(10, int(str(options["calls"]))),
        most_calls=int(str(options["calls"])),
        limit_ns=round(seconds("--budget", str(options["budget"])) * NS_PER_S),
        cool_down_ns=round(seconds("--cool-down", str(options["cool_down"])) * NS_PER_S),
        seed=new_seed() if seed is None else seed,
        versions=installed_versions(),
    )


def _device_on(address: str) -> str:
    """cuda where a node of the cluster has a GPU; this machine may have none."""
    from wattvlm.bench.on_ray import connected, has_gpus

    with connected(address) as ray:
        return "cuda" if has_gpus(ray) else "cpu"


def _show(folder: Path, results: Results, as_json: bool, under: tuple[float | None, float | None]) -> None:
    from wattvlm.bench import reports, sweeps
    from wattvlm.bench.keeping import shortened
    from wattvlm.renderers import render
    from wattvlm.studies import standings

    failed = [each for each in results.finished if each.failure]
    measured = reports(folder)
    swept = sweeps(folder, ttft_under_s=under[0], tpot_under_s=under[1])
    if swept:
        texts = [str(render(each, "json" if as_json else "console")) for each in swept]
        click.echo(f"[{', '.join(texts)}]" if as_json and len(texts) > 1 else "\n\n".join(texts))
    elif measured:
        named = dict(zip(shortened(list(measured)), measured.values()))
        found = standings(named, allow=("device", "power_limit", "provenance"))
        click.echo(str(render(found, "json" if as_json else "console")))
    if not as_json:
        machines = sorted({report.host.name for report in measured.values()})
        if len(machines) > 1:
            click.echo(
                f"Measured on {len(machines)} machines ({', '.join(machines)}): a difference between cells of two of "
                "them is also that of the machines and of their sensors' gains"
            )
        for each in results.finished:
            if each.open_parts:
                click.echo(f"{each.name}: not within ({each.stopped}): {'; '.join(each.open_parts)}")
        click.echo(f"Reports are in {folder}: wattvlm report {folder / '<cell>.json.gz'}, wattvlm compare {folder}")
    for each in failed:
        click.echo(f"failed: {each.name}: {each.failure}. The same command tries it again.", err=True)
    if failed:
        raise SystemExit(COULD_NOT_MEASURE)

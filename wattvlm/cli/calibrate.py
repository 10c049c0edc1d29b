"""`wattvlm calibrate`: finds out what this board's sensor is, and keeps it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from wattvlm.cli import COULD_NOT_MEASURE
from wattvlm.units import format_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattvlm.calibrate import Finding
    from wattvlm.calibrate.reference import GainFit, Reference
    from wattvlm.calibrate.session import Run
    from wattvlm.sensing import Domain

_TWO_SIDED_95 = 1.96
_INDENT = 14


@click.command("calibrate")
@click.option("--device", default="cuda", show_default=True, help="What torch loads: cuda, cuda:1, cpu ...")
@click.option("--seconds", default=60.0, show_default=True, help="How long at most; without a reference 23 are enough.")
@click.option("--against", metavar="CHANNEL", help="A trusted channel of this machine: gives gain and offset.")
@click.option(
    "--meter", "meter_path", metavar="FILE.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A meter's file (time, watts) that logs meanwhile: gives gain and offset.",
)  # fmt: skip
@click.option("--meter-error", default=1.0, show_default=True, help="The meter's own error in percent, 95 %.")
@click.option("--keep-in", type=click.Path(file_okay=False, path_type=Path), help="Another folder for the records.")
@click.option("--virtual", is_flag=True, help="Calibrate a simulated board; keeps nothing without --keep-in.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    device: str, seconds: float, against: str | None, meter_path: Path | None, meter_error: float,
    keep_in: Path | None, virtual: bool, as_json: bool,
) -> None:  # fmt: skip
    """Find out what this board's sensor is, and keep it.

    Loads the device in square waves, and finds how often its sensor is renewed, what it averages and how late it is;
    with a trusted meter beside it also its gain and offset. Later reports of this board use what was found.

    Exit code 0 where something was found, 3 where nothing could be.
    """
    if against is not None and meter_path is not None:
        raise click.UsageError("--against and --meter are both references: give one of the two")
    from wattvlm.calibrate import findings
    from wattvlm.calibrate.session import utc_now
    from wattvlm.errors import NotResolved, WattvlmError

    has_reference = against is not None or meter_path is not None
    try:
        run = _virtual(seconds) if virtual else _loaded(device, seconds, has_reference)
        reference = _reference(run, against, meter_path, meter_error, virtual)
        found = findings(run.recording, run.played, run.channels, reference, run.how, utc_now())
    except NotResolved as error:
        _fail(str(error))
    except (ValueError, WattvlmError) as error:
        raise click.UsageError(str(error)) from error
    kept = _keep(found, keep_in, virtual)
    if as_json:
        click.echo(json.dumps(_plain(found, kept), indent=2))
    else:
        _show(found, kept, virtual)
    if all(each.record is None for each in found):
        raise SystemExit(COULD_NOT_MEASURE)


def _loaded(device: str, seconds: float, stairs: bool) -> Run:
    """A run on this machine; ends with exit code 3 where torch or the device is missing."""
    if not _has_torch():
        _fail(
            "The load needs torch, which is not installed; nothing was measured. Cure: pip install 'wattvlm[torch]', "
            "or try wattvlm calibrate --virtual"
        )
    from wattvlm.calibrate import TorchLoad
    from wattvlm.calibrate.session import run

    try:
        load = TorchLoad(device)
    except Exception as error:  # torch has an error of its own for each way in which a device may be missing
        _fail(
            f"torch cannot load {device}: {str(error).splitlines()[0] if str(error) else repr(error)}; nothing was "
            "measured. Cure: --device with one that torch has (--device cpu for the CPU's sensor), or --virtual"
        )
    domain: Domain = "cpu" if load.kind == "cpu" else "gpu"
    return run(load, domain, load.uuid, seconds, stairs=stairs, tell=_tell if sys.stderr.isatty() else None)


def _has_torch() -> bool:
    try:
        return find_spec("torch") is not None
    except ImportError:  # a finder that refuses it
        return False


def _virtual(seconds: float) -> Run:
    from wattvlm.calibrate.virtual import virtual_run

    return virtual_run(seconds)


def _reference(
    run: Run, against: str | None, meter_path: Path | None, meter_error: float, virtual: bool
) -> Reference | None:
    from wattvlm.calibrate import meter_file, trusted_channel

    if meter_path is not None:
        return meter_file(meter_path, run.recording, meter_error / 100.0 / _TWO_SIDED_95)
    if virtual and against is None:
        from wattvlm.calibrate.virtual import METER

        against = METER
    return None if against is None else trusted_channel(run.recording, against)


def _tell(done_fraction: float) -> None:
    click.echo(f"\rloading the device: {done_fraction:4.0%}", err=True, nl=done_fraction >= 1.0)


def _fail(words: str) -> NoReturn:
    click.echo("\n".join(textwrap.wrap(words, _width(), break_on_hyphens=False, break_long_words=False)), err=True)
    raise SystemExit(COULD_NOT_MEASURE)


def _keep(found: Sequence[Finding], folder: Path | None, virtual: bool) -> dict[str, str]:
    """Channel -> where its record was kept, or why it was not."""
    kept: dict[str, str] = {}
    for each in found:
        if each.record is None:
            kept[each.channel.name] = "nothing was found that a record could hold"
        elif virtual and folder is None:
            kept[each.channel.name] = "not kept: the board is virtual"
        else:
            try:
                kept[each.channel.name] = str(each.record.keep(folder))
            except OSError as error:
                kept[each.channel.name] = f"could not be kept: {error}. Cure: --keep-in FOLDER"
    return kept


def _plain(found: Sequence[Finding], kept: dict[str, str]) -> dict[str, object]:
    from wattvlm.filing import to_plain

    return {
        each.channel.name: {
            "record": None if each.record is None else to_plain(each.record),
            "reason": each.identity_reason,
            "gain_reason": each.gain_reason,
            "r_squared": None if each.gain is None else each.gain.r_squared,
            "kept": kept[each.channel.name],
        }
        for each in found
    }


def _show(found: Sequence[Finding], kept: dict[str, str], virtual: bool) -> None:
    if virtual:
        click.echo("VIRTUAL: a simulated board, gain 0.954, offset -1.2 W, window 25 ms; no hardware was read.\n")
    for each in found:
        click.echo(_bold(f"{each.channel.name}  {each.channel.sensor} of {each.channel.device}"))
        record = each.record
        if record is not None and record.update_period_ns is not None:
            _line("updates", f"each {format_ns(record.update_period_ns)}")
        _line("sees", each.identity_reason)
        if record is not None and record.lag_ns is not None:
            _line("lag", f"{format_ns(record.lag_ns[0])} to {format_ns(record.lag_ns[1])}")
        _line("gain", each.gain_reason if each.gain is None else _gain(each.gain))
        _line("kept", kept[each.channel.name])
        click.echo()


def _gain(gain: GainFit) -> str:
    """'0.954 ±0.2 %, offset -1.2 ±0.1 W (R2 0.99999, 9 levels over 232 W)'."""
    half = gain.gain_std_fraction * _TWO_SIDED_95 * 100.0
    return (
        f"{gain.gain:.4f} ±{half:.2g} %, offset {gain.offset_w:.2f} ±{gain.offset_std_w * _TWO_SIDED_95:.2g} W "
        f"(R2 {gain.r_squared:.5f}, {gain.levels} levels over {gain.swing_w:.0f} W)"
    )


def _line(name: str, words: str) -> None:
    text = textwrap.wrap(words, _width() - _INDENT, break_on_hyphens=False, break_long_words=False) or [""]
    click.echo(_ascii("\n".join([f"  {name:<{_INDENT - 2}}{text[0]}", *(" " * _INDENT + line for line in text[1:])])))


def _bold(words: str) -> str:
    words = _ascii(words)
    return words if "NO_COLOR" in os.environ else click.style(words, bold=True)


def _ascii(words: str) -> str:
    if (sys.stdout.encoding or "").lower().startswith("utf"):
        return words
    return words.replace("±", "+-").replace("µ", "u").encode("ascii", "replace").decode()


def _width() -> int:
    return max(40, shutil.get_terminal_size().columns)

"""`wattvlm doctor`: what this machine can measure, and why not the rest."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from wattvlm.cli import COULD_NOT_MEASURE
from wattvlm.sensing import DOMAINS
from wattvlm.units import format_j, format_ns, format_w

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattvlm.calibration import Calibration, KnownCalibrations
    from wattvlm.sampling.discovery import MachineSensors, SeenChannel
    from wattvlm.sensing import Absence, Channel

_INDENT = 18
_TITLES = {"gpu": "GPU", "cpu": "CPU", "ram": "RAM", "soc": "SoC", "node": "node"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(as_json: bool) -> None:
    """Show what this machine can measure.

    Each sensor that it could have: usable, or why not and what cures it.

    Exit code 0 where something can be measured, 3 where there are only models or nothing.
    """
    from wattvlm.calibration import known_calibrations
    from wattvlm.filing import to_plain
    from wattvlm.sampling.discovery import sensors

    found = sensors()
    known = known_calibrations(seen.channel.board for seen in found.channels)
    if as_json:
        plain = {"can_measure": found.can_measure, **to_plain(found), "calibrations": to_plain(known.records)}
        click.echo(json.dumps(plain, indent=2))
    else:
        _show(found, known)
    raise SystemExit(0 if found.can_measure else COULD_NOT_MEASURE)


def _show(found: MachineSensors, known: KnownCalibrations) -> None:
    click.echo("wattvlm doctor: what this machine can measure\n")
    for seen in sorted(found.channels, key=lambda seen: DOMAINS.index(seen.channel.domain)):
        state, colour = ("modelled", "yellow") if seen.channel.method == "model" else ("measured", "green")
        if not seen.readings:
            state, colour = "silent", "red"
        _entry(state, colour, seen.channel.domain, _words(seen))
        if calibration := calibration_words(seen.channel, known.records, found.facts):
            _line("", "gain", "", calibration, None)
    for absence in found.absent:
        _entry("absent", "red", absence.domain, _why(absence))
        _line("", "cure", "", absence.remedy, None)
    for key, fact in sorted(found.facts.items()):
        _line("", "fact", "", f"{key}: {fact}", None)
    for note in (*found.notes, *known.notes):
        _line("", "note", "", note, None)
    click.echo()
    if found.can_measure:
        click.echo("Joules can be measured here.")
    else:
        click.echo("No sensor here: joules would be modelled from load and nominal power, and marked with ~.")


def _words(seen: SeenChannel) -> str:
    """'NVML energy counter of NVIDIA H100; a tick each 100 ms, in steps of 1 mJ; 68.0 W now; 150 µs a read'."""
    channel = seen.channel
    parts = [f"{channel.sensor} of {channel.device}" if channel.device not in channel.sensor else channel.sensor]
    if not seen.readings:
        return f"{parts[0]}; it gave no reading, so its joules would be absent"
    is_counter = channel.method == "counter"
    if seen.period_ns and channel.method != "model":
        parts.append(f"{'a tick' if is_counter else 'a value'} each {format_ns(seen.period_ns)}")
    step = channel.resolution_j if is_counter else channel.resolution_w
    if step is not None:
        parts.append(f"in steps of {format_j(step, 3) if is_counter else format_w(step)}")
    if seen.mean_w is not None:
        parts.append(f"{'~' if channel.method == 'model' else ''}{format_w(seen.mean_w)} now")
    if seen.call_ns is not None and channel.method != "model":
        parts.append(f"{format_ns(seen.call_ns)} a read")
    return "; ".join(parts)


def calibration_words(channel: Channel, records: Sequence[Calibration], facts: Mapping[str, str]) -> str:
    """Whether a channel is calibrated and how surely, or that a board is not, with the cure; "" for other sensors."""
    from wattvlm.calibration import record_of

    record, why_not = record_of(channel, records, facts)
    if record is not None and record.gain is not None and record.gain_std_fraction is not None:
        return f"calibrated {record.date}: {record.gain:.3f} ±{record.gain_std_fraction * 196.0:.2g} %"
    if why_not or channel.domain != "gpu" or channel.method == "model" or channel.contained_in:
        return why_not
    spread = f"±{channel.gain_std_fraction * 196.0:.2g} % at 95 %"
    found = f"period and window found {record.date}, " if record is not None else ""
    return f"{found}not calibrated: {spread}. Cure: wattvlm calibrate with --against or --meter"


def _why(absence: Absence) -> str:
    return f"{absence.what}; {absence.effect}" if absence.effect else absence.what


def _entry(state: str, colour: str, domain: str, words: str) -> None:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    marks = {"measured": "●", "modelled": "◐"} if unicode else {"measured": "*", "modelled": "~"}
    _line(marks.get(state, "○" if unicode else "-"), state, _TITLES[domain], words, colour)


def _line(mark: str, state: str, domain: str, words: str, colour: str | None) -> None:
    """One entry, wrapped to the terminal; commands that cure are never cut, only broken at spaces."""
    width = max(40, shutil.get_terminal_size().columns)
    wrapped = textwrap.wrap(words, width - _INDENT, break_on_hyphens=False, break_long_words=False) or [""]
    head = f"{mark:<3}{domain:<5}{state:<{_INDENT - 8}}"
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        wrapped = [line.encode("ascii", "replace").decode() for line in wrapped]
    plain = "NO_COLOR" in os.environ or colour is None
    click.echo((head if plain else click.style(head, fg=colour)) + wrapped[0])
    for line in wrapped[1:]:
        click.echo(" " * _INDENT + line)

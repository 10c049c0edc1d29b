"""Running a program under a meter: its streams untouched, signals passed on, its end waited for, then a Report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, cast

from wattvlm.metering import Meter, meter
from wattvlm.running.child import VERSIONS, boot_command
from wattvlm.running.program import NotRunnable, Program
from wattvlm.running.signals import PassedSignals
from wattvlm.sampling.sampler import shared_sampler

if TYPE_CHECKING:
    from wattvlm.recording import Recording
    from wattvlm.report import Report
    from wattvlm.sensing import ProbeSource
    from wattvlm.trace import Mark

_OF_SIGNALS = 128
"""A program that a signal ended has this plus the signal's number as its exit code, as shells have it."""


class Outcome:
    """How a program ended, and what was recorded meanwhile."""

    def __init__(self, exit_code: int, program: Program, own: Meter) -> None:
        self.exit_code = exit_code
        self._program = program
        self._meter = own

    @property
    def recording(self) -> Recording:
        """What was recorded; asked right after the program's end it waits for the sensors, as a meter's report does."""
        return _with_findings(self._meter.recording, self._program)

    @property
    def report(self) -> Report:
        """The Report of the recording; made anew at each use."""
        from wattvlm.attribution import analyze

        return analyze(self.recording)


def run_program(program: Program, *, label: str = "", probes: Sequence[ProbeSource] | None = None) -> Outcome:
    """Run it to its end and meter it; NotRunnable where the system cannot start it.

    label: a name for the report's heading (default: the program's). probes: as in `meter`.
    """
    with meter(label=label or program.name, probes=probes) as own:
        sampler = shared_sampler(probes)
        is_command = program.kind == "command"
        with own.phase(program.name) if is_command else nullcontext():
            exit_code, marks = _run(_command_line(program, sampler.folder), program)
        for mark in marks:
            sampler.mark(mark)
    return Outcome(exit_code, program, own)


def _command_line(program: Program, folder: Path | None) -> list[str]:
    if program.kind == "command":
        return [program.target, *program.arguments]
    boot = boot_command(folder, program.kind, program.target)
    return [sys.executable, *program.flags, *boot, *program.arguments]


def _run(command: Sequence[str], program: Program) -> tuple[int, Sequence[Mark]]:
    """Its exit code, and marks made of what it wrote."""
    from wattvlm.running.reading import reader_for

    reader = reader_for(program)
    with PassedSignals() as signals:
        try:
            # close_fds=False: a descriptor that a shell opened for the program (3<file) is meant for it.
            process = Popen(command, close_fds=False, stderr=None if reader is None else PIPE)
        except OSError as error:
            raise NotRunnable(f"{program.target} could not be started: {error.strerror or error}") from error
        signals.send_to(process)
        if reader is not None and process.stderr is not None:
            reader.start(process.stderr)
        status = process.wait()
    marks = () if reader is None else reader.marks()
    return _OF_SIGNALS - status if status < 0 else status, marks


def _with_findings(recording: Recording, program: Program) -> Recording:
    """The recording with the program's own versions, and what was not seen of it."""
    versions: dict[str, str] = {}
    for mark in recording.marks:
        if mark.kind == "facts" and not mark.call_id and mark.name == VERSIONS:
            versions |= cast("dict[str, str]", json.loads(mark.text))
    host = replace(recording.host, versions={**recording.host.versions, **versions})
    saw_calls = any(mark.kind == "call_start" for mark in recording.marks)
    notes = recording.notes if saw_calls or program.kind != "command" else (*recording.notes, _UNSEEN)
    return replace(recording, host=host, notes=notes)


_UNSEEN = (
    "this program was metered as a whole, since only Python programs of this environment are looked into: no calls, no "
    "tokens. Cure: wattvlm run script.py for a script, wattvlm watch URL for a server"
)

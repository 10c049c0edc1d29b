"""The sampling process: opens the probes, reads them by their schedules, and writes the journal.

It is started by `launch`, owes nothing to the measured process but its pid, and ends by itself when that is gone.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from wattvlm.clock import Clock, SystemClock, take_anchor
from wattvlm.errors import ProbeUnavailable
from wattvlm.sampling.cpu_times import CpuTimes
from wattvlm.sampling.journal import JournalWriter
from wattvlm.sampling.needs import Needs, read_needs
from wattvlm.sampling.processes import ProcessTree
from wattvlm.sampling.records import CONDITION, COST, ENERGY, GAP, POWER, encode_sample
from wattvlm.sampling.schedule import read_until
from wattvlm.sampling.sensor_log import SensorLog
from wattvlm.sensing import (
    DOMAINS,
    Absence,
    Channel,
    Condition,
    Domain,
    EnergyReading,
    Probe,
    ProbeSource,
    Reading,
    Sensors,
)
from wattvlm.units import NS_PER_S

_LOOK_EVERY_S = 0.25
_COST_EVERY_NS = NS_PER_S
_ANCHOR_EVERY_NS = 60 * NS_PER_S
_IDLE_UNTIL_END_NS = 60 * NS_PER_S
_KEPT_WITHOUT_NEED_NS = 30 * NS_PER_S
"""Readings just before a block tell its idle power: without an open block the last half minute is kept."""

_CLOSING_S = 0.2


class JournalSink:
    """Puts what the schedules saw into the journal and the log; used by the threads of all probes."""

    def __init__(self, folder: Path, generation: int, clock: Clock, measured_pid: int = 0) -> None:
        self._processes = ProcessTree(measured_pid)
        self.log = SensorLog(folder / f"sensors-{generation}")
        self._journal = JournalWriter(folder, f"readings-{generation}")
        self._clock = clock
        self._lock = threading.Lock()
        self._indices: dict[str, int] = {}
        self._closed_segments: list[tuple[int, int]] = []
        self._segment = 0
        self._full_since_ns: int | None = None

    def opened(self, target: str, sensors: Sensors) -> tuple[Channel, ...]:
        """Make the channels of a probe known; those to read, which leaves out names that another probe has."""
        with self._lock:
            fresh: dict[str, Channel] = {}
            for channel in sensors.channels:
                if channel.name in self._indices or channel.name in fresh:
                    self.log.note(f"{channel.name} is given twice; the one of {target} is not read. Cure: drop a probe")
                else:
                    fresh[channel.name] = channel
            known = Sensors(tuple(fresh.values()), sensors.absent, sensors.facts)
            self._indices |= self.log.opened(target, self._clock.monotonic_ns(), known)
            return known.channels

    def reading(self, reading: Reading) -> None:
        index = self._indices[reading.channel]
        if isinstance(reading, EnergyReading):
            times = (reading.unchanged_at_ns, reading.time_ns, reading.took_ns)
            self._write(encode_sample(ENERGY, index, *times, reading.energy_j))
        else:
            times = (reading.time_ns - reading.took_ns, reading.time_ns, reading.took_ns)
            self._write(encode_sample(POWER, index, *times, reading.power_w))

    def gap(self, channel: str, from_ns: int, to_ns: int, why: str) -> None:
        self._write(encode_sample(GAP, self._indices[channel], from_ns, to_ns, self.log.reason(why), 0.0))

    def lost(self, channel: str, from_ns: int, why: str) -> None:
        self.log.lost(channel, from_ns, why)

    def learned(self, channel: str, period_ns: int | None, how: str) -> None:
        self.log.learned(channel, period_ns, how)

    def note(self, text: str) -> None:
        self.log.note(text)

    def condition(self, condition: Condition) -> None:
        if not isfinite(condition.value):
            return
        index = self.log.condition(condition, self._processes.whose)
        if index is not None:
            self._write(encode_sample(CONDITION, index, 0, condition.time_ns, 0, condition.value))

    def cost(self, cpu_ns: int) -> None:
        """CPU time of this process so far; once a second, which also shows that it is alive."""
        self._write(encode_sample(COST, 0, 0, self._clock.monotonic_ns(), cpu_ns, 0.0))

    def _write(self, record: bytes) -> None:
        try:
            self._journal.append(record)
        except OSError:  # a full disk: the stretch becomes a gap once there is room again
            self._full_since_ns = self._full_since_ns or self._clock.monotonic_ns()
            return
        if self._full_since_ns is not None:
            from_ns, self._full_since_ns = self._full_since_ns, None
            for name in list(self._indices):
                self.gap(name, from_ns, self._clock.monotonic_ns(), "the disk of the journal was full")

    def forget_before(self, time_ns: int) -> None:
        """Delete the segments that ended before a time."""
        segment = self._journal.position.segment
        if segment != self._segment:
            self._closed_segments.append((segment, self._clock.monotonic_ns()))
            self._segment = segment
        old = [number for number, closed_ns in self._closed_segments if closed_ns < time_ns]
        if old:
            self._journal.delete_before(old[-1])
            self._closed_segments = [each for each in self._closed_segments if each[0] > old[-1]]


class ProbeThread(threading.Thread):
    """One probe, opened, read and closed in one thread, so that a slow or broken one holds up no other."""

    def __init__(self, source: ProbeSource, clock: Clock, sink: JournalSink, ending: threading.Event) -> None:
        super().__init__(name=source.target, daemon=True)
        self._source = source
        self._clock = clock
        self._sink = sink
        self._ending = ending
        self.is_settled = threading.Event()

    def run(self) -> None:
        probe: Probe | None = None
        channels: tuple[Channel, ...] = ()
        self._sink.log.opening(self._source.target, self._clock.monotonic_ns())
        try:
            probe = make_probe(self._source)
            channels = self._sink.opened(self._source.target, probe.open())
        except BaseException as error:  # also SystemExit: a probe must not end the sampling of the others
            absence = absence_of(self._source.target, probe, error)
            self._sink.log.absent(self._source.target, self._clock.monotonic_ns(), absence)
        self.is_settled.set()
        try:
            if probe is not None and channels:
                read_until(self._ending.is_set, probe, channels, self._clock, self._sink)
        except BaseException as error:
            self._end_channels(channels, error)
        if probe is not None:
            with suppress(BaseException):
                probe.close()

    def _end_channels(self, channels: Sequence[Channel], error: BaseException) -> None:
        for channel in channels:
            self._sink.lost(channel.name, self._clock.monotonic_ns(), f"{self._source.target} failed: {error!r}")


def make_probe(source: ProbeSource) -> Probe:
    """The probe that a source names; whatever its module raises."""
    module, _, attribute = source.target.partition(":")
    try:
        made: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        # A package in development may be found only through a hook that its .pth file sets up, which -S left out.
        import site

        site.main()
        made = importlib.import_module(module)
    for name in attribute.split("."):
        made = getattr(made, name)
    probe: Probe = made(**source.arguments)
    return probe


def absence_of(target: str, probe: object, error: BaseException) -> Absence:
    """Why a probe gives nothing. A probe may say in an attribute `domain` what it would have measured."""
    meant: object = getattr(probe, "domain", None)
    domain: Domain = "node"
    for each in DOMAINS:
        if meant == each:
            domain = each
    if isinstance(error, ProbeUnavailable):
        return Absence(domain, error.what, error.effect, error.remedy)
    return Absence(
        domain,
        f"the probe {target} failed to open: {error!r}"[:500],
        "what it would have measured is absent",
        f"report this to the author of {target.partition(':')[0]}, or leave the probe out",
    )


class SamplingProcess:
    """The life of the child: start the probes, watch the parent, keep the books, end."""

    def __init__(self, folder: Path, generation: int, parent_pid: int, clock: Clock) -> None:
        self._folder = folder
        self._closing = folder / f"closing-{generation}"
        self._parent_pid = parent_pid
        self._clock = clock
        self._ending = threading.Event()
        self._threads: list[ProbeThread] = []
        self._told_settled = False
        self._started_ns = clock.monotonic_ns()
        self._wanted_ns = self._started_ns
        self._sink = JournalSink(folder, generation, clock, parent_pid)
        self._cpu_times = CpuTimes(parent_pid, clock)
        self._open_blocks = 0
        self._sink.log.started(self._started_ns, take_anchor(clock))

    def add(self, sources: Sequence[ProbeSource]) -> None:
        """Open and read these probes, each in a thread of its own."""
        for source in sources:
            thread = ProbeThread(source, self._clock, self._sink, self._ending)
            self._threads.append(thread)
            thread.start()

    def note(self, text: str) -> None:
        """A line for the report."""
        self._sink.note(text)

    def run(self, woken: int) -> None:
        """Keep the books until there is a reason to end; `woken` is a descriptor that a signal makes readable."""
        cost_due_ns = anchor_due_ns = self._started_ns
        anchor_due_ns += _ANCHOR_EVERY_NS
        while (why := self._reason_to_end(woken)) is None:
            now_ns = self._clock.monotonic_ns()
            if now_ns >= cost_due_ns:
                self._sink.cost(_cpu_ns())
                self._look_at_cpus()
                cost_due_ns = now_ns + _COST_EVERY_NS
            if now_ns >= anchor_due_ns:
                self._sink.log.anchored(take_anchor(self._clock))
                anchor_due_ns = now_ns + _ANCHOR_EVERY_NS
        self._end(why)

    def _reason_to_end(self, woken: int) -> str | None:
        """Waits for a moment; the reason to end, if there is one by then."""
        is_settling = not self._told_settled
        if is_settling and all(thread.is_settled.is_set() for thread in self._threads):
            self._sink.log.settled(self._clock.monotonic_ns())
            self._told_settled = True
            self._look_at_cpus()
        signalled, _, _ = select.select([woken], [], [], 0.005 if is_settling else _LOOK_EVERY_S)
        if signalled:
            return "told to end"
        if os.getppid() != self._parent_pid:
            return "the measured process is gone"
        return self.tend(read_needs(self._folder), self._clock.monotonic_ns())

    def tend(self, needs: Needs, now_ns: int) -> str | None:
        """Delete what nobody needs; the reason to end when nobody has metered for a while."""
        keep_from_ns = now_ns - _KEPT_WITHOUT_NEED_NS
        self._sink.forget_before(min(keep_from_ns, needs.since_ns) if needs.is_kept else keep_from_ns)
        if needs.open_blocks != self._open_blocks:  # a block began or ended
            self._look_at_cpus()
            self._open_blocks = needs.open_blocks
        if needs.is_open:
            self._wanted_ns = now_ns
        if now_ns - self._wanted_ns < _IDLE_UNTIL_END_NS:
            return None
        # A meter may be opening right now: it writes its need first and looks for this file after.
        self._closing.touch(mode=0o600)
        if read_needs(self._folder).is_open:
            self._closing.unlink(missing_ok=True)
            return None
        return "no meter was open for a minute"

    def _look_at_cpus(self) -> None:
        if not self._told_settled:  # while sensors are being opened, nothing is to hold them up
            return
        for condition in self._cpu_times.look():
            self._sink.condition(condition)

    def _end(self, why: str) -> None:
        self._ending.set()
        deadline_ns = self._clock.monotonic_ns() + int(_CLOSING_S * NS_PER_S)
        for thread in self._threads:
            thread.join(max(0.0, (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S))
        self._sink.cost(_cpu_ns())
        self._sink.log.ended(self._clock.monotonic_ns(), why, take_anchor(self._clock))


def _cpu_ns() -> int:
    return time.process_time_ns()


def _wake_on_signals() -> int:
    """A descriptor that becomes readable when this process is told to end."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _heard)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    return readable


def _heard(_number: int, _frame: object) -> None:
    """A signal is passed on by the wake-up descriptor; without a handler it would end the process here."""


def run(plan: Mapping[str, Any]) -> None:
    """The whole life of the sampling process; never returns.

    plan: folder, generation, parent_pid, and sources as a list of [target, arguments], None for all of this machine.
    """
    woken = _wake_on_signals()
    process = SamplingProcess(Path(plan["folder"]), plan["generation"], plan["parent_pid"], SystemClock())
    if plan["sources"] is None:
        from wattvlm.sampling.discovery import own_sources, third_party_sources

        for source in own_sources():  # each is opened while the modules after it are still being imported
            process.add([source])
        try:
            process.add(third_party_sources())
        except Exception as error:  # one broken package in the environment must not cost the sensors of all others
            process.note(f"sensors of other packages were not looked for, their joules are absent: {error!r}")
    else:
        process.add([ProbeSource(target, arguments) for target, arguments in plan["sources"]])
    process.run(woken)
    # Not sys.exit: a probe's thread may be stuck in a driver, and its library's exit handlers with it.
    os._exit(0)

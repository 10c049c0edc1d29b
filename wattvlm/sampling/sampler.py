"""The sampler as the measured process holds it: it writes marks, and reads the journals back when asked.

Imported when a meter is made: nothing heavy here. Nothing of it raises into the measured program.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wattvlm.clock import Clock, SystemClock
from wattvlm.sampling.journal import BEGINNING, FOLDER_PREFIX, JournalWriter, Position, create, read_from
from wattvlm.sampling.launch import launch
from wattvlm.sampling.live import LiveView
from wattvlm.sampling.marks import encode_mark
from wattvlm.sampling.needs import Needs, NeedsFile
from wattvlm.sensing import ProbeSource
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from subprocess import Popen

    from wattvlm.recording import Recording

LONGEST_START_NS = 220 * NS_PER_MS
"""A sensor that takes longer to open (NVML: up to 2 s) does not hold the measured program; its late start is a Gap."""

MARGIN_NS = NS_PER_S
"""How much before and after a block a recording holds, for idle power and for the ticks around the block."""

_LOOK_EVERY_NS = 2 * NS_PER_MS
_END_WITHIN_S = 1.0
_MOST_UNWRITTEN_MARKS = 100_000


class _HeldBlock:
    """A block whose readings are kept: where its marks begin, and whether it is still open."""

    def __init__(self, since_ns: int, marks_from: Position) -> None:
        self.since_ns = since_ns
        self.marks_from = marks_from
        self.is_open = True


class Sampler:
    """One sampling process and the marks of this process. Started by `Sampler.start` or `shared_sampler`."""

    def __init__(self, sources: Sequence[ProbeSource] | None, clock: Clock) -> None:
        self._sources = sources
        self._clock = clock
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._folder: Path | None = None
        self._marks: JournalWriter | None = None
        self._needs: NeedsFile | None = None
        self._child: Popen[bytes] | None = None
        self._former_children: list[Popen[bytes]] = []
        self._generation = 0
        self._blocks: dict[int, _HeldBlock] = {}
        self._unwritten: deque[Mark] = deque(maxlen=_MOST_UNWRITTEN_MARKS)
        self._write_failure = ""
        self._deaths: list[tuple[int, str]] = []
        self._problem = ""

    @classmethod
    def start(cls, sources: Sequence[ProbeSource] | None = None, *, clock: Clock | None = None) -> Sampler:
        """A sampler that reads these probes (None: all of this machine); returns when each channel that measures has
        given a first reading, after 220 ms at most.

        Never raises: what prevented the start is in `problem`, and becomes an absence in each recording.
        """
        sampler = cls(sources, clock or SystemClock())
        try:
            sampler._open()
            sampler._await_first_readings()
        except BaseException as error:
            sampler._problem = _start_problem(error)
            sampler.stop()
            if not isinstance(error, Exception):  # the user's Ctrl-C while it started
                raise
        return sampler

    def _open(self) -> None:
        from tempfile import mkdtemp

        self._folder = Path(mkdtemp(prefix=FOLDER_PREFIX)).absolute()
        atexit.register(self.stop)
        with os.fdopen(create(self._folder / "owner"), "w") as file:
            json.dump({"pid": self._pid, "started": process_start(self._pid)}, file)
        self._marks = JournalWriter(self._folder, "marks")
        self._needs = NeedsFile(self._folder)
        self._launch()

    def _launch(self) -> None:
        if self._folder is not None:
            if self._child is not None:
                self._former_children.append(self._child)
            self._generation += 1
            self._child = launch(self._folder, self._generation, self._sources)

    def _await_first_readings(self) -> None:
        until_ns = self._clock.monotonic_ns() + LONGEST_START_NS
        view = self._view()
        while view is not None and self._clock.monotonic_ns() < until_ns:
            if not self.is_alive or view.has_first_readings():
                return
            self._clock.sleep_ns(_LOOK_EVERY_NS)

    def _view(self) -> LiveView | None:
        return None if self._folder is None else LiveView(self._folder, self._generation)

    @property
    def problem(self) -> str:
        """Why there is no sampling process; "" where there is or was one."""
        return self._problem

    @property
    def folder(self) -> Path | None:
        """The private folder of the journals."""
        return self._folder

    @property
    def child_pid(self) -> int | None:
        """The sampling process, while it runs."""
        return self._child.pid if self._child is not None and self.is_alive else None

    @property
    def is_alive(self) -> bool:
        """The sampling process runs, and is not about to end for want of a meter."""
        if self._child is None or self._folder is None or self._child.poll() is not None:
            return False
        return not (self._folder / f"closing-{self._generation}").exists()

    @property
    def is_foreign(self) -> bool:
        """This object is a forked copy: the sampler belongs to another process."""
        return os.getpid() != self._pid

    def mark(self, /, *marks: Mark) -> None:
        """Write marks in one piece: the MarkSink. Never raises; those that the disk does not take are kept in memory.

        block_start and block_end also tell which readings must be kept, by the meter's id in `call_id`.
        """
        if os.getpid() != self._pid:  # a forked worker must not write into its parent's journal
            return
        try:
            for mark in marks:
                if mark.kind == "block_start":
                    self._begin_block(mark.call_id, mark.time_ns)
                elif mark.kind == "block_end":
                    self._end_block(mark.call_id)
            if self._marks is None:
                self._unwritten.extend(marks)
            else:
                self._marks.append(b"".join(map(encode_mark, marks)))
        except Exception as error:  # whatever it is, the measured call goes on
            self._unwritten.extend(marks)
            self._write_failure = str(error) or repr(error)

    def _begin_block(self, meter_id: int, start_ns: int) -> None:
        with self._lock:
            marks_from = self._marks.position if self._marks is not None else BEGINNING
            self._blocks[meter_id] = _HeldBlock(start_ns - MARGIN_NS, marks_from)
            self._tell_needs()
            self._restart_if_dead()

    def _end_block(self, meter_id: int) -> None:
        with self._lock:
            block = self._blocks.get(meter_id)
            if block is not None:
                block.is_open = False
                self._tell_needs()

    def forget(self, meter_id: int) -> None:
        """Nobody will ask for this meter's recording any more: its readings and marks may go. Never raises."""
        if self.is_foreign:
            return
        with self._lock:
            if self._blocks.pop(meter_id, None) is None:
                return
            self._tell_needs()
            try:
                if self._marks is not None:
                    kept_from = min((block.marks_from.segment for block in list(self._blocks.values())), default=None)
                    self._marks.delete_before(self._marks.position.segment if kept_from is None else kept_from)
            except OSError:  # the files stay until the folder is removed
                return

    def _tell_needs(self) -> None:
        # A copy: the end of a meter's life (forget) may come in a garbage collection at any moment, also here.
        blocks = list(self._blocks.values())
        open_blocks = sum(block.is_open for block in blocks)
        since_ns = min((block.since_ns for block in blocks), default=0)
        try:
            if self._needs is not None:
                self._needs.write(Needs(since_ns, open_blocks, len(blocks) - open_blocks))
        except OSError as error:
            self._write_failure = str(error)

    def _restart_if_dead(self) -> None:
        """Start another sampling process where the last one died or went idle; what it recorded stays."""
        if self._child is None or self.is_alive:
            return
        self._note_death()
        try:
            self._launch()
            self._await_first_readings()
        except Exception as error:
            self._deaths.append((self._clock.monotonic_ns(), _start_problem(error)))

    def _note_death(self) -> None:
        status = self._child.poll() if self._child is not None else None
        if status:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            text = f"the sampling process {how}{self._last_words()}: joules after that are absent. Cure: meter again"
            if text not in [known for _, known in self._deaths]:
                self._deaths.append((self._clock.monotonic_ns(), text))

    def _last_words(self) -> str:
        """The last line that the sampling process wrote to stderr: the exception that ended it."""
        if self._folder is None:
            return ""
        lines = read_from(self._folder / f"errors-{self._generation}", 0, 2**16).decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" ({last[:300]})" if last else ""

    def wait_past(self, time_ns: int, timeout_ns: int) -> bool:
        """Wait until each live channel has given a reading later than a time, two of its periods after it at most.

        True where all have; False on time-out or without a sampling process.
        """
        view = self._view()
        until_ns = self._clock.monotonic_ns() + timeout_ns
        while view is not None and self.is_alive:
            if view.is_past(time_ns, self._clock.monotonic_ns()):
                return True
            if self._clock.monotonic_ns() >= until_ns:
                return False
            self._clock.sleep_ns(_LOOK_EVERY_NS)
        return False

    @property
    def remembers_ns(self) -> int:
        """How long after a block a power may still show it; 0 where counters are all that is used."""
        view = self._view()
        return 0 if view is None else view.remembers_ns()

    def recording(
        self, start_ns: int, end_ns: int, *, meter_id: int | None = None, margin_ns: int = MARGIN_NS
    ) -> Recording:
        """What was recorded from `start_ns - margin_ns` to `end_ns + margin_ns` (to now at most).

        Its marks are those of calls that began between start and end, marks outside calls from that time, and the
        block marks of `meter_id` (all blocks, where it is None).
        """
        from wattvlm.sampling.readback import Window, no_recording, read_back

        block = self._blocks.get(meter_id) if meter_id is not None else None
        since = block.marks_from if block is not None else BEGINNING
        until_ns = min(end_ns + margin_ns, self._clock.monotonic_ns())
        window = Window(start_ns, max(start_ns, end_ns), start_ns - margin_ns, until_ns, meter_id, since)
        if self._child is not None and self._child.poll() is not None:
            self._note_death()
        notes = [text for _, text in self._deaths]
        if self._write_failure:
            notes.append(
                f"{len(self._unwritten)} marks could not be written to disk ({self._write_failure}): they are in this "
                "report, but would be lost if the program were killed. Cure: free space in the temporary folder"
            )
        if self._folder is None or self._problem:
            return no_recording(window, tuple(self._unwritten), notes, self._problem, self._clock)
        return read_back(
            self._folder,
            window,
            extra_marks=tuple(self._unwritten),
            notes=notes,
            clock=self._clock,
            goes_on=self.is_alive,
        )

    def stop(self) -> None:
        """End the sampling process and remove the journals; a forked copy leaves both alone. May be called twice."""
        if self.is_foreign:
            return
        with self._lock:
            self._stop_children()
            for each in (self._marks, self._needs):
                if each is not None:
                    each.close()
            self._marks = self._needs = None
            if self._folder is not None:
                from shutil import rmtree

                rmtree(self._folder, ignore_errors=True)
                self._folder = None
        atexit.unregister(self.stop)

    def _stop_children(self) -> None:
        from subprocess import TimeoutExpired

        children = [*self._former_children, self._child]
        self._child = None
        self._former_children.clear()
        for child in children:
            if child is None:
                continue
            child.terminate()
            try:
                child.wait(_END_WITHIN_S)
            except TimeoutExpired:  # a probe holds it inside a driver
                child.kill()
                child.wait()


def _start_problem(error: BaseException) -> str:
    return f"the sampling process could not be started: {error!r}"


def process_start(pid: int) -> str:
    """When a process started, in the kernel's own units: tells a process from a later one with its pid."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[19]
    except (OSError, IndexError):
        return ""


_shared: dict[str, Sampler] = {}
_shared_lock = threading.RLock()


def shared_sampler(sources: Sequence[ProbeSource] | None = None) -> Sampler:
    """This process's sampler for a set of probes (None: all of this machine), started when first asked for.

    Never raises, unless the user presses Ctrl-C meanwhile.
    """
    with _shared_lock:
        key = "machine" if sources is None else repr([(each.target, dict(each.arguments)) for each in sources])
        sampler = _shared.get(key)
        if sampler is None or sampler.is_foreign or sampler.problem:
            sampler = _shared[key] = Sampler.start(sources)
        return sampler


def stop_shared_samplers() -> None:
    """End every shared sampler of this process; the next meter starts a new one."""
    with _shared_lock:
        while _shared:
            _shared.popitem()[1].stop()


def _forget_shared_after_fork() -> None:
    """A forked process starts samplers of its own; the lock may have been held by a thread that is not here."""
    global _shared_lock
    _shared.clear()
    _shared_lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_shared_after_fork)

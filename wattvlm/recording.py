"""Recording: what the sensors saw and what the program marked, in one file that can be replayed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattvlm import filing
from wattvlm.assembly import assemble
from wattvlm.calibration import Calibration, known_calibrations
from wattvlm.clock import WallAnchor
from wattvlm.host import Host
from wattvlm.sensing import Absence, Channel, Quantity
from wattvlm.trace import Mark, Trace

SCHEMA_VERSION = 1
KIND = "wattvlm recording"


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """All readings of one channel as columns of one length, in order of time.

    value: joules of a counter (raw: not unwrapped) or watts. time_ns: the end of the read that showed it (or the
    driver's stamp). unchanged_at_ns: start of the last read that still showed the value before (counters; equal to
    time_ns - took_ns where no older read exists, and for powers). took_ns: how long the read took.
    """

    channel: str
    time_ns: NDArray[np.int64]
    unchanged_at_ns: NDArray[np.int64]
    took_ns: NDArray[np.int64]
    value: NDArray[np.float64]

    def __post_init__(self) -> None:
        lengths = {len(self.time_ns), len(self.unchanged_at_ns), len(self.took_ns), len(self.value)}
        if len(lengths) > 1:
            raise ValueError(f"the columns of {self.channel} have different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.time_ns)

    def between(self, start_ns: int, end_ns: int) -> Readings:
        """The readings inside a window and the last one before and first one after it."""
        first = max(0, int(np.searchsorted(self.time_ns, start_ns, "right")) - 1)
        last = int(np.searchsorted(self.time_ns, end_ns, "left")) + 1
        chosen = slice(first, last)
        return Readings(
            self.channel, self.time_ns[chosen], self.unchanged_at_ns[chosen], self.took_ns[chosen], self.value[chosen]
        )


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """All values of one condition of one device, in order of time.

    pid, process: whom it is about, "" and 0 for the device as a whole. is_own: whether that is the measured program or
    a process that it started; None where that cannot be told (a sensor outside of a container numbers processes
    differently).
    """

    device: str
    quantity: Quantity
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    pid: int = 0
    process: str = ""
    is_own: bool | None = None

    def __post_init__(self) -> None:
        if len(self.time_ns) != len(self.value):
            raise ValueError(f"the columns of {self.quantity} of {self.device} have different lengths")

    def __len__(self) -> int:
        return len(self.time_ns)

    def between(self, start_ns: int, end_ns: int) -> States:
        """The values inside a window."""
        first, end = (
            int(np.searchsorted(self.time_ns, start_ns, "left")),
            int(np.searchsorted(self.time_ns, end_ns, "right")),
        )
        return replace(self, time_ns=self.time_ns[first:end], value=self.value[first:end])


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch in which a channel was not read as it should have been, and why; it widens intervals."""

    channel: str
    from_ns: int
    to_ns: int
    why: str


@dataclass(frozen=True, slots=True)
class SamplerCost:
    """What sampling itself took: CPU time of the sampling process over the time it ran."""

    cpu_ns: int
    wall_ns: int

    @property
    def core_fraction(self) -> float:
        return self.cpu_ns / self.wall_ns if self.wall_ns else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Channels, readings, gaps, absences, marks: everything that a replay needs.

    start_ns, end_ns: the monotonic window that was recorded. readings: channel name -> columns. conditions: the
    state of the devices meanwhile, about once a second.
    virtual: True where the hardware was simulated; every heading then says so. calibrations: the records of these
    boards; readings are as the sensors gave them, `analyze` takes the records into account.
    """

    start_ns: int
    end_ns: int
    channels: tuple[Channel, ...] = ()
    readings: Mapping[str, Readings] = field(default_factory=dict[str, Readings])
    gaps: tuple[Gap, ...] = ()
    absent: tuple[Absence, ...] = ()
    marks: tuple[Mark, ...] = ()
    wall_anchors: tuple[WallAnchor, ...] = ()
    host: Host = field(default_factory=Host)
    sampler_cost: SamplerCost | None = None
    notes: tuple[str, ...] = ()
    virtual: bool = False
    conditions: tuple[States, ...] = ()
    calibrations: tuple[Calibration, ...] = ()

    def __post_init__(self) -> None:
        if self.end_ns < self.start_ns:
            raise ValueError("the recording ends before it starts")
        unknown = set(self.readings) - {channel.name for channel in self.channels}
        if unknown:
            raise ValueError(f"readings of unknown channels {sorted(unknown)[:5]}")

    @property
    def trace(self) -> Trace:
        """The calls and phases of this recording, made from its marks (anew at each use)."""
        return assemble(self.marks)

    def with_calibrations(
        self, given: Sequence[Calibration | str | os.PathLike[str]] | None = None, folder: Path | None = None
    ) -> Recording:
        """The same with the records of its boards: those given (records or files), or those that are kept in `folder`.

        Never raises: a record that cannot be read becomes a note.
        """
        known = known_calibrations((channel.board for channel in self.channels), given, folder)
        if not known.records and not known.notes:
            return self
        return replace(self, calibrations=known.records, notes=(*self.notes, *known.notes))

    def to_dict(self) -> dict[str, Any]:
        """The recording as plain data."""
        plain: dict[str, Any] = filing.to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, plain: object) -> Recording:
        """The recording in plain data; ReportFormatError where it does not fit."""
        return filing.from_plain(cls, plain, "recording")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one JSON file; gzip where the name ends in .gz."""
        filing.save(path, KIND, SCHEMA_VERSION, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """The recording in a file that `save` wrote; ReportFormatError for anything else."""
        return filing.load(path, KIND, SCHEMA_VERSION, cls.from_dict)

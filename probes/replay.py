"""A Recording played back as a sensor: the same readings, as if they were taken now.

It has no PROBE, since it needs a file: ProbeSource("wattvlm.probes.replay:ReplayProbe", {"path": "run.json"}).
Reads the file's JSON itself, since a sensor imports nothing but the contract.
"""

from __future__ import annotations

import gzip
import json
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeUnavailable
from wattvlm.sensing import Absence, Channel, Domain, EnergyReading, PowerReading, Sensors

RECORDING_KIND = "wattvlm recording"
REMEDY = "give a file that Recording.save wrote"


@dataclass(frozen=True, slots=True)
class _Column:
    """One channel's readings, moved to the time of the replay."""

    time_ns: tuple[int, ...]
    unchanged_at_ns: tuple[int, ...]
    took_ns: tuple[int, ...]
    value: tuple[float, ...]


class ReplayProbe:
    """Plays a saved Recording from the moment it is opened; each reading once, at its time, shifted to now.

    path: the file. clock: what "now" is. After the recording's last reading a channel is lost.
    """

    domain: Domain = "node"

    def __init__(self, path: str | os.PathLike[str], clock: Clock | None = None) -> None:
        self._path = Path(path)
        self._clock = clock or SystemClock()
        self._columns: dict[str, _Column] = {}
        self._played: dict[str, int] = {}
        self._shift_ns = 0

    def open(self) -> Sensors:
        """The channels of the recording; ProbeUnavailable where the file is not a recording."""
        plain = self._load()
        try:
            channels = tuple(_noun(Channel, each) for each in plain["channels"])
            absent = tuple(_noun(Absence, each) for each in plain.get("absent", ()))
            readings = plain.get("readings", {})
            self._columns = {channel.name: _column(readings.get(channel.name, {})) for channel in channels}
            self._shift_ns = self._clock.monotonic_ns() - int(plain["start_ns"])
            facts = {"replayed from": self._path.name, **plain.get("host", {}).get("facts", {})}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unavailable(f"it does not hold together ({error!r})") from error
        self._played = dict.fromkeys(self._columns, 0)
        return Sensors(channels, absent, facts)

    def read(self, channel: Channel) -> Sequence[EnergyReading | PowerReading]:
        """All readings that are due and have not been played; ProbeLost after the last."""
        column, played = self._columns[channel.name], self._played[channel.name]
        if played >= len(column.time_ns):
            raise ProbeLost(f"the recording of {channel.name} ends here. Cure: a longer recording")
        due = bisect_right(column.time_ns, self._clock.monotonic_ns() - self._shift_ns)
        self._played[channel.name] = due
        return [self._reading(channel, column, index) for index in range(played, due)]

    def close(self) -> None:
        """Nothing to give back."""

    def _reading(self, channel: Channel, column: _Column, index: int) -> EnergyReading | PowerReading:
        time_ns, took_ns, value = column.time_ns[index] + self._shift_ns, column.took_ns[index], column.value[index]
        if channel.method == "counter":
            unchanged_at_ns = column.unchanged_at_ns[index] + self._shift_ns
            return EnergyReading(channel.name, unchanged_at_ns, time_ns, took_ns, value)
        return PowerReading(channel.name, time_ns, took_ns, value)

    def _load(self) -> Mapping[str, Any]:
        try:
            content = self._path.read_bytes()
            plain: Any = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
        except (OSError, ValueError, EOFError, RecursionError) as error:
            raise self._unavailable(str(error)) from error
        if not isinstance(plain, dict) or plain.get("kind") != RECORDING_KIND:  # pyright: ignore[reportUnknownMemberType]  # any JSON
            raise self._unavailable("it is no recording")
        return plain  # pyright: ignore[reportUnknownVariableType]  # any JSON; each use is guarded in open()

    def _unavailable(self, why: str) -> ProbeUnavailable:
        return ProbeUnavailable(f"{self._path} cannot be replayed: {why}", "it gives no readings", REMEDY)


def _noun(noun: Any, plain: Mapping[str, Any]) -> Any:
    return noun(**{each.name: plain[each.name] for each in fields(noun) if each.name in plain})


def _column(plain: Mapping[str, Any]) -> _Column:
    time_ns, unchanged_at_ns, took_ns = (
        tuple(int(entry) for entry in plain.get(name, ())) for name in ("time_ns", "unchanged_at_ns", "took_ns")
    )
    value = tuple(float(entry) for entry in plain.get("value", ()))
    if not len(time_ns) == len(unchanged_at_ns) == len(took_ns) == len(value):
        raise ValueError("columns of different lengths")
    return _Column(time_ns, unchanged_at_ns, took_ns, value)

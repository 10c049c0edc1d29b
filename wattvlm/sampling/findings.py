"""What a sampling process found and did, read from its sensor log with nothing in it taken on trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattvlm import filing
from wattvlm.clock import WallAnchor
from wattvlm.errors import ReportFormatError
from wattvlm.sampling.sensor_log import read_log
from wattvlm.sensing import QUANTITIES, Absence, Channel, Quantity


@dataclass(frozen=True, slots=True)
class NamedCondition:
    """What the records of one index tell: the fields of a `States` but its values."""

    device: str
    quantity: Quantity
    pid: int
    process: str
    is_own: bool | None


@dataclass(slots=True)
class Findings:
    """One sampling process's log, as far as it makes sense.

    channels: by the index that records give them. opened_ns: when each channel could first be read. lost: channel,
    when, and why. reasons: of gaps, by number. conditions: by the index that records give them. of_silent_probes:
    absences that were told by probes without any channel. opening: probes that were not open yet, and since when.
    """

    channels: dict[int, Channel] = field(default_factory=dict[int, Channel])
    opened_ns: dict[str, int] = field(default_factory=dict[str, int])
    absent: list[Absence] = field(default_factory=list[Absence])
    of_silent_probes: list[Absence] = field(default_factory=list[Absence])
    facts: dict[str, str] = field(default_factory=dict[str, str])
    anchors: list[WallAnchor] = field(default_factory=list[WallAnchor])
    notes: list[str] = field(default_factory=list[str])
    lost: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    reasons: dict[int, str] = field(default_factory=dict[int, str])
    conditions: dict[int, NamedCondition] = field(default_factory=dict[int, NamedCondition])
    opening: dict[str, int] = field(default_factory=dict[str, int])
    started_ns: int | None = None
    ended_ns: int | None = None


def read_findings(path: Path) -> Findings:
    """A sensor log; entries that make no sense are passed over and counted in its notes."""
    log = Findings()
    damaged = 0
    for entry in read_log(path):
        try:
            _READERS.get(entry.get("is", ""), _nothing)(log, entry)
        except (LookupError, TypeError, ValueError, AttributeError, ReportFormatError):
            damaged += 1
    if damaged:
        log.notes.append(f"{damaged} damaged entries of the sensor log were passed over")
    return log


def _nothing(log: Findings, entry: Mapping[str, Any]) -> None:
    """An entry that only a live view needs."""


def _time_ns(value: object) -> int:
    if not isinstance(value, int) or not -(2**62) < value < 2**62:
        raise ValueError("not a time")
    return value


def _index(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**16:
        raise ValueError("not an index")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _read_started(log: Findings, entry: Mapping[str, Any]) -> None:
    log.started_ns = _time_ns(entry["at_ns"])


def _read_ended(log: Findings, entry: Mapping[str, Any]) -> None:
    log.ended_ns = _time_ns(entry["at_ns"])


def _read_anchor(log: Findings, entry: Mapping[str, Any]) -> None:
    log.anchors.append(WallAnchor(_time_ns(entry["monotonic_ns"]), _time_ns(entry["wall_ns"])))


def _read_opening(log: Findings, entry: Mapping[str, Any]) -> None:
    log.opening[_text(entry["target"])] = _time_ns(entry["at_ns"])


def _read_opened(log: Findings, entry: Mapping[str, Any]) -> None:
    log.opening.pop(_text(entry["target"]), None)
    for each in entry["channels"]:
        channel = filing.from_plain(Channel, each["channel"], "a channel of the sensor log")
        log.channels[_index(each["index"])] = channel
        log.opened_ns[channel.name] = _time_ns(entry["at_ns"])
    absent = [filing.from_plain(Absence, each, "an absence of the sensor log") for each in entry["absent"]]
    log.absent += absent
    if not entry["channels"]:
        log.of_silent_probes += absent
    log.facts |= {_text(key): _text(value) for key, value in entry["facts"].items()}


def _read_lost(log: Findings, entry: Mapping[str, Any]) -> None:
    log.lost.append((_text(entry["channel"]), _time_ns(entry["at_ns"]), _text(entry["why"])))


def _read_note(log: Findings, entry: Mapping[str, Any]) -> None:
    log.notes.append(_text(entry["text"]))


def _read_reason(log: Findings, entry: Mapping[str, Any]) -> None:
    log.reasons[_index(entry["index"])] = _text(entry["text"])


def _read_condition(log: Findings, entry: Mapping[str, Any]) -> None:
    quantity, pid, is_own = entry["quantity"], entry["pid"], entry["is_own"]
    if quantity not in QUANTITIES or not isinstance(pid, int) or not (is_own is None or isinstance(is_own, bool)):
        raise ValueError("not a condition")
    known = QUANTITIES[QUANTITIES.index(quantity)]
    named = NamedCondition(_text(entry["device"]), known, pid, _text(entry["process"]), is_own)
    log.conditions[_index(entry["index"])] = named


_READERS = {
    "started": _read_started,
    "ended": _read_ended,
    "anchor": _read_anchor,
    "opening": _read_opening,
    "opened": _read_opened,
    "lost": _read_lost,
    "note": _read_note,
    "reason": _read_reason,
    "condition": _read_condition,
}

"""Calibration: what was found out about one board's sensor, kept as a file and applied to its readings.

Gains differ from board to board of one model (0.908 to 1.064 in arXiv 2312.02741), so no table of models can hold them:
a record is of one board, by its UUID, and of one driver version, since drivers change what a sensor averages.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wattvlm import filing
from wattvlm.errors import ReportFormatError
from wattvlm.sensing import Channel

SCHEMA_VERSION = 1
KIND = "wattvlm calibration"

Response = Literal["counter", "boxcar", "first-order", "unknown"]

PLAUSIBLE_GAIN = (0.5, 2.0)
"""Boards were seen between 0.9 and 1.1; what lies outside of this is no gain but a wrong meter or unit."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What one channel of one board was found to be. What was not found is None.

    channel: its name, "gpu-<uuid>/board". driver: its driver's version, "" where it has none. device: in words.
    found_at: date and time, UTC, ISO 8601. how: the load and the reference in words. wattvlm_version: of the finder.
    update_period_ns, response: when its values change, and what they are ("boxcar": a mean over a window).
    window_ns, lag_ns: 95 % intervals of the window, and of how long after its end a value appears.
    gain, offset_w: shown = gain x true + offset, against the reference; gain_std_fraction, offset_std_w: one sigma.
    """

    channel: str
    driver: str
    found_at: str
    how: str
    wattvlm_version: str
    device: str = ""
    update_period_ns: int | None = None
    response: Response = "unknown"
    window_ns: tuple[int, int] | None = None
    lag_ns: tuple[int, int] | None = None
    gain: float | None = None
    gain_std_fraction: float | None = None
    offset_w: float | None = None
    offset_std_w: float | None = None

    def __post_init__(self) -> None:
        low, high = PLAUSIBLE_GAIN
        if self.gain is not None and not low <= self.gain <= high:
            raise ValueError(f"a gain of {self.gain} is none: boards lie between {low} and {high}")
        if (self.gain is None) != (self.gain_std_fraction is None):
            raise ValueError("a gain and its gain_std_fraction are given together")
        if any(std is not None and std < 0 for std in (self.gain_std_fraction, self.offset_std_w)):
            raise ValueError("a standard deviation cannot be negative")
        for interval in (self.window_ns, self.lag_ns):
            if interval is not None and interval[0] > interval[1]:
                raise ValueError(f"{interval} is no interval: its ends are not in order")
        if self.update_period_ns is not None and self.update_period_ns <= 0:
            raise ValueError("an update period must be positive")

    @property
    def date(self) -> str:
        """The day it was found."""
        return self.found_at[:10]

    @property
    def board(self) -> str:
        """The device part of the channel's name."""
        return self.channel.split("/", 1)[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the record to a JSON file."""
        filing.save(path, KIND, SCHEMA_VERSION, filing.to_plain(self))

    def keep(self, folder: Path | None = None) -> Path:
        """Write the record where meters look for it (see `calibrations_folder`); gives its path."""
        target = (folder or calibrations_folder()) / _file_name(self.channel, self.driver)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.save(target)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """The record in a file; ReportFormatError for anything else."""
        return filing.load(path, KIND, SCHEMA_VERSION, _from_plain)


def _from_plain(plain: object) -> Calibration:
    return filing.from_plain(Calibration, plain, "calibration")


def calibrations_folder(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """The folder of this user's records: where the platform keeps data of programs."""
    known = os.environ if environ is None else environ
    home = Path(known["HOME"]) if known.get("HOME") else Path.home()
    if platform == "darwin":
        data = home / "Library" / "Application Support"
    elif platform == "win32":
        data = Path(known["LOCALAPPDATA"]) if known.get("LOCALAPPDATA") else home / "AppData" / "Local"
    else:  # an empty or relative XDG_DATA_HOME is to be ignored (XDG base directory specification)
        stated = known.get("XDG_DATA_HOME", "")
        data = Path(stated) if Path(stated).is_absolute() else home / ".local" / "share"
    return data / "wattvlm" / "calibrations"


def _file_name(channel: str, driver: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", channel)
    return f"{plain}.driver-{re.sub(r'[^A-Za-z0-9._-]+', '_', driver)}.json" if driver else f"{plain}.json"


def driver_of(channel: Channel, facts: Mapping[str, str]) -> str:
    """The driver version of a channel, from the facts of the host; "" for what has no driver of its own."""
    return facts.get(f"{channel.board} driver") or (facts.get("driver", "") if channel.domain in ("gpu", "soc") else "")


def record_of(
    channel: Channel, records: Sequence[Calibration], facts: Mapping[str, str]
) -> tuple[Calibration | None, str]:
    """(the newest record that holds for a channel, or why there is none although some are of it)."""
    own = sorted((record for record in records if record.channel == channel.name), key=lambda each: each.found_at)
    if channel.method == "model" or not own:
        return None, ""
    driver = driver_of(channel, facts)
    fitting = [record for record in own if record.driver == driver]
    if fitting:
        return fitting[-1], ""
    return None, (
        f"{channel.name}: its calibration of {own[-1].date} is of driver {own[-1].driver or 'unknown'} and this is "
        f"{driver or 'unknown'}, so it is not used and the gain is as unsure as without it. Cure: wattvlm calibrate"
    )


@dataclass(frozen=True, slots=True)
class KnownCalibrations:
    """The records for some boards, and lines on files that could not be read."""

    records: tuple[Calibration, ...]
    notes: tuple[str, ...] = ()


def known_calibrations(
    boards: Iterable[str],
    given: Sequence[Calibration | str | os.PathLike[str]] | None = None,
    folder: Path | None = None,
) -> KnownCalibrations:
    """The records of some boards: those given (records or paths), or all that are kept. Never raises."""
    try:
        wanted = set(boards)
        entries = _kept(wanted, folder or calibrations_folder()) if given is None else given
        return _read(wanted, entries)
    except Exception as error:  # a home folder that cannot be looked at is no reason to have no report
        return KnownCalibrations((), (f"calibration records could not be looked for ({error}); gains are as unsure as "
                                      "without any. Cure: see that the data folder is readable",))  # fmt: skip


def _kept(boards: set[str], folder: Path) -> list[Path]:
    """The files of some boards; others are not opened."""
    prefixes = tuple(re.sub(r"[^A-Za-z0-9._-]+", "_", f"{board}/") for board in boards)
    if not prefixes or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.name.startswith(prefixes))


def _read(boards: set[str], entries: Sequence[Calibration | str | os.PathLike[str]]) -> KnownCalibrations:
    records: list[Calibration] = []
    notes: list[str] = []
    for entry in entries:
        try:
            record = entry if isinstance(entry, Calibration) else Calibration.load(entry)
        except (OSError, ReportFormatError) as error:
            notes.append(
                f"a calibration record was not used: {error}; the gain of its board is as unsure as without it. "
                "Cure: run `wattvlm calibrate` again, or remove the file"
            )
        else:
            if record.board in boards:
                records.append(record)
    return KnownCalibrations(tuple(records), tuple(notes))

"""Small files that a driver shows, held open and read again and again. A part of the sensors that read sysfs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

from wattvlm.clock import Clock
from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.sensing import Absence, Channel, Domain

Opener = Callable[[Path, int], int]
"""Opens a file with flags and gives its descriptor: os.open, or a test's."""

_LOST = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.EBADF, errno.EACCES, errno.EPERM})


class HeldFiles:
    """The files of each channel, held open by the channel's name."""

    def __init__(self, clock: Clock, opener: Opener = os.open) -> None:
        self._clock = clock
        self._opener = opener
        self._descriptors: dict[str, tuple[int, ...]] = {}

    def hold(self, name: str, files: Sequence[Path]) -> None:
        """Opens a channel's files and reads each once; OSError where one cannot be opened or read."""
        opened: list[int] = []
        try:
            for file in files:
                opened.append(self._opener(file, os.O_RDONLY))
                os.pread(opened[-1], 1, 0)
        except OSError:
            _close(opened)
            raise
        self._descriptors[name] = tuple(opened)

    def read(self, channel: Channel) -> tuple[list[str], int, int]:
        """What a channel's files say, and when the read began and ended; raises ProbeRetry or ProbeLost."""
        descriptors = self._descriptors.get(channel.name)
        if descriptors is None:
            raise ProbeLost(f"{channel.name} is not open; its joules are absent. Cure: open the probe first")
        before_ns = self._clock.monotonic_ns()
        try:
            texts = [os.pread(descriptor, 128, 0).decode("ascii", "replace") for descriptor in descriptors]
        except OSError as error:
            if error.errno in _LOST:
                raise ProbeLost(
                    f"{channel.sensor} lost {channel.name}: {error.strerror}; its joules end here. Cure: see `dmesg`"
                ) from error
            raise ProbeRetry(f"{channel.sensor} could not read {channel.name}: {error.strerror}") from error
        return texts, before_ns, self._clock.monotonic_ns()

    def close(self) -> None:
        """Closes all files."""
        held, self._descriptors = self._descriptors, {}
        for descriptors in held.values():
            _close(descriptors)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:  # the device is gone, and its descriptor with it
            continue


def number_in(text: str, channel: Channel) -> float:
    """The number that a file's text begins with; raises ProbeRetry where it begins with none."""
    try:
        number = float(text.split()[0])
    except (ValueError, IndexError):
        raise ProbeRetry(f"{channel.sensor} gave {text!r} for {channel.name}, which is not a number") from None
    if not isfinite(number):
        raise ProbeRetry(f"{channel.sensor} gave {text!r} for {channel.name}, which is no amount")
    return number


def unreadable(domain: Domain, file: Path, error: OSError, effect: str) -> Absence:
    """A file of a device that is here but may not be opened, or cannot be."""
    if isinstance(error, PermissionError):
        return Absence(
            domain,
            f"denied: this user may not read {file}",
            effect,
            f"sudo chmod a+r {file} (until the next boot; a udev rule keeps it), or run as root",
        )
    return Absence(
        domain, f"{file} cannot be read: {error.strerror}", effect, "see `dmesg`; the device or its driver may be gone"
    )


def text_of(file: Path) -> str | None:
    """A file's text without the white space around it; None where it cannot be read."""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def number_of(file: Path) -> float | None:
    """A positive number from a file; None where there is none."""
    try:
        number = float(text_of(file) or "")
    except ValueError:
        return None
    return number if 0.0 < number < float("inf") else None

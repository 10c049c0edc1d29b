"""A calibration on this machine: which channels are meant, the load on their device, and what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from wattvlm.calibrate.load import Load, Played, drive
from wattvlm.calibrate.plan import plan_of
from wattvlm.errors import NotResolved
from wattvlm.metering import meter
from wattvlm.recording import Recording
from wattvlm.sampling.discovery import sensors
from wattvlm.sensing import Channel, Domain, ProbeSource
from wattvlm.units import NS_PER_MS, format_ns

USUAL_PERIOD_NS = 100 * NS_PER_MS
"""Most boards renew their power this often (arXiv 2312.02741)."""

FREE_RUNNING_NS = 5 * NS_PER_MS


def channels_of(channels: Sequence[Channel], domain: Domain, uuid: str) -> tuple[Channel, ...]:
    """The measured channels of the device that is loaded; NotResolved where there are none, or of several boards.

    uuid: of the board, "" where it is not known.
    """
    measured = [channel for channel in channels if channel.domain == domain and channel.method != "model"]
    own = [channel for channel in measured if uuid and uuid.lower() in channel.board.lower()] or measured
    boards = list(dict.fromkeys(channel.board for channel in own))
    if not boards:
        raise NotResolved(f"no sensor of the {domain} gives readings here. Cure: what `wattvlm doctor` says")
    if domain == "gpu" and len(boards) > 1:
        raise NotResolved(
            f"torch does not say which of {', '.join(boards)} it loads, so no record would be of the right board. "
            "Cure: CUDA_VISIBLE_DEVICES with one GPU"
        )
    return tuple(own)


def period_of(channels: Sequence[Channel]) -> int:
    """The update period that the square waves are made for, in ns: the shortest that is followed, or the usual one."""
    known = [channel.update_period_ns for channel in channels if channel.update_period_ns]
    return min((each for each in known if each > FREE_RUNNING_NS), default=USUAL_PERIOD_NS)


@dataclass(frozen=True, slots=True)
class Run:
    """A plan that was played: what was recorded, the channels that are meant, and the load in words."""

    recording: Recording
    played: Played
    channels: tuple[Channel, ...]
    how: str


def run(
    load: Load,
    domain: Domain,
    uuid: str,
    seconds: float,
    *,
    stairs: bool,
    sources: Sequence[ProbeSource] | None = None,
    tell: Callable[[float], None] | None = None,
) -> Run:
    """Play a plan on a device while its sensors are read. NotResolved, before any load, where it has no sensor.

    sources: the probes to read (default: all of this machine). tell: called with the fraction that is done.
    """
    seen = [each.channel for each in sensors(sources, look_s=0.5).channels if each.readings]
    channels = channels_of(seen, domain, uuid)
    plan = plan_of(period_of(channels), seconds, stairs=stairs)
    with meter(label="calibrate", probes=sources, calibrations=[]) as own:
        played = drive(plan, load, None, tell)
    recording = own.recording
    lasted = format_ns(sum(step.duration_ns for step in plan))
    names = {channel.name for channel in channels}
    recorded = tuple(channel for channel in recording.channels if channel.name in names)
    return Run(recording, played, recorded, f"square waves for {lasted} on {load.device}")


def utc_now() -> str:
    """Now, UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

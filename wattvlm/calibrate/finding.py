"""What a played plan says of each channel of a board, put together as a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattvlm import __version__
from wattvlm.attribution.identify import SensorIdentity, identify
from wattvlm.attribution.ticks import is_free_running
from wattvlm.calibrate.load import Played
from wattvlm.calibrate.reference import GainFit, Reference, fit_gain
from wattvlm.calibration import Calibration, driver_of
from wattvlm.errors import NotResolved
from wattvlm.recording import Recording
from wattvlm.sensing import Channel

FASTER_THAN_READ = "it ticks faster than it is read; its joules are taken as an exact count"
NO_REFERENCE = (
    "no reference was given, so its gain stays as unsure as it was. Cure: --against CHANNEL, or --meter FILE.csv"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one channel. identity: None where it was not asked for; gain: None for the reason beside it.

    record: None where nothing was found that a record could hold.
    """

    channel: Channel
    identity: SensorIdentity | None
    identity_reason: str
    gain: GainFit | None
    gain_reason: str
    record: Calibration | None


def findings(
    recording: Recording,
    played: Played,
    channels: Sequence[Channel],
    reference: Reference | None,
    how: str,
    found_at: str,
) -> tuple[Finding, ...]:
    """Each channel's period, window, lag, gain and offset, as far as this recording tells them.

    how: the load in words. found_at: date and time, UTC, ISO 8601.
    """
    return tuple(_finding(recording, played, channel, reference, how, found_at) for channel in channels)


def _finding(
    recording: Recording, played: Played, channel: Channel, reference: Reference | None, how: str, found_at: str
) -> Finding:
    identity, identity_reason = _identity(recording, played, channel)
    gain, gain_reason = _gain(recording, played, channel, reference)
    known = identity is not None and identity.response != "unknown"
    record = None
    if known or gain is not None:
        words = f"{how}, against {reference.words}" if gain is not None and reference is not None else how
        record = Calibration(
            channel=channel.name,
            driver=driver_of(channel, recording.host.facts),
            found_at=found_at,
            how=words,
            wattvlm_version=__version__,
            device=channel.device,
            update_period_ns=None if identity is None else identity.update_period_ns,
            response="unknown" if identity is None else identity.response,
            window_ns=None if identity is None else identity.window_ns,
            lag_ns=None if identity is None else identity.lag_ns,
            gain=None if gain is None else gain.gain,
            gain_std_fraction=None if gain is None else gain.gain_std_fraction,
            offset_w=None if gain is None else gain.offset_w,
            offset_std_w=None if gain is None else gain.offset_std_w,
        )
    return Finding(channel, identity, identity_reason, gain, gain_reason, record)


def _identity(recording: Recording, played: Played, channel: Channel) -> tuple[SensorIdentity | None, str]:
    readings = recording.readings.get(channel.name)
    if readings is None or len(readings) < 2:
        return None, "it gave no readings"
    if is_free_running(channel):
        return None, FASTER_THAN_READ
    found = identify(readings, played.edges_ns, is_counter=channel.method == "counter")
    return found, found.reason


def _gain(
    recording: Recording, played: Played, channel: Channel, reference: Reference | None
) -> tuple[GainFit | None, str]:
    if reference is None:
        return None, NO_REFERENCE
    readings = recording.readings.get(channel.name)
    if readings is None or len(readings) < 2:
        return None, "it gave no readings"
    try:
        fitted = fit_gain(channel, readings, played.levels_ns, reference)
        Calibration(channel.name, "", "", "", "", gain=fitted.gain, gain_std_fraction=fitted.gain_std_fraction)
    except (NotResolved, ValueError) as error:
        return None, str(error)
    return fitted, ""
